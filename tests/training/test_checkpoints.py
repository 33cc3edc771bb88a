"""When a training leaves a checkpoint, and what a stopped one goes on from."""

import signal
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from ipr.errors import InputError
from ipr.training.checkpoints import CheckpointFiles, before, epochs_in
from ipr.training.metrics import MetricsFile, read_metrics
from ipr.workflows.train import train

ASKED = ("scheme=passport_v2", "trainer.max_epochs=4")


def last(runs):
    """The epochs in the last checkpoint; None where there is none."""
    found = list(Path(runs).glob("train/*/checkpoints/last.ckpt"))
    return epochs_in(found[0]) if found else None


@pytest.fixture
def clock(monkeypatch):
    """A clock that only a test moves."""
    at = [1000.0]
    monkeypatch.setattr("ipr.training.checkpoints.time.monotonic", lambda: at[0])
    return at


def stopping(monkeypatch, epoch, how):
    """Does something at the end of an epoch, before its checkpoint."""
    plain = MetricsFile.on_train_epoch_end

    def end(self, trainer, pl_module):
        plain(self, trainer, pl_module)
        if trainer.current_epoch == epoch:
            how()

    monkeypatch.setattr(MetricsFile, "on_train_epoch_end", end)


def test_a_file_comes_no_sooner_than_asked_and_what_is_held_is_what_it_was(tmp_path, clock):
    files, weight = CheckpointFiles(60.0), torch.zeros(3)

    def saved(epoch):
        files.save_checkpoint({"epoch": epoch, "state_dict": {"w": weight}}, tmp_path / "last.ckpt")
        weight.add_(1)  # the training goes on in the same memory

    for clock[0], expected in ((1059.0, None), (1060.0, 2), (1100.0, 2), (1119.0, 2), (1121.0, 5)):
        saved(epoch := int(weight[0]))
        found = torch.load(tmp_path / "last.ckpt", weights_only=True) if (tmp_path / "last.ckpt").exists() else None
        assert expected == (None if found is None else found["epoch"] + 1), epoch
    saved(5)
    assert epochs_in(tmp_path / "last.ckpt") == 5
    files.flush()
    found = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert (found["epoch"], found["state_dict"]["w"].tolist()) == (5, [5.0] * 3)
    assert epochs_in(before(tmp_path / "last.ckpt")) == 5
    stamp = (tmp_path / "last.ckpt").stat().st_mtime_ns
    files.flush()
    assert (tmp_path / "last.ckpt").stat().st_mtime_ns == stamp


def test_a_training_of_a_moment_writes_its_last_epoch_alone(request_for, monkeypatch):
    written = []
    plain = CheckpointFiles._write
    monkeypatch.setattr(CheckpointFiles, "_write", lambda *told: (written.append(told[1]["epoch"]), plain(*told)))
    run = train(request_for(*ASKED))
    assert written == [3]
    every = train(request_for(*ASKED, "trainer.checkpoint_seconds=0", "paths.runs=every"))
    assert written == [3, 0, 1, 2, 3]
    assert run.folder.key == every.folder.key
    one, two = (load_file(one.folder.weights) for one in (run, every))
    assert all(torch.equal(one[name], two[name]) for name in one)


@pytest.mark.sampled(3)
@pytest.mark.parametrize("how", ["ctrl-c", "sigterm", "a job's handler"])
def test_who_stops_a_training_loses_no_epoch(request_for, monkeypatch, how):
    """It goes on from the last whole one, to the bits of one that was left alone."""

    def stop():
        if how == "ctrl-c":
            raise KeyboardInterrupt
        if how == "sigterm":
            signal.raise_signal(signal.SIGTERM)
        else:
            raise SystemExit(1)

    with monkeypatch.context() as patched:
        stopping(patched, 2, stop)
        with pytest.raises((KeyboardInterrupt, SystemExit)):
            train(request_for(*ASKED))
    assert last("runs") in (2, 3)  # a signal is heard after the checkpoint, an exception before it
    rows = read_metrics(next(Path("runs/train").iterdir()) / "metrics.csv")
    assert [int(row["epoch"]) for row in rows] == [0, 1, 2]
    again, whole = train(request_for(*ASKED)), train(request_for(*ASKED, "paths.runs=whole"))
    one, two = (load_file(run.folder.weights) for run in (again, whole))
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert [int(row["epoch"]) for row in read_metrics(again.folder.metrics)] == [0, 1, 2, 3]


def test_a_training_that_another_process_has_taken_over_writes_nothing_more(request_for, monkeypatch):
    def lost():
        raise InputError("lease", "runs", "was taken over", "wait")

    stopping(monkeypatch, 2, lost)
    with pytest.raises(InputError, match="taken over"):
        train(request_for(*ASKED))
    assert last("runs") is None
