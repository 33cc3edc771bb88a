"""A victim for hostile files to pose as."""

from __future__ import annotations

from pathlib import Path

import pytest

from ipr.cli import main


@pytest.fixture(scope="session")
def victim(tmp_path_factory, cache) -> Path:
    """The run folder of a small V3, trained for a second."""
    place = tmp_path_factory.mktemp("victim")
    asked = (
        "scheme=passport_v3", "model.norm=bn", "passport=random", "trigger_set.size=8", "logger=csv",
        "model.width=0.1", "dataset.image_size=8", "dataset.limit_train=64", "dataset.limit_test=20",
        "optimizer.batch_size=32", "trainer.max_epochs=1", "trainer.progress_bar=false", "trainer.accelerator=cpu",
        "verification.forged=2",
    )  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        patch.setenv("IPR_CACHE", str(cache))
        patch.setattr("sys.argv", ["ipr"])
        with pytest.raises(SystemExit) as stopped:
            main(["train", *asked])
    assert stopped.value.code == 0
    (folder,) = place.glob("runs/train/passport_v3-*")
    return folder
