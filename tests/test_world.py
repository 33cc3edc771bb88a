"""Whoever calls: what he has set for his process changes no result, and he finds it as he left it."""

from __future__ import annotations

import logging
import os
import random
import signal
import threading
import warnings
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache as once

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.plugins import Plugins
from hydra.version import getbase
from PIL import ImageFile
from torch import nn

import ipr
from ipr.digests import weights_digest
from ipr.suspects.weights import read_weights
from ipr.world import own_world

TINY = (
    "dataset=digits", "dataset.image_size=8", "dataset.limit_train=64", "dataset.limit_test=20", "model.width=0.25",
    "trainer.max_epochs=1", "optimizer.batch_size=32", "trainer.progress_bar=false", "trainer.accelerator=cpu",
    "logger=csv", "passport=random", "scheme=passport_v1", "verification.forged=2",
)  # fmt: skip


@pytest.fixture(scope="module")
def trained(tmp_path_factory, cache):
    """Trains in a store of its own, and tells the weights by their digest."""

    def train(seed: int = 0) -> str:
        runs = tmp_path_factory.mktemp("runs")
        asked = ipr.configuration("train", *TINY, f"paths.runs={runs}", f"paths.cache={cache}", f"seed={seed}")
        return weights_digest(read_weights(ipr.train(asked).folder.weights))

    return train


@pytest.fixture(scope="module")
def plain(trained):
    """The weights of a seed where nobody has set anything."""
    return once(trained)


@contextmanager
def dtype():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@contextmanager
def denormals():
    torch.set_flush_denormal(True)
    yield
    torch.set_flush_denormal(False)


@contextmanager
def no_gradients():
    with torch.no_grad(), torch.inference_mode():
        yield


@contextmanager
def strict_numpy():
    with np.errstate(all="raise"):
        yield


WORLDS = {
    "dtype": dtype,
    "autocast": lambda: torch.autocast("cpu"),
    "no gradients": no_gradients,
    "device": lambda: torch.device("meta"),
    "denormals": denormals,
    "NumPy's errors": strict_numpy,
}


@pytest.mark.sampled(3)
@pytest.mark.parametrize("world", WORLDS)
def test_a_key_gives_the_same_weights_in_every_world(world, trained, plain):
    with WORLDS[world]():
        assert trained() == plain(0)


def settings() -> dict[str, object]:
    """Everything that a caller would miss."""
    return {
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "warn only": torch.is_deterministic_algorithms_warn_only_enabled(),
        "cudnn": [getattr(torch.backends.cudnn, name) for name in ("deterministic", "benchmark", "allow_tf32")],
        "float32": torch.get_float32_matmul_precision(),
        "dtype": torch.get_default_dtype(),
        "threads": torch.get_num_threads(),
        "gradients": torch.is_grad_enabled(),
        "random": random.getstate(),
        "numpy": np.random.get_state()[1].tolist(),
        "torch": torch.get_rng_state().tolist(),
        "warnings": list(warnings.filters),
        "signals": [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)],
        "levels": [logging.getLogger(name).level for name in ("lightning.pytorch", "lightning.fabric", "wandb", "")],
        "environment": {name: text for name, text in os.environ.items() if name != "PYTEST_CURRENT_TEST"},
        "torn images": ImageFile.LOAD_TRUNCATED_IMAGES,
    }


def test_a_training_leaves_everything_as_it_was(trained, plain):
    torch.manual_seed(5)
    before = settings()
    assert trained(1) != plain(0)
    assert settings() == before


def test_what_was_set_by_hand_is_still_set_and_changed_nothing(trained, plain, monkeypatch):
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":16:8")
    monkeypatch.setenv("PL_GLOBAL_SEED", "7")
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", True)
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    monkeypatch.setattr(logging.getLogger("lightning.pytorch"), "level", logging.ERROR)
    torch.use_deterministic_algorithms(True, warn_only=True)
    torch.set_float32_matmul_precision("medium")
    random.seed(3), np.random.seed(4), torch.manual_seed(5)
    try:
        before = settings()
        assert trained() == plain(0)
        assert settings() == before
    finally:
        torch.set_float32_matmul_precision("highest")
        torch.use_deterministic_algorithms(False)


def test_the_world_is_put_back_after_an_error_too():
    before = settings()

    @own_world()
    def fails() -> None:
        torch.set_default_dtype(torch.float64)
        torch.use_deterministic_algorithms(True)
        random.seed(1), torch.manual_seed(1)
        os.environ["PL_GLOBAL_SEED"] = "1"
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fails()
    assert settings() == before


