"""The real command line, run in this process."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from ipr.cli import main


@dataclass(frozen=True)
class Outcome:
    code: int
    out: str
    err: str


@pytest.fixture
def ipr(monkeypatch, capfd, cache):
    """Calls `ipr ARGUMENTS` in an empty folder."""
    monkeypatch.setenv("IPR_CACHE", str(cache))
    monkeypatch.setenv("HYDRA_FULL_ERROR", "")
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setattr("sys.argv", ["ipr"])

    def call(*arguments: str) -> Outcome:
        capfd.readouterr()
        with pytest.raises(SystemExit) as stopped:
            main(list(arguments))
        captured = capfd.readouterr()
        return Outcome(int(stopped.value.code or 0), captured.out, captured.err)

    return call


TINY = (
    "model.width=0.25", "dataset.image_size=8", "dataset.limit_train=96", "dataset.limit_test=40",
    "optimizer.batch_size=32", "trainer.max_epochs=1", "trainer.progress_bar=false", "trainer.accelerator=cpu",
    "verification.forged=3", "logger=csv", "passport=random",
)  # fmt: skip


@pytest.fixture
def tiny() -> tuple[str, ...]:
    """A training of a second."""
    return TINY


@pytest.fixture
def run_folder():
    """The one run folder of a scheme."""

    def find(scheme: str, runs: str = "runs") -> Path:
        (folder,) = Path(runs).glob(f"train/{scheme}-*")
        return folder

    return find
