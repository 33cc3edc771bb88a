"""A composed configuration for real, small runs."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hydra import compose, initialize_config_dir

from ipr.cli.compose import register, shipped, typed
from ipr.runs.config import TrainConfig


@pytest.fixture
def request_for(cache, monkeypatch) -> Callable[..., TrainConfig]:
    """What `ipr train ARGUMENTS`, or another command, would ask for, at a size of a second."""
    monkeypatch.setenv("IPR_CACHE", str(cache))
    small = [
        "model.width=0.25", "dataset.image_size=8", "dataset.limit_train=128", "dataset.limit_test=40",
        "optimizer.batch_size=32", "trainer.max_epochs=2", "trainer.progress_bar=false", "trainer.accelerator=cpu",
        "verification.forged=3", "logger=csv", "passport=random",
    ]  # fmt: skip

    def composed(*arguments: str, command: str = "train") -> TrainConfig:
        register(command)
        given = {argument.split("=")[0] for argument in arguments}
        overrides = [s for s in small if s.split("=")[0] not in given] + list(arguments)
        with initialize_config_dir(str(shipped("conf")), version_base="1.3"):
            return typed(compose(command, overrides))

    return composed
