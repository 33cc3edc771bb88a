"""A composed configuration for exhibits of real, small runs."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hydra import compose, initialize_config_dir

from ipr.config.shipped import shipped
from ipr.exhibits.base import OpenedRun
from ipr.requests.compose import register, typed
from ipr.workflows.exhibit import ExhibitConfig

SMALL = (
    "model.width=0.25", "dataset.image_size=8", "dataset.limit_train=128", "dataset.limit_test=40",
    "optimizer.batch_size=32", "trainer.max_epochs=2", "trainer.progress_bar=false", "trainer.accelerator=cpu",
    "verification.forged=2", "logger=csv", "passport=random",
)  # fmt: skip


@pytest.fixture
def exhibit_for(cache, monkeypatch) -> Callable[..., ExhibitConfig]:
    """A request for an exhibit, at a size of a second."""
    monkeypatch.setenv("IPR_CACHE", str(cache))

    def composed(*arguments: str) -> ExhibitConfig:
        register("exhibit")
        given = {argument.split("=")[0] for argument in arguments}
        overrides = [s for s in SMALL if s.split("=")[0] not in given] + list(arguments)
        with initialize_config_dir(str(shipped("conf")), version_base="1.3"):
            return typed(compose("exhibit", overrides))

    return composed


@pytest.fixture
def case_of(data) -> Callable[..., OpenedRun]:
    """A case made by hand of a network and a claim; what it is not given must not be asked for."""

    def refuse(*_, **__):
        raise AssertionError("this exhibit has no use for it")

    def make(suspect, claim, scheme, **more) -> OpenedRun:
        others = {"layers": ("conv3", "conv4", "conv5"), "baseline": refuse, "train": refuse, "build": refuse}
        given = {"data": data, "seed": 0, "attack_seed": 0, **others, **more}
        return OpenedRun(suspect=suspect, claim=claim, scheme=scheme, **given)

    return make
