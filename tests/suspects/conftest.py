"""A small network, images, and a server of that network; a victim for hostile files to pose as."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from inference_server import serving
from ipr import configuration
from trained import trained_once

MEAN, STD = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)


@pytest.fixture(scope="session")
def network():
    torch.manual_seed(5)
    built = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 36, 10)).eval()
    with torch.no_grad():
        built[3].bias -= built(torch.randn(500, 3, 8, 8)).mean(0)  # so that it gives many different answers
    return built


@pytest.fixture
def pixels():
    return torch.randint(256, (40, 8, 8, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def own_answers(network, pixels):
    """What the network itself says, each image normalised the long way."""
    x = (pixels.permute(0, 3, 1, 2).double() / 255 - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
    with torch.no_grad():
        return network(x.float()).argmax(1)


@pytest.fixture
def ask(network):
    def scores(images):
        with torch.no_grad():
            return network(torch.from_numpy(images)).numpy()

    return scores


@pytest.fixture
def server(ask):
    with serving(ask, [-1, 3, 8, 8]) as started:
        yield started


@pytest.fixture(scope="session")
def victim(shared, cache) -> Path:
    """The run folder of a small V3, trained for a second."""
    asked = (
        "scheme=passport_v3", "model.norm=bn", "passport=random", "trigger_set.size=8", "logger=csv",
        "model.width=0.1", "dataset.image_size=8", "dataset.limit_train=64", "dataset.limit_test=20",
        "optimizer.batch_size=32", "trainer.max_epochs=1", "trainer.progress_bar=false", "trainer.accelerator=cpu",
        "verification.forged=2", f"paths.cache={cache}",
    )  # fmt: skip
    (folder,) = trained_once(shared, configuration("train", *asked)).glob("train/*")
    return folder
