"""Several processes train as one does: two real processes over gloo, against one with the same batch, in float64."""

from __future__ import annotations

import contextlib
import csv
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import distributed
from torch.distributed import TCPStore

from ipr.errors import InputError
from ipr.training.distributed import launcher
from ipr.training.distributed.launch import Launch, as_torchrun
from ipr.workflows.attack import attack
from ipr.workflows.train import train

pytestmark = pytest.mark.system

DOUBLE = ("trainer.precision=64-true", "dataset.flip=true")
TWO = ("trainer=ddp", "trainer.devices=2", "trainer.accelerator=cpu")
WHERE = ("cpu", *(["gpu"] if torch.cuda.device_count() > 1 else []))
"""Processes need a device each: there is one emulated device alone."""

CLOCKS = ("train_seconds", "judge_seconds", "finished", "seconds", "share_of_training", "hardware")


WORKER = """
from ipr.training.distributed.launch import launched
from ipr.training.distributed.worker import join_fits
join_fits(launched())
"""


@pytest.fixture(scope="module")
def launch(tmp_path_factory):
    """Two processes for all tests of this file, as torchrun would start them; this one is of rank 0."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": "2", "RANK": "1", "LOCAL_RANK": "1"}
    command = [sys.executable, "-P", "-c", WORKER]
    environment = {**os.environ, **place, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, env=environment, cwd=tmp_path_factory.mktemp("worker")) as worker:
        first = Launch(0, 2, TCPStore("127.0.0.1", port, 2, is_master=True))
        yield first
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(launcher, "launched", lambda: first)
            assert launcher.on_rank_0(lambda: 0) == 0
        assert worker.wait(60) == 0


@pytest.fixture
def together(launch, monkeypatch):
    """Nothing is pickled by torch.distributed, whose ports others may reach."""

    def refuse(*arguments):
        raise AssertionError("torch.distributed pickles")

    for name in ("_tensor_to_object", "_object_to_tensor"):
        monkeypatch.setattr(distributed.distributed_c10d, name, refuse)
    monkeypatch.setattr(launcher, "launched", lambda: launch)


def _rows(path):
    with path.open(newline="") as file:
        return [
            {name: float(value) for name, value in row.items() if name != "seconds" and value}
            for row in csv.DictReader(file)
        ]


def _same(one, two):
    assert one.keys() == two.keys()
    for name in one.keys() - set(CLOCKS):
        expected = pytest.approx(one[name], rel=1e-7) if isinstance(one[name], float) else one[name]
        assert two[name] == expected, name


def _files(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def _same_weights(one, two):
    assert one.keys() == two.keys()
    for name in one:
        torch.testing.assert_close(two[name], one[name], rtol=1e-9, atol=1e-9, msg=name)


@pytest.mark.parametrize("where", WHERE)
@pytest.mark.parametrize(
    "asked",
    [
        ("scheme=baseline",),
        ("scheme=passport_v1", "scheme.embed_trigger_set=true"),
        ("scheme=passport_v2",),
        ("scheme=passport_v2", "scheme.alternation=alternate"),
        ("scheme=passport_v2", "model.norm=bn"),
        ("scheme=passport_v2", "model.norm=bn", "passport.energy=30", "passport.step_energy=3"),
        ("scheme=passport_v3",),
        ("scheme=steganographic", "scheme.balance_weight=0.1"),
        ("scheme=seal",),
        ("scheme=uchida",),
        ("scheme=deepsigns", "scheme.images=4"),
        ("scheme=trigger_set",),
        ("scheme=ewe", "trigger_set.size=8"),
        ("scheme=dataset_inference", "trigger_set.size=8"),
        ("scheme=baseline", "model=resnet18", "trainer.max_epochs=1"),
    ],
    ids=lambda asked: " ".join(asked),
)
def test_two_processes_train_as_one_does(request_for, together, asked, where):
    there = f"trainer.accelerator={where}"
    one = train(request_for(*asked, *DOUBLE, there, "paths.runs=one"))
    two = train(request_for(*asked, *DOUBLE, *TWO[:2], there, "paths.runs=two"))
    assert two.folder.key == one.folder.key
    rows = [_rows(run.folder.metrics) for run in (one, two)]
    assert len(rows[0]) == one.record.epochs
    for single, double in zip(*rows, strict=True):
        assert double == {name: pytest.approx(value, rel=1e-8, abs=1e-9) for name, value in single.items()}
    _same_weights(*(load_file(run.folder.weights) for run in (one, two)))
    if one.folder.claim.exists():
        _same_weights(*(load_file(run.folder.claim / "secrets.safetensors") for run in (one, two)))
    _same(asdict(one.record), asdict(two.record))
    assert two.record.hardware == f"{one.record.hardware}, 2 processes"
    assert _files(two.folder.path) == _files(one.folder.path)


def test_an_attack_trains_so_too_on_its_own_images(request_for, together):
    asked = ("scheme=uchida", "attack=finetune", "attack.epochs=2", "dataset@transfer=digits_parity",
             "transfer.image_size=8", "transfer.limit_train=96", "transfer.limit_test=40")  # fmt: skip
    one, two = (
        attack(request_for(*asked, *more, command="attack")) for more in (["paths.runs=one"], [*TWO, "paths.runs=two"])
    )
    for single, double in zip(one.rows, two.rows, strict=True):
        assert (double.key, double.point, double.bits_agreeing) == (single.key, single.point, single.bits_agreeing)
        assert double.accuracy_after == pytest.approx(single.accuracy_after, abs=0.1)  # of 40 images, in float32
    assert _files(Path("two/attack")) == _files(Path("one/attack"))
    metrics = [_rows(run.folder.path / "metrics-finetune.csv") for run in (one, two)]
    assert metrics[1] == [{name: pytest.approx(value, rel=1e-3) for name, value in row.items()} for row in metrics[0]]


def test_searches_side_by_side_do_too(request_for, together):
    asked = ("scheme=passport_v1", "attack=fake3", "attack.dissimilarity=[0.1,0.5]", "attack.epochs=1", *DOUBLE)
    one, two = (
        attack(request_for(*asked, *more, command="attack")) for more in (["paths.runs=one"], [*TWO, "paths.runs=two"])
    )
    metrics = [_rows(run.folder.path / "metrics-fake3.csv") for run in (one, two)]
    assert metrics[1] == [{name: pytest.approx(value, rel=1e-6) for name, value in row.items()} for row in metrics[0]]
    assert [row.bits_agreeing for row in one.rows] == [row.bits_agreeing for row in two.rows]


def test_a_fit_that_fails_at_rank_0_leaves_the_others_ready(request_for, together):
    """Divergence, which all find, and what only rank 0 meets."""
    with pytest.raises(ValueError, match="diverged"):
        train(request_for("scheme=baseline", *TWO, "optimizer.lr=1e30", "optimizer.clip_norm=null", "paths.runs=bad"))
    asked = request_for("scheme=baseline", *TWO)
    folder = train(asked).folder
    shutil.rmtree(folder.path)
    folder.metrics.mkdir(parents=True)
    with pytest.raises(IsADirectoryError):
        train(asked)
    folder.metrics.rmdir()
    assert train(asked).record.epochs == 2


def test_what_another_process_lacks_is_told_by_the_first(request_for, together):
    """Its working folder is another one here, as a disk may be on another machine."""
    for part in ("train", "test"):
        for label in ("cat", "dog"):
            (folder := Path("pictures") / part / label).mkdir(parents=True)
            for number in range(4):
                Image.new("RGB", (8, 8), (60 * number, len(label), 0)).save(folder / f"{number}.png")
    asked = ("dataset=image_folder", "dataset.root=pictures", "dataset.limit_train=8", "dataset.limit_test=8",
             "scheme=baseline", "optimizer.batch_size=4")  # fmt: skip
    with pytest.raises(InputError, match=r"dataset\.root=pictures: process 1 \("):
        train(request_for(*asked, *TWO))
    assert train(request_for("scheme=baseline", *TWO, "trainer.max_epochs=1")).record.epochs == 1


TINY = (
    "model.width=0.25", "dataset.image_size=8", "dataset.limit_train=128", "dataset.limit_test=40", "logger=csv",
    "trainer.progress_bar=false", "verification.forged=3", "passport=random", "optimizer.batch_size=32",
    "trainer.max_epochs=2", "trainer.checkpoint_seconds=0", *TWO,
)  # fmt: skip
IPR = ("-c", "from ipr.cli import main; main()")


def _environment(cache):
    return os.environ | {"IPR_CACHE": str(cache), "OMP_NUM_THREADS": "1"}


def _workers(parent):
    """The processes that a process of rank 0 has started for a fit."""
    found = []
    for status in Path("/proc").glob("[0-9]*/status"):
        with contextlib.suppress(OSError):  # it ends meanwhile
            is_child = f"\nPPid:\t{parent}\n" in status.read_text()
            if is_child and "-m\0ipr.training.distributed.worker" in status.with_name("cmdline").read_text():
                found.append(int(status.parent.name))
    return sorted(found)


def _alive(pid):
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"


def _checkpointed(runs, process=None):
    """Waits for the first checkpoint."""
    deadline = time.monotonic() + 120
    while not list(Path(runs).glob("train/*/checkpoints/last.ckpt")):
        assert process is None or process.poll() is None, "it ended before it had a checkpoint"
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_sweep_starts_other_processes_for_each_training_and_they_write_nothing(cache):
    asked = ("scheme=uchida,baseline", "trainer.max_epochs=1", "passport.key=k")
    command = [sys.executable, *IPR, "train", "-m", *TINY, *asked]
    done = subprocess.run(command, env=_environment(cache), capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("made: ") == 2
    assert done.stderr == ""
    assert sorted(path.name.split("-")[0] for path in Path("runs/train").iterdir()) == ["baseline", "uchida"]
    assert [path.name for path in Path().iterdir()] == ["runs"]


def test_a_killed_rank_0_leaves_nobody_behind_and_its_run_goes_on(request_for, together, cache):
    """To the bits of a run that was left alone."""
    asked = (*TINY, "scheme=passport_v2", "trainer.max_epochs=8", "passport.key=7391-of-ours")
    command = [sys.executable, *IPR, "train", *asked, "paths.runs=broken"]
    with subprocess.Popen(command, env=_environment(cache)) as first:
        _checkpointed("broken", first)
        (worker,) = _workers(first.pid)
        seen = [Path(f"/proc/{worker}/{name}").read_bytes() for name in ("cmdline", "environ")]
        first.send_signal(signal.SIGKILL)
    assert not any(b"7391-of-ours" in each for each in seen)
    deadline = time.monotonic() + 30
    while _alive(worker):
        assert time.monotonic() < deadline, "the worker lives on"
        time.sleep(0.05)
    broken, whole = (train(request_for(*asked, f"paths.runs={runs}")) for runs in ("broken", "whole"))
    assert not broken.found
    one, two = (load_file(run.folder.weights) for run in (broken, whole))
    assert all(torch.equal(one[name], two[name]) for name in two)
    assert [row["epoch"] for row in _rows(broken.folder.metrics)] == [*range(8)]


def test_a_killed_worker_ends_the_run_with_an_error(request_for):
    def kill() -> None:
        _checkpointed("runs")
        (worker,) = _workers(os.getpid())
        os.kill(worker, signal.SIGKILL)

    killing = threading.Thread(target=kill, daemon=True)
    killing.start()
    threads = torch.get_num_threads()
    with pytest.raises(InputError, match=r"process 1 of 2 was killed by SIGKILL; .* the same command goes on"):
        train(request_for("scheme=baseline", *TWO, "trainer.max_epochs=5000", "trainer.checkpoint_seconds=0"))
    killing.join()
    assert _workers(os.getpid()) == []
    assert torch.get_num_threads() == threads
    assert not list(Path("runs").glob(".fit.*"))


def test_an_interruption_from_a_terminal_ends_all_with_one_line(cache):
    """It reaches every process of the foreground."""
    asked = (*TINY, "scheme=baseline", "trainer.max_epochs=5000")
    command = [sys.executable, *IPR, "train", *asked]
    with subprocess.Popen(
        command, env=_environment(cache), stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as first:
        _checkpointed("runs", first)
        (worker,) = _workers(first.pid)
        os.killpg(first.pid, signal.SIGINT)
        _, said = first.communicate(timeout=60)
    assert first.returncode == 130
    assert said == "ipr: interrupted; the same command goes on where this one stopped\n"
    assert not _alive(worker)


def test_torchrun_starts_one_run_not_two(cache):
    """Each process runs the whole command; the others take part in the fits of rank 0, through both jobs of a sweep."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", "--standalone", "--no-python"]
    command = [
        *launcher,
        sys.executable,
        *IPR,
        "train",
        "-m",
        *TINY,
        "scheme=uchida,passport_v2",
        "trainer.max_epochs=1",
    ]
    done = subprocess.run(command, env=_environment(cache), capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("made: ") == 2
    assert len(list(Path("runs/train").iterdir())) == 2


SRUN = {
    "SLURM_PROCID": "5",
    "SLURM_STEP_NUM_TASKS": "8",
    "SLURM_LOCALID": "1",
    "SLURM_NODEID": "1",
    "SLURM_STEP_NODELIST": "gpu[07-08]",
}


def test_srun_is_read_as_torchrun_is():
    assert as_torchrun({}) == {}
    assert as_torchrun(SRUN | {"SLURM_STEP_NUM_TASKS": "1"}) == {}
    assert as_torchrun({"SLURM_NTASKS": "8", "SLURM_PROCID": "0"}) == {}  # in a batch script, outside srun
    one = as_torchrun(SRUN | {"SLURM_JOB_ID": "7", "SLURM_STEP_ID": "0"})
    assert one | {"MASTER_PORT": ""} == {
        "RANK": "5", "WORLD_SIZE": "8", "LOCAL_RANK": "1", "NODE_RANK": "1", "MASTER_ADDR": "gpu07", "MASTER_PORT": "",
    }  # fmt: skip
    assert one["MASTER_PORT"] != as_torchrun(SRUN | {"SLURM_JOB_ID": "8", "SLURM_STEP_ID": "0"})["MASTER_PORT"]
    assert one["MASTER_PORT"] != as_torchrun(SRUN | {"SLURM_JOB_ID": "7", "SLURM_STEP_ID": "1"})["MASTER_PORT"]
    assert as_torchrun(SRUN | {"SLURM_STEP_NUM_NODES": "1"})["MASTER_ADDR"] == "127.0.0.1"


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        (["trainer.devices=0"], "trainer.devices=0"),
        (["trainer.nodes=2"], "trainer.nodes=2"),
        (["trainer.devices=3"], "optimizer.batch_size=32"),
        (["trainer.devices=2", "scheme=passport_v3", "trigger_set.per_step=3"], "trigger_set.per_step=3"),
        (["trainer.devices=2", "scheme=zhang_noise", "trigger_set.per_step=1"], "trigger_set.per_step=1"),
    ],
)
def test_what_cannot_be_shared_is_refused_in_a_line(ipr, asked, field):
    done = ipr("train", *TINY, "scheme=baseline", *asked)
    assert done.code == 2
    assert done.err.startswith(f"ipr: error: {field}: ")
    assert done.err.count("\n") == 1
