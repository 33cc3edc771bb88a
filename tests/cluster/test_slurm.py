"""Sweeps on a real Slurm: arrays, jobs that fail, are told to stop, or are killed, and a sweep that finds all done."""

import json
import os
import re
import shlex
import signal
import time
from contextlib import suppress
from pathlib import Path
from subprocess import CalledProcessError

import pytest
import yaml

from ipr.store.record import without_times
from ipr.studies.planned import read_plans
from ipr.training.metrics import read_metrics
from sweeps import SECONDS, command, commands_of, trained_at, until, weights

pytestmark = pytest.mark.system

TINY = [
    "model.width=0.0625", "dataset.image_size=8", "dataset.limit_train=64", "dataset.limit_test=20",
    "optimizer.batch_size=32", "trainer.max_epochs=1", "trainer.progress_bar=false", "trainer.accelerator=cpu",
    "verification.forged=2", "logger=csv", "trainer.checkpoint_seconds=0",
]  # fmt: skip
ON_SLURM = [
    "hydra/launcher=slurm", "hydra.launcher.gpus_per_node=0", "hydra.launcher.cpus_per_task=1",
    "hydra.launcher.mem_gb=null", "hydra.launcher.timeout_min=5",
]  # fmt: skip
DOCS = Path(__file__).parents[2] / "docs"
LONG = [a for a in TINY if "max_epochs" not in a]


@pytest.fixture(autouse=True)
def _there(slurm, monkeypatch, cache):
    for name, value in slurm.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("IPR_CACHE", str(cache))


def array_of(process):
    """The number of the array that a sweep was sent as, once it says so."""
    line = process.stdout.readline()
    return re.match(r"\d+ jobs, Slurm (\d+); ", line)[1]


def test_trainings_and_attacks_with_a_bad_job_among_them_and_a_second_sweep(ipr, slurm):
    rest = [a for a in TINY if not a.startswith("optimizer.batch_size")]
    training = ["train", "-m", *rest, "scheme=baseline,uchida", "optimizer.batch_size=0,32", *ON_SLURM]
    trained = ipr(*training)
    assert trained.code == 2, trained.err
    errors = trained.err.strip().splitlines()
    assert len(errors) == 2
    for error in errors:
        assert error.startswith("ipr: error: optimizer.batch_size=0: must be at least 1; give e.g. 64 (job ")
    assert trained.out.count(": done") == 2
    assert len(list(Path().glob("runs/train/*/record.json"))) == 2
    attacks = ["attack", "-m", *TINY, "attack_epochs=1", "scheme=uchida,trigger_set", "attack=prune,finetune"]
    attacked = ipr(*attacks, *ON_SLURM)  # a victim is there, the other is trained by one of two jobs
    assert attacked.code == 0, attacked.err
    assert attacked.out.count(": done") == 4
    assert len(list(Path().glob("runs/train/trigger_set-*"))) == 1
    before = trained_at("runs")
    assert ipr(*training).code == 2
    assert ipr(*attacks, *ON_SLURM).code == 0
    assert trained_at("runs") == before
    assert not list(Path().glob("runs/jobs/*"))
    until(lambda: slurm.queue() == [])


def test_a_job_that_is_told_to_stop_is_queued_again_and_ends_as_if_it_had_not_been(slurm):
    """The signal before the end of its time; SIGTERM comes first where a job is preempted. The weights are the same."""
    asked = ["train", "-m", *LONG, "trainer.max_epochs=60", "scheme=passport_v1", "passport=random", "seed=0,1,2,3"]
    with command(*asked, *ON_SLURM, "paths.runs=told", "passport.key=hush") as process:
        array = array_of(process)
        (folder,) = Path("told/jobs").iterdir()
        assert folder.stat().st_mode & 0o777 == 0o700
        until(lambda: len(list(Path().glob("told/train/*/checkpoints/last.ckpt"))) == 4)
        job = until(lambda: slurm.queue("RUNNING"))[0]
        assert job.startswith(array)
        log = folder / f"{job}_0_log.err"
        slurm.ask("scancel", "--signal=TERM", job)
        until(lambda: "Bypassing signal SIGTERM" in log.read_text())
        slurm.ask("scancel", "--signal=USR2", job)
        until(lambda: job in slurm.queue("PENDING"))
        assert "this job is timed-out" in log.read_text()  # as every signal to a job of less than ten minutes
        until(lambda: process.poll() is not None or start_now(slurm, job))
        out, err = process.communicate(timeout=SECONDS)
    assert process.returncode == 0, err
    assert err == ""
    assert out.count(": done") == 4
    undisturbed = [*asked, "paths.runs=undisturbed", "passport.key=hush"]
    with command(*undisturbed) as process:
        process.communicate(timeout=SECONDS)
    assert len(weights("told")) == 4
    assert weights("told") == weights("undisturbed")


