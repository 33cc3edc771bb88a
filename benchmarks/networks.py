"""The networks, passports and schemes that the benchmarks compare."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ipr.config.recipe import Recipe
from ipr.data.images import ImageData
from ipr.data.trigger_sets import abstract_trigger_set
from ipr.models import build_model
from ipr.passport.generate import random_passport, with_energy
from ipr.passport.surgery import find_layers, protect
from ipr.schemes.base import Scheme
from ipr.schemes.baseline import Baseline
from ipr.schemes.passport import SignatureLoss
from ipr.schemes.passport_v1 import PassportV1
from ipr.schemes.passport_v2 import PassportV2, PassportV3
from ipr.schemes.triggers import TriggerSamples
from ipr.signature import draw_signature

LAYERS = {"alexnet": ["conv3", "conv4", "conv5"], "resnet18": ["conv5_x"]}
"""Table IV."""

RECIPE = Recipe(lr=0.001, momentum=0.9, weight_decay=5e-4, schedule="constant", warmup=0.0, clip_norm=None)


def plain(name: str, norm: str, width: float, image_size: int = 32) -> nn.Module:
    """A plain network at its start, channels last."""
    torch.manual_seed(0)
    network = build_model(name, norm=norm, width=width, channels_in=3, image_size=image_size, num_classes=10)
    return network.to(memory_format=torch.channels_last)


def batch(size: int = 64, image_size: int = 32) -> tuple[Tensor, Tensor]:
    """Images of noise and labels: what is in them takes no time."""
    source = torch.Generator().manual_seed(1)
    images = torch.randn(size, 3, image_size, image_size, generator=source)
    return images.to(memory_format=torch.channels_last), torch.randint(10, (size,), generator=source)


def passport_for(
    network: nn.Module, name: str, image_size: int = 32, layers: list[str] | None = None
) -> dict[str, Tensor]:
    """A random passport of energy 3 for the layers of Table IV, or for those named."""
    places = find_layers(network, batch(1, image_size)[0], layers or LAYERS[name])
    return with_energy(random_passport(places, torch.Generator().manual_seed(2)), network, 3.0)


def scheme(
    kind: type[Baseline | PassportV1 | PassportV2],
    name: str,
    norm: str,
    width: float,
    layers: list[str] | None = None,
    image_size: int = 32,
) -> Scheme:
    """A scheme as `ipr train` builds it."""
    network = plain(name, norm, width, image_size)
    if kind is Baseline:
        return Baseline(network, RECIPE, 10).train()
    example, passport = batch(1, image_size)[0], passport_for(network, name, image_size, layers)
    protected = protect(network, passport, example, public_affine=kind is not PassportV1)
    capacities = {conv: network.get_submodule(conv).out_channels for conv in passport}
    signature = draw_signature(capacities, None, torch.Generator().manual_seed(3))  # type: ignore[arg-type]
    loss = SignatureLoss()
    if kind is PassportV1:
        return PassportV1(protected, RECIPE, 10, signature=signature, signature_loss=loss).train()
    triggers = None
    if kind is PassportV3:
        secret = abstract_trigger_set(100, 32, 3, 10, torch.Generator().manual_seed(4))
        triggers = TriggerSamples(secret, 2, _no_images(), 0)
    assert issubclass(kind, PassportV2)
    return kind(
        protected, RECIPE, 10, signature=signature, signature_loss=loss, example=example, triggers=triggers
    ).train()


def _no_images() -> ImageData:
    pixels, labels = torch.zeros(1, 32, 32, 3, dtype=torch.uint8), torch.zeros(1, dtype=torch.int64)
    return ImageData(pixels, labels, pixels, labels, tuple(map(str, range(10))), (0.5,) * 3, (0.25,) * 3, "none")


def stepping(network: nn.Module, loss: Callable[[], Tensor]) -> Callable[[], None]:
    """One step of training: gradients of a loss, and SGD with momentum and weight decay."""
    optimizer = torch.optim.SGD(network.parameters(), RECIPE.lr, momentum=0.9, weight_decay=RECIPE.weight_decay)

    def step() -> None:
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()

    return step


def training_step(scheme: Scheme, x: Tensor, y: Tensor) -> Callable[[], None]:
    """One step of a scheme on one batch, without the loop around it."""
    return stepping(scheme, lambda: torch.stack(list(scheme.terms(x, y).values())).sum())
