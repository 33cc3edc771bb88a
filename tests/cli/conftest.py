"""What the tests of the command line share."""

from __future__ import annotations

from pathlib import Path

import pytest

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