def test_a_job_at_the_end_of_its_time_is_queued_again_by_slurm_and_submitit(slurm):
    """Nobody sends it anything but Slurm itself, which looks at the clock every 30 seconds."""
    short = [a for a in ON_SLURM if "timeout_min" not in a]
    short += ["hydra.launcher.timeout_min=1", "hydra.launcher.signal_delay_s=10"]
    with command("train", "-m", *LONG, "trainer.max_epochs=40000", "scheme=uchida", *short) as process:
        array_of(process)
        job = until(lambda: slurm.queue("RUNNING"))[0]
        until(lambda: job in slurm.queue("PENDING"))
        (metrics,) = Path().glob("runs/train/*/metrics.csv")
        rows = [without_times(row) for row in read_metrics(metrics)]
        assert rows
        until(lambda: len(read_metrics(metrics)) > len(rows) + 1 or start_now(slurm, job))
        os.killpg(process.pid, signal.SIGINT)
        process.communicate(timeout=SECONDS)
    assert process.returncode == 130
    later = [without_times(row) for row in read_metrics(metrics)]
    assert later[: len(rows)] == rows
    assert [int(row["epoch"]) for row in later] == list(range(len(later)))
    until(lambda: slurm.queue() == [])


def start_now(slurm, job):
    """Slurm holds a job that was queued again for two minutes; this is refused while the job is still ending.

    A node does not start a job again in the second in which it ended it: the job has failed then.
    """
    if job in slurm.queue("PENDING"):
        time.sleep(2)
        with suppress(CalledProcessError):
            slurm.ask("scontrol", "update", f"JobId={job}", "StartTime=now")


def test_a_job_that_is_killed_is_named_the_others_end_and_the_rest_can_be_interrupted(slurm):
    asked = ["train", "-m", *LONG, "trainer.max_epochs=40000,40", "scheme=uchida", "seed=0,1", *ON_SLURM]
    with command(*asked, "passport.key=hush") as process:
        array = array_of(process)
        until(lambda: f"{array}_1" in slurm.queue("RUNNING"))
        slurm.ask("scancel", "--signal=KILL", f"{array}_1")
        told = until(process.stderr.readline)
        told = re.sub(r"\((.+?) (.+?)\)", lambda found: f"({' '.join(sorted(found.groups()))})", told)
        assert told.startswith("ipr: error: job 1 (seed=1 trainer.max_epochs=40000) died without a word")
        until(lambda: len(list(Path().glob("runs/train/*/record.json"))) == 2)
        assert process.poll() is None  # it waits for the last one
        os.killpg(process.pid, signal.SIGINT)
        _, err = process.communicate(timeout=SECONDS)
    assert process.returncode == 130
    assert err.splitlines() == ["ipr: interrupted; the same command goes on where this one stopped"]
    until(lambda: slurm.queue() == [])
    assert not list(Path().glob("runs/jobs/*"))


def test_a_killed_job_alone_leaves_its_log_and_the_exit_code_of_a_defect(slurm):
    with command("train", "-m", *LONG, "trainer.max_epochs=40000", "scheme=uchida", *ON_SLURM) as process:
        job = array_of(process)
        until(lambda: slurm.queue("RUNNING"))
        slurm.ask("scancel", "--signal=KILL", job)
        _, err = process.communicate(timeout=SECONDS)
    assert process.returncode == 70
    (line,) = err.splitlines()
    log = Path(re.search(r"its log: (\S+?);", line)[1])
    assert log.exists()
    assert {path.suffix for path in log.parent.iterdir()} == {".err", ".out"}


def test_runs_share_a_job_and_a_bad_one_among_them_is_no_others_fault(ipr, slurm):
    rest = [a for a in TINY if not a.startswith("optimizer.batch_size")]
    asked = ["train", "-m", *rest, "scheme=uchida", "optimizer.batch_size=0,32", "seed=0,1", *ON_SLURM]
    outcome = ipr(*asked, "hydra.launcher.runs_per_gpu=3")  # three in the first job, one in the second
    assert outcome.code == 2, outcome.err
    assert len(re.findall(r"batch_size=0: must be at least 1; give e.g. 64 \(job \d\)", outcome.err)) == 2
    assert outcome.out.count(": done") == 2
    assert len(list(Path().glob("runs/train/*/record.json"))) == 2
    assert not list(Path().glob("runs/jobs/*"))
    until(lambda: slurm.queue() == [])


