"""Sweeps in several processes of one machine: where jobs run, what is left when one fails, dies or is interrupted."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from ipr.cli.jobs import with_sweep_folder
from ipr.cli.launchers.outcomes import descriptions
from ipr.cli.launchers.submitted import private_folder
from ipr.config.shipped import shipped
from ipr.errors import InputError
from ipr.machine.gpus import choose, visible_gpus
from ipr.machine.slots import cores_here, runs_per_gpu
from ipr.requests.compose import register
from ipr.requests.launchers import SCHEMAS, most_devices
from sweeps import SECONDS, command, commands_of, trained_at, until, weights

LAUNCHERS = ("local", "joblib", "submitit_local", "slurm")

SWEEP = """
import json, os, signal, sys, time
from pathlib import Path
from ipr.cli.jobs import invoke

def job(config):
    seed = config.seed
    facts = {name: os.environ.get(name) for name in ("CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS")}
    Path(f"{seed}.json").write_text(json.dumps(facts | {"pid": os.getpid()}))
    %s
    Path(f"{seed}.done").touch()
    return 0

if __name__ == "__main__":
    sys.exit(max(invoke("train", job, ["-m", *sys.argv[1:]])[0], default=0))
"""
TOGETHER = """deadline = time.monotonic() + 100
    while len(list(Path().glob("*.json"))) < 8 and time.monotonic() < deadline:
        time.sleep(0.05)"""
DEADLY = """if seed == 1:
        os.kill(os.getpid(), signal.SIGKILL)"""
DEADLY_ONCE = """if seed == 1 and not Path("died").exists():
        Path("died").touch()
        os.kill(os.getpid(), signal.SIGKILL)"""


DOCS = Path(__file__).parents[2] / "docs"


def sweep(body, *arguments, **environment):
    """A sweep of jobs that do what a test wants, in a process of its own."""
    Path("sweep.py").write_text(SWEEP % body)
    command = [sys.executable, "sweep.py", *arguments]
    surroundings = {k: v for k, v in os.environ.items() if k not in ("CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS")}
    return subprocess.run(command, env=surroundings | environment, capture_output=True, text=True, timeout=SECONDS)


def facts():
    return [json.loads(path.read_text()) for path in sorted(Path().glob("*.json"))]


def processes_of(folder):
    """The processes of submitit that work on the jobs of a folder."""
    return [pid for pid, words in commands().items() if str(folder) in words and "submitit.core._submit" in words]


def commands():
    """The processes of this machine, with the words of their command lines."""
    found = {}
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found[int(path.parent.name)] = path.read_bytes().decode().split("\0")
        except OSError:
            continue
    return found


@pytest.fixture
def at_home(monkeypatch, cache):
    monkeypatch.setenv("IPR_CACHE", str(cache))
    monkeypatch.setenv("COLUMNS", "120")


def test_the_gpu_that_the_fewest_have_taken():
    assert choose(["0", "1", "2"], []) == "0"
    assert choose(["0", "1", "2"], ["0", "1"]) == "2"
    assert choose(["0", "1", "2"], ["2", "0", "1", "0"]) == "1"
    assert choose(["GPU-b", "GPU-a"], ["GPU-b"]) == "GPU-a"


@pytest.mark.parametrize(
    ("named", "gpus"),
    [("0,1", ["0", "1"]), (" 3 , 1", ["3", "1"]), ("", []), ("-1", []), ("1,-1,2", ["1"]), ("MIG-a/1", ["MIG-a/1"])],
)
def test_visible_gpus_are_those_that_cuda_would_see(named, gpus):
    assert visible_gpus({"CUDA_VISIBLE_DEVICES": named}) == gpus


def test_the_job_that_takes_most_devices_says_how_many():
    assert most_devices(1, [["a=1"], ["trainer.devices=2", "seed=4"], ["trainer.devices=${x}"]]) == 2
    assert most_devices(4, [["trainer.devices=2"]]) == 4
    assert most_devices(1, []) == 1


def test_jobs_are_told_apart_by_what_they_do_not_share_and_secrets_are_not_told():
    jobs = {0: ["a=1", "seed=0", "passport.key=hush"], 1: ["a=1", "seed=1", "passport.key=hushed"]}
    assert descriptions(jobs) == {0: "seed=0 passport.key=<hidden>", 1: "seed=1 passport.key=<hidden>"}
    assert descriptions({3: ["a=1", "+scheme.signature=hush"]}) == {3: "a=1 +scheme.signature=<hidden>"}


def test_the_sweeps_folder_stands_beside_other_keys_as_argparse_wants():
    assert with_sweep_folder(["a=1", "--cfg", "job", "-p", "a"], "F") == [
        "hydra.sweep.dir=F", "a=1", "--cfg", "job", "-p", "a",
    ]  # fmt: skip
    assert with_sweep_folder(["-m", "a=1"], "F") == ["-m", "hydra.sweep.dir=F", "a=1"]
    assert with_sweep_folder(["-m"], "F") == ["-m", "hydra.sweep.dir=F"]
    assert with_sweep_folder(["hydra.sweep.dir=G"], "F") == ["hydra.sweep.dir=G"]


@pytest.mark.sampled(5)
@pytest.mark.parametrize("name", LAUNCHERS)
@pytest.mark.parametrize("of", ["train", "attack", "exhibit", "cell"])
def test_every_launcher_composes_with_its_schema_and_not_with_that_of_its_package(name, of):
    register(of)
    with initialize_config_dir(str(shipped("conf")), version_base="1.3"):
        launcher = compose(of, [f"hydra/launcher={name}"], return_hydra_config=True).hydra.launcher
    if name in SCHEMAS:
        assert OmegaConf.get_type(launcher) is SCHEMAS[name]
        assert launcher._target_.startswith("hydra_plugins.ipr_launchers.")
    if name == "slurm":
        assert launcher.max_num_timeout > 100
        assert launcher.additional_parameters.requeue is True


@pytest.mark.sampled(5)
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["hydra/launcher=slurmm"], ["hydra/launcher=slurmm", "slurm"]),
        (["hydra/launcher=slurm", "hydra.launcher.timeout=60"], ["hydra.launcher.timeout", "timeout_min"]),
        (["hydra/launcher=slurm", "hydra.launcher.timeout_min=soon"], ["hydra.launcher.timeout_min", "soon"]),
        (["hydra/launcher=slurm", "++hydra.launcher.bogus=1"], ["hydra.launcher.bogus=1", "known: submitit_folder"]),
        (["hydra/launcher=slurm"], ["hydra/launcher=slurm", "needs sbatch and srun"]),
        (["hydra/launcher=joblib", "hydra.launcher.n_job=2"], ["hydra.launcher.n_job", "did you mean n_jobs"]),
        (["hydra/launcher=joblib", "++hydra.launcher.n_job=2"], ["hydra.launcher.n_job=2", "known: n_jobs"]),
        (["hydra/launcher=joblib", "hydra.launcher.n_jobs=0"], ["hydra.launcher.n_jobs=0", "at least 1"]),
        (["hydra/launcher=joblib", "hydra.launcher.runs_per_gpu=0"], ["runs_per_gpu=0", "at least 1"]),
        (["hydra/launcher=submitit_local", "hydra.launcher.runs_per_gpu=-1"], ["runs_per_gpu=-1", "at least 1"]),
        (["hydra/launcher=submitit_local", "hydra.launcher.array_parallelism=0"], ["array_parallelism=0"]),
        (["hydra/launcher=submitit_local", "hydra.launcher.submitit_folder=/dev/null/x"], ["/dev/null/x", "written"]),
        (["hydra/launcher=local", "hydra.launcher.n_jobs=2"], ["hydra.launcher", "n_jobs"]),
    ],
)
def test_what_a_launcher_cannot_use_is_told_in_a_line_and_nothing_is_begun(ipr, tiny, monkeypatch, arguments, words):
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent))  # no Slurm
    outcome = ipr("train", "-m", *tiny, "seed=0,1", *arguments)
    assert outcome.code == 2
    (line,) = outcome.err.strip().splitlines()
    assert line.startswith("ipr: error: ")
    for word in words:
        assert word in line
    assert not list(Path().glob("runs/train/*"))
    assert not list(Path().glob("runs/jobs/*"))


@pytest.mark.parametrize("name", LAUNCHERS[1:])
def test_a_launcher_without_a_sweep_is_refused(ipr, tiny, name):
    """It would be left out without a word, and the job run where it was typed."""
    outcome = ipr("train", *tiny, f"hydra/launcher={name}")
    assert outcome.code == 2
    assert f"hydra/launcher={name}: is for sweeps; add -m" in outcome.err


@pytest.mark.system
@pytest.mark.parametrize(
    "launcher", [["joblib", "hydra.launcher.n_jobs=8"], ["submitit_local", "hydra.launcher.array_parallelism=8"]]
)
def test_eight_jobs_at_a_time_on_four_gpus_are_two_on_each(at_home, launcher):
    name, *keys = launcher
    done = sweep(TOGETHER, f"hydra/launcher={name}", *keys, "seed=range(8)", CUDA_VISIBLE_DEVICES="4,5,6,7")
    assert done.returncode == 0, done.stderr
    assert sorted(fact["CUDA_VISIBLE_DEVICES"] for fact in facts()) == ["4", "4", "5", "5", "6", "6", "7", "7"]
    assert len({fact["pid"] for fact in facts()}) == 8


CARDS = "81559, Disabled, Default\n81559, Disabled, Default\n"


def with_cards(answer):
    """A PATH with an nvidia-smi that says so."""
    Path("bin").mkdir()
    script = Path("bin/nvidia-smi")
    script.write_text(f"#!/bin/sh\ncat <<END\n{answer}END\n")
    script.chmod(0o755)
    return f"{Path('bin').absolute()}{os.pathsep}{os.environ['PATH']}"


@pytest.mark.system
def test_a_run_of_two_gpus_takes_a_pair(at_home):
    asked = ["hydra/launcher=joblib", "trainer=ddp", "trainer.devices=2", "seed=0,1"]
    done = sweep("time.sleep(1)", *asked, CUDA_VISIBLE_DEVICES="0,1,2,3,4", PATH=with_cards(CARDS))
    assert done.returncode == 0, done.stderr
    assert sorted(fact["CUDA_VISIBLE_DEVICES"] for fact in facts()) == ["0,1", "2,3"]


@pytest.mark.system
@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="on one core there is one run")
@pytest.mark.parametrize("given", [[], ["hydra.launcher.runs_per_gpu=4"]])
def test_runs_share_a_large_gpu_as_far_as_there_are_cores_or_as_many_as_are_asked_for(at_home, given):
    done = sweep(
        "time.sleep(0.5)", "hydra/launcher=joblib", "seed=range(8)", *given,
        CUDA_VISIBLE_DEVICES="5", PATH=with_cards(CARDS),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    processes = len({fact["pid"] for fact in facts()})
    expected = 4 if given else runs_per_gpu(81559 / 1024, cores_here())
    assert 1 < processes <= expected
    assert {fact["CUDA_VISIBLE_DEVICES"] for fact in facts()} == {"5"}
    assert {fact["OMP_NUM_THREADS"] for fact in facts()} == {str(max(1, cores_here() // expected))}


@pytest.mark.system
def test_one_process_for_each_gpu_where_nobody_says_what_they_have_and_each_keeps_its_own(at_home):
    done = sweep("time.sleep(0.3)", "hydra/launcher=joblib", "seed=range(8)", CUDA_VISIBLE_DEVICES="1,3")
    assert done.returncode == 0, done.stderr
    assert len({fact["pid"] for fact in facts()}) == 2
    assert {(fact["pid"], fact["CUDA_VISIBLE_DEVICES"]) for fact in facts()} == {
        (fact["pid"], gpu) for fact, gpu in zip(sorted_by_gpu(), ["1", "3"], strict=True)
    }


def sorted_by_gpu():
    return list(
        {
            fact["CUDA_VISIBLE_DEVICES"]: fact for fact in sorted(facts(), key=lambda f: f["CUDA_VISIBLE_DEVICES"])
        }.values()
    )


@pytest.mark.system
@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="on one core joblib needs no other process")
@pytest.mark.parametrize("accelerator", ["auto", "cpu"])
def test_without_a_gpu_one_process_of_one_thread_for_each_core(at_home, accelerator):
    gpus = "0" if accelerator == "cpu" else ""  # a GPU that is not to be used
    asked = ["hydra/launcher=joblib", "seed=range(4)", f"trainer.accelerator={accelerator}"]
    done = sweep("time.sleep(0.3)", *asked, CUDA_VISIBLE_DEVICES=gpus)
    assert done.returncode == 0, done.stderr
    assert {(fact["OMP_NUM_THREADS"], fact["CUDA_VISIBLE_DEVICES"]) for fact in facts()} == {("1", gpus)}
    assert 1 < len({fact["pid"] for fact in facts()}) <= len(os.sched_getaffinity(0))
    set_by_user = sweep("", *asked, OMP_NUM_THREADS="3")
    assert set_by_user.returncode == 0
    assert {fact["OMP_NUM_THREADS"] for fact in facts()} == {"3"}


@pytest.mark.system
def test_a_process_that_dies_frees_its_gpu(tmp_path):
    code = (
        "import sys, time; from pathlib import Path; from ipr.machine.gpus import claim_gpu; gpus = ('0', '1')\n"
        "first, again = claim_gpu(Path('.'), gpus).gpu, claim_gpu(Path('.'), gpus).gpu\n"
        "print(first + again, flush=True); time.sleep(100)"
    )
    started = []

    def claimed():
        process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        started.append(process)
        return process.stdout.readline().strip()

    try:
        assert [claimed(), claimed(), claimed()] == ["00", "11", "00"]
        started[1].kill()
        started[1].wait()
        assert claimed() == "11"
    finally:
        for process in started:
            process.kill()
            process.wait()
            process.stdout.close()


@pytest.mark.system
@pytest.mark.parametrize("name", ["joblib", "submitit_local"])
def test_a_job_that_is_killed_is_named_and_the_others_end(at_home, name):
    done = sweep(
        DEADLY, f"hydra/launcher={name}", "seed=range(4)", "passport.key=hush",
        *(["hydra.launcher.n_jobs=2"] if name == "joblib" else ["hydra.launcher.array_parallelism=2"]),
    )  # fmt: skip
    assert done.returncode == 70, done.stderr
    assert sorted(path.stem for path in Path().glob("*.done")) == ["0", "2", "3"]
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("ipr: error:")]
    assert "job 1 (seed=1) died without a word" in line
    assert "Traceback" not in done.stderr
    assert "hush" not in done.stderr
    if name == "submitit_local":
        log = Path(re.search(r"its log: (\S+?);", line)[1])
        assert log.exists()
        assert {path.suffix for path in log.parent.iterdir()} == {".err", ".out"}  # no arguments of jobs
        assert log.parent.stat().st_mode & 0o777 == 0o700


@pytest.mark.system
def test_jobs_that_a_dying_one_took_with_it_are_run_again(at_home):
    done = sweep(DEADLY_ONCE, "hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "seed=range(6)")
    assert done.returncode == 0, done.stderr
    assert Path("died").exists()
    assert len(list(Path().glob("*.done"))) == 6


@pytest.mark.system
def test_a_defect_in_a_queue_is_told_in_a_line_and_its_log_is_kept(at_home):
    done = sweep("assert seed, 'nought'", "hydra/launcher=submitit_local", "seed=0,1")
    assert done.returncode == 70
    assert "AssertionError: nought (job 0)" in done.stderr
    assert "Traceback" not in done.stderr
    (log,) = Path().glob("runs/jobs/*/*.err")
    assert "Traceback" in log.read_text()


@pytest.mark.system
@pytest.mark.parametrize("name", ["joblib", "submitit_local"])
def test_a_bad_job_lets_the_others_finish_and_a_second_sweep_finds_them(ipr, tiny, name, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    rest = [a for a in tiny if not a.startswith("optimizer.batch_size")]
    asked = ["train", "-m", *rest, "scheme=uchida", "optimizer.batch_size=0,32", f"hydra/launcher={name}"]
    outcome = ipr(*asked)
    assert outcome.code == 2
    assert outcome.err.count("ipr: error: optimizer.batch_size=0: must be at least 1") == 1
    assert "Traceback" not in outcome.err
    trained = trained_at("runs")
    assert len(trained) == len(list(Path().glob("runs/train/*/record.json"))) == 1
    assert not list(Path().glob("runs/jobs/*"))
    again = ipr(*asked[:-1], "hydra/launcher=local")
    assert again.code == 2
    assert again.out.count("found:") == 1
    assert trained_at("runs") == trained


@pytest.mark.system
def test_a_job_that_is_told_to_stop_starts_again_where_it_was(at_home, tiny):
    """As before the end of its time; SIGTERM comes first where a job is preempted. The weights are those of an
    undisturbed run, bit by bit.
    """
    asked = [a for a in tiny if not a.startswith("trainer.max_epochs")]
    asked += ["trainer.max_epochs=60", "scheme=passport_v1", "passport.key=hush"]
    with command("train", "-m", *asked, "hydra/launcher=submitit_local", "paths.runs=told") as process:
        (checkpoint,) = until(lambda: list(Path().glob("told/train/*/checkpoints/last.ckpt")))
        (folder,) = Path("told/jobs").glob("*")
        (job,) = processes_of(folder.absolute())
        os.kill(job, signal.SIGTERM)
        until(lambda: "Bypassing signal SIGTERM" in "".join(p.read_text() for p in folder.glob("*.err")))
        stopped_at = checkpoint.stat().st_mtime_ns
        until(lambda: checkpoint.stat().st_mtime_ns > stopped_at)  # it goes on: SIGTERM alone ends nothing
        os.kill(job, signal.SIGUSR2)
        until(lambda: processes_of(folder.absolute()) not in ([job], []))
        out, err = process.communicate(timeout=SECONDS)
    assert process.returncode == 0, err
    assert "[1/1]" in out
    assert err == ""
    assert not list(Path().glob("told/jobs/*"))
    with command("train", *asked, "paths.runs=undisturbed") as process:
        process.communicate(timeout=SECONDS)
    assert process.returncode == 0
    assert weights("told") == weights("undisturbed")
    assert [path.read_text().count("\n") for path in Path().glob("*/train/*/metrics.csv")] == [61, 61]


@pytest.mark.system
@pytest.mark.parametrize("name", ["local", "joblib", "submitit_local"])
def test_an_interrupted_sweep_ends_its_jobs_in_one_line_and_goes_on_later(at_home, tiny, name):
    asked = [a for a in tiny if not a.startswith("trainer.max_epochs")]
    asked = ["train", "-m", *asked, "trainer.max_epochs=5000", "scheme=baseline", "seed=0,1", f"hydra/launcher={name}"]
    if name == "joblib":
        asked.append("hydra.launcher.n_jobs=2")
    with command(*asked) as process:
        until(lambda: list(Path().glob("runs/train/*/checkpoints/last.ckpt")))
        folders = [path.absolute() for path in Path("runs/jobs").glob("*")]
        assert len(folders) == (1 if name == "submitit_local" else 0)
        assert {path.stat().st_mode & 0o777 for path in folders} <= {0o700}
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: every process hears it
        _, err = process.communicate(timeout=SECONDS)
    assert process.returncode == 130
    assert err.splitlines() == ["ipr: interrupted; the same command goes on where this one stopped"]
    assert not list(Path().glob("runs/jobs/*"))
    for folder in folders:
        assert not processes_of(folder)
    assert not list(Path().glob("runs/train/*/record.json"))


@pytest.mark.system
def test_processes_of_joblib_leave_it_to_the_one_that_was_asked_to_hear_an_interruption(at_home, tiny):
    """A terminal interrupts them all, wherever they are; they are ended, and say nothing."""
    asked = [a for a in tiny if not a.startswith("trainer.max_epochs")]
    asked += ["trainer.max_epochs=100", "scheme=baseline", "seed=0,1", "hydra/launcher=joblib"]
    with command("train", "-m", *asked, "hydra.launcher.n_jobs=2") as process:
        until(lambda: len(list(Path().glob("runs/train/*/checkpoints/last.ckpt"))) == 2)
        joblibs = [pid for pid, words in commands().items() if any("LokyProcess" in word for word in words)]
        workers = [pid for pid in joblibs if os.getsid(pid) == process.pid]
        assert len(workers) == 2
        for worker in workers:
            os.kill(worker, signal.SIGINT)
        _, err = process.communicate(timeout=SECONDS)
    assert (process.returncode, err) == (0, "")
    assert len(list(Path().glob("runs/train/*/record.json"))) == 2


@pytest.mark.system
@pytest.mark.parametrize("name", ["joblib", "submitit_local"])
def test_the_commands_of_the_document_run(ipr, tiny, name, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    commands = [c for c in commands_of(DOCS / "cluster.md") if f"hydra/launcher={name}" in c]
    assert commands
    for said in commands:
        outcome = ipr(*shlex.split(said)[1:], *tiny)
        assert outcome.code == 0, outcome.err
    assert len(list(Path().glob("runs/train/*/record.json"))) == 4


def test_nobody_else_may_put_jobs_in_the_place_of_ours(tmp_path):
    """What lies there is unpickled."""
    base = tmp_path / "runs" / "jobs"
    folder = private_folder(base)
    assert [path.stat().st_mode & 0o777 for path in (base, folder)] == [0o700, 0o700]
    for mode in (0o770, 0o707, 0o777, 0o722):
        base.chmod(mode)
        with pytest.raises(InputError, match="lets others put jobs in the place of yours; chmod go-w"):
            private_folder(base)
    for mode in (0o1777, 0o755):  # as /tmp: nobody renames what is another's
        base.chmod(mode)
        assert private_folder(base).stat().st_mode & 0o777 == 0o700
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be written"):
        private_folder(tmp_path / "file" / "jobs")