def test_two_trainings_in_threads_give_the_weights_of_their_seeds(trained, plain):
    found: dict[int, str] = {}
    threads = [threading.Thread(target=lambda s=seed: found.update({s: trained(s)})) for seed in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {0: plain(0), 1: plain(1)}


class WithDropout(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.drop = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Dropout(0.5)
        self.fc = nn.Linear(8, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.drop(torch.relu(self.norm(self.conv(x)))).mean((2, 3)))


@pytest.mark.parametrize("callers", [0, 1])
def test_dropout_follows_from_the_seed_and_the_epoch(callers, data, tmp_path):
    from ipr.config.recipe import Recipe
    from ipr.schemes.baseline import Baseline
    from ipr.training.fit import fit

    config = ipr.configuration("train", *TINY)
    recipe = Recipe(0.1, 0.9, 0.0, "constant", 0.0, None)
    weights = []
    for state in (17, 18 + callers):
        torch.manual_seed(1)
        scheme = Baseline(WithDropout(), recipe, 10)
        torch.manual_seed(state)  # the caller's own generator
        place = tmp_path / str(state)
        place.mkdir()
        fit(
            scheme, data, config, epochs=1, clip_norm=None, seed=callers,
            checkpoint=place / "last.ckpt", metrics=place / "metrics.csv",
        )  # fmt: skip
        weights.append(weights_digest(scheme.network.state_dict()))
    assert weights[0] == weights[1]


def test_passports_and_signatures_are_drawn_alike_in_every_world():
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8))
    example = torch.rand(1, 3, 8, 8)

    def drawn():
        layers = ipr.find_layers(network, example)
        passport = ipr.random_passport(layers, torch.Generator("cpu").manual_seed(1))
        bits = ipr.draw_signature({"0": 8}, None, torch.Generator("cpu").manual_seed(2))
        return passport["0"], bits["0"], ipr.protect(network, passport, example, public_affine=True).state_dict()

    passport, bits, state = drawn()
    for world in WORLDS.values():
        with world():
            again, bits_again, state_again = drawn()
        assert again.dtype is torch.float32
        assert torch.equal(again, passport)
        assert torch.equal(bits_again, bits)
        assert all(torch.equal(state_again[name], tensor) for name, tensor in state.items())


@dataclass
class Theirs:
    name: str = "theirs"


@pytest.fixture
def their_hydra(tmp_path):
    """A program that uses Hydra: its store, and a configuration that it has open."""
    store = ConfigStore.instance()
    Plugins.instance()
    before = store.repo
    store.repo = {name: before[name] for name in ("hydra", "_dummy_empty_config_.yaml")}
    for group, name in (("study", "a"), ("model", "alexnet"), (None, "train"), ("schema/scheme", "uchida")):
        store.store(group=group, name=name, node=Theirs)
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf/app.yaml").write_text("x: 1\n")
    with initialize_config_dir(str(tmp_path / "conf"), version_base="1.2"):
        yield store
    store.repo = before


def test_a_configuration_is_made_inside_a_program_of_hydra(their_hydra):
    hydra = GlobalHydra.instance().hydra
    assert ipr.configuration("train", "scheme=uchida").model.name == "alexnet"
    assert ipr.configuration("attack", "attack=prune").attack.name == "prune"
    assert their_hydra is ConfigStore.instance()
    assert {name: list(their_hydra.repo[name]) for name in ("study", "model", "schema")} == {
        "study": ["a.yaml"], "model": ["alexnet.yaml"], "schema": ["scheme"],
    }  # fmt: skip
    assert hydra is GlobalHydra.instance().hydra
    assert (str(getbase()), compose("app").x) == ("1.2", 1)


def test_a_configuration_that_is_refused_leaves_hydra_alone_too(their_hydra):
    with pytest.raises(ipr.InputError):
        ipr.configuration("train", "schem=uchida")
    assert compose("app").x == 1


def test_a_command_inside_a_program_of_hydra_leaves_it_alone(their_hydra, ipr):
    asked = ipr("train", "model=none")
    assert (asked.code, "choose among" in asked.err) == (2, True)
    assert (str(getbase()), compose("app").x, list(their_hydra.repo["study"])) == ("1.2", 1, ["a.yaml"])


@pytest.mark.system
def test_a_wandb_run_of_the_callers_stays_open(trained, tmp_path, cache):
    import wandb

    own = wandb.init(mode="offline", project="theirs", dir=tmp_path, settings=wandb.Settings(silent=True))
    try:
        asked = [word for word in TINY if word not in ("logger=csv", "scheme=passport_v1")]
        config = ipr.configuration("train", *asked, "scheme=baseline", f"paths.cache={cache}")
        run = ipr.train(config)
        own.log({"theirs": 1})
        assert wandb.run is own
        assert own.dir not in [str(path) for path in run.folder.path.rglob("files")]
    finally:
        own.finish()
        wandb.teardown()