def test_a_run_of_a_shared_job_is_killed_and_the_others_go_back_to_the_queue_and_end(slurm):
    asked = ["train", "-m", *LONG, "trainer.max_epochs=60", "scheme=uchida"]
    with command(*asked, "seed=0,1,2", *ON_SLURM, "hydra.launcher.runs_per_gpu=3", "paths.runs=shared") as process:
        job = array_of(process)
        (folder,) = Path("shared/jobs").iterdir()
        until(lambda: len(list(Path().glob("shared/train/*/checkpoints/last.ckpt"))) == 3)
        assert slurm.queue() == [job]
        (lease,) = [path for path in Path().glob("shared/train/*-s1-*/.lease/*") if path.name.isdigit()]
        os.kill(json.loads(lease.read_text())["pid"], signal.SIGKILL)
        until(lambda: (folder / "1.over").exists())
        slurm.ask("scancel", "--signal=USR2", job)
        until(lambda: job in slurm.queue("PENDING"))
        assert not (folder / "0.over").exists()
        until(lambda: process.poll() is not None or start_now(slurm, job))
        out, err = process.communicate(timeout=SECONDS)
    assert process.returncode == 70, err
    (line,) = err.splitlines()
    assert line.startswith("ipr: error: job 1 (seed=1) died without a word")
    assert sorted(path.name for path in folder.iterdir()) == ["run-1_log.err", "run-1_log.out"]
    assert out.count(": done") == 2
    with command(*asked, "seed=0,2", "paths.runs=undisturbed") as process:
        process.communicate(timeout=SECONDS)
    assert len(weights("shared")) == 2
    assert weights("shared") == weights("undisturbed")
    until(lambda: slurm.queue() == [])


def test_one_training_over_two_tasks_ends_as_over_two_processes_of_one_machine(slurm):
    """Every task runs the job; the first leads, writes and reports, the other follows."""
    asked = [
        "train",
        "-m",
        *TINY,
        "scheme=passport_v1,passport_v3",
        "passport=shuffled",
        "trainer=ddp",
        "trainer.devices=2",
    ]
    with command(*asked, *ON_SLURM, "hydra.launcher.tasks_per_node=2", "paths.runs=tasks") as process:
        array_of(process)
        out, err = process.communicate(timeout=SECONDS)
    assert process.returncode == 0, err
    assert err == ""
    assert out.count(": done") == 2
    assert not list(Path("tasks/jobs").iterdir())
    with command(*asked, "paths.runs=processes") as process:
        _, err = process.communicate(timeout=SECONDS)
    assert process.returncode == 0, err
    assert len(weights("tasks")) == 3  # and the plain network that passports were made from
    assert weights("tasks") == weights("processes")
    until(lambda: slurm.queue() == [])


def test_a_study_is_reproduced_wave_by_wave(ipr, tmp_path, slurm):
    study = tmp_path / "mine.yaml"
    study.write_text(
        yaml.safe_dump(
            {
                "title": "Mine", "question": "Is it found?", "source": "here",
                "sweeps": [
                    {"scheme": ["baseline", "uchida"]},
                    {"scheme": ["uchida"], "attack": ["prune"]},
                    {"scheme": ["passport_v1"], "set": {"scheme.signature": "far too long a text" * 20}},
                ],
                "statements": [{"name": "bits_are_there", "says": "All.", "value": "mark", "at_least": 0.0}],
                "tables": [{"name": "mine", "caption": "c", "rows": ["scheme"], "values": {"bits": "mark"}}],
            }
        )
    )  # fmt: skip
    small = [a for a in TINY if not a.startswith(("dataset.image_size", "verification"))]
    asked = ["reproduce", f"study={study}", "scale=smoke", *small, *ON_SLURM]
    outcome = ipr(*asked)
    assert outcome.code == 1, outcome.err
    (plan,) = read_plans(Path("runs"))
    assert sorted((cell.name.split("-")[0], cell.state(Path("runs"))) for cell in plan.cells) == [
        ("baseline", "done"), ("passport_v1", "missing"), ("prune", "done"), ("uchida", "done"),
    ]  # fmt: skip
    assert "Traceback" not in outcome.err
    assert "failed: passport_v1" in outcome.out
    assert "shorten it" in outcome.err
    assert "far too long" not in outcome.out + outcome.err
    assert "Uchida" in Path("runs/report/mine-smoke/mine.md").read_text()
    before = trained_at("runs")
    again = ipr(*asked)
    assert again.code == 1
    assert trained_at("runs") == before
    assert not list(Path().glob("runs/jobs/*"))
    until(lambda: slurm.queue() == [])


def test_the_commands_of_the_document_run(ipr, slurm):
    commands = commands_of(DOCS / "cluster.md")
    sweeps = [command for command in commands if "hydra/launcher=slurm" in command]
    assert [command.split()[1] for command in sweeps] == ["train", "attack", "reproduce"]
    assert "squeue --me" in commands
    slurm.ask("squeue", "--me")
    for said in sweeps:
        small = (
            TINY if " reproduce " not in said else [a for a in TINY if not a.startswith(("dataset", "verification"))]
        )
        asked = [*shlex.split(said)[1:], *small, *ON_SLURM, "hydra.launcher.partition=tests"]
        outcome = ipr(*asked)
        assert outcome.code == 0, outcome.err
