"""The script that trains Table VI on a GPU, here on a CPU and on digits: its order, its time, and that it goes on."""

import os
import signal
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

import gpu_table6
from ipr.training.checkpoints import epochs_in
from ipr.training.metrics import read_metrics
from sweeps import until

pytestmark = pytest.mark.system

TINY = (
    "dataset.limit_train=64", "dataset.limit_test=20", "passport.images=2", "verification.forged=2",
    "optimizer.batch_size=32", "trainer.checkpoint_seconds=0",
)  # fmt: skip


@pytest.fixture
def asked(tmp_path):
    return gpu_table6.Asked((), None, tmp_path / "runs", tmp_path / "out", "cpu", False, 10.0, 2, None, ())


def call(*words):
    return gpu_table6.main(gpu_table6.parsed(["--quick", "--device=cpu", "--at-once=1", *words])[0], time.monotonic())


def test_the_most_telling_cells_come_first_and_wait_for_what_they_need(asked):
    cells = gpu_table6.cells_of(asked, asked.request)
    assert len(cells) == 60
    told = [(c.about["model"], c.about["dataset"], *gpu_table6._row(c), c.about.get("transfer")) for c in cells]
    rows = [("baseline", "bn"), ("passport_v1", "bn"), ("baseline", "gn"), ("passport_v2", "gn"), ("passport_v3", "gn")]
    for start, model, dataset in ((0, "alexnet", "cifar10"), (5, "resnet18", "cifar10"), (10, "alexnet", "cifar100")):
        assert told[start : start + 5] == [(model, dataset, *row, None) for row in rows]
    assert told[20] == ("alexnet", "cifar10", "baseline", "bn", "caltech101")
    assert all(transfer is not None for *_, transfer in told[20:])
    needed, by_name = gpu_table6.needs(cells), {cell.name: place for cell, place in zip(cells, told, strict=True)}
    for cell in cells:
        model, dataset, scheme, norm, transfer = by_name[cell.name]
        if scheme == "baseline" and transfer is None:
            assert cell.name not in needed
        else:
            row = (scheme, norm) if transfer else ("baseline", norm)
            assert by_name[needed[cell.name]] == (model, dataset, *row, None)
    assert {cell.values["seed"] for cell in cells} == {0}
    assert {cell.values["trainer.max_epochs"] for cell in cells} == {200}
    faster = replace(asked, overrides=("trainer.precision=bf16-mixed", "trainer.devices=1"))
    assert faster.changes == ["trainer.precision=bf16-mixed"]
    assert {*gpu_table6.needs(gpu_table6.cells_of(faster, faster.request))}.isdisjoint(needed)


class Ended:
    """A process that has ended."""

    def __init__(self, code):
        self.code = code

    def poll(self):
        return self.code


def test_cells_run_side_by_side_and_what_needs_one_that_failed_is_not_begun(asked):
    work = gpu_table6.Work(asked, ["a", "b", "c", "d", "e"], {"b": "a", "d": "c", "e": "d"}, set())
    begun, codes = [], {"a": None, "b": 0, "c": None}

    def begin(name):
        begun.append(name)
        work.running[name] = (Ended(codes[name]), "")

    work._begin = begin
    work.step()
    assert begun == ["a", "c"]  # b waits for a
    work.step()
    assert begun == ["a", "c"]
    work.running["a"][0].code, work.running["c"][0].code = 0, 2
    work.step()
    assert begun == ["a", "c", "b"]
    work.step()
    assert (work.done, work.failed, work.waiting, work.running) == ({"a", "b"}, ["c", "d", "e"], [], {})


def stop_when_there_is_a_checkpoint():
    """SIGTERM to this process, as a scheduler sends it; with a thread that has sent it."""

    def stop():
        until(lambda: list(Path().glob("runs/train/*/checkpoints/last.ckpt")))
        os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=stop)
    thread.start()
    return thread


def test_a_call_that_is_too_short_tells_what_is_missing_and_the_next_ones_go_on(cache, monkeypatch, capsys):
    """Nothing fits into a second; then it is stopped as at its time, in a training; then that goes on and ends."""
    monkeypatch.setenv("IPR_CACHE", str(cache))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    long = ("--cells=1", "--", *TINY, "trainer.max_epochs=200")
    assert call("--seconds=1", *long) == 0
    assert "0 of 10 cells are done; what is missing: runs/report/gpu-table6/cells.md" in capsys.readouterr().out
    assert Path("runs/report/gpu-table6/cells.md").read_text().startswith("10 missing of 10 cells.")
    assert Path("runs/report/gpu-table6/index.html").exists()
    assert not Path("runs/train").exists()
    before = signal.getsignal(signal.SIGTERM)
    thread = stop_when_there_is_a_checkpoint()
    assert call(*long) == 0
    thread.join()
    assert signal.getsignal(signal.SIGTERM) is before
    said = capsys.readouterr().out
    assert "stopped: baseline-alexnet-bn-cifar10-s0-" in said
    assert "0 of 10 cells are done" in said
    (checkpoint,) = Path().glob("runs/train/*/checkpoints/last.ckpt")
    stopped_at = epochs_in(checkpoint)
    assert 0 < stopped_at < 200
    assert not list(Path().glob("runs/train/*/record.json"))
    assert call(*long) == 0
    assert "1 of 10 cells are done" in capsys.readouterr().out
    (log,) = Path("runs/report/gpu-table6/logs").iterdir()
    assert f"goes on from its checkpoint; {stopped_at} of 200 epochs are done" in log.read_text()
    (metrics,) = Path().glob("runs/train/*/metrics.csv")
    assert [int(row["epoch"]) for row in read_metrics(metrics)] == [*range(200)]
    assert "| baseline |" in Path("runs/report/gpu-table6/report.md").read_text()
    assert call(*long) == 0
    assert "begun" not in capsys.readouterr().out  # it is found
