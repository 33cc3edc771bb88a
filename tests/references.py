"""Small networks, data and claims for tests; the paper's equations in their literal form are in `reference_forms`."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from ipr.claims.base import Thresholds
from ipr.config.registry import load, load_all
from ipr.data.images import ImageData, normalise
from ipr.judging.claim_kinds import kind_of
from ipr.models import build_model
from ipr.models.inspection import convolution_of
from ipr.passport.claim import PassportClaim
from ipr.passport.generate import random_passport
from ipr.passport.surgery import find_layers, protect
from ipr.schemes.dataset_inference import DatasetInferenceClaim
from ipr.schemes.deepmarks import DeepMarksClaim, code_book
from ipr.schemes.deepsigns import DeepSignsClaim
from ipr.schemes.greedy_residuals import GreedyResidualsClaim
from ipr.schemes.lineage import LineageClaim, flat_weights
from ipr.schemes.neuralmark import NeuralMarkClaim
from ipr.schemes.uchida import UchidaClaim
from ipr.watermarks.adapters import SealClaim
from ipr.watermarks.base import WatermarkClaim

BY_IMAGES = [
    name for name, kind in load_all("scheme").items() if kind.claim_kind and kind.claim_kind.evidence == "images"
]
"""The schemes whose marks are images rather than bits."""


def small(name: str = "alexnet", norm: str = "gn", image_size: int = 16) -> nn.Module:
    torch.manual_seed(1)
    network = build_model(name, norm=norm, width=0.25, channels_in=3, image_size=image_size, num_classes=10)
    if name == "vit":
        nn.init.normal_(network.get_parameter("heads.head.weight"), std=0.02)  # 0 would let nothing learn in one step
    return network


def default_layers(name: str) -> list[str]:
    last = [f"encoder.layers.encoder_layer_{n}" for n in (4, 5)]
    return {"alexnet": ["conv3", "conv4", "conv5"], "vit": last}.get(name, ["conv5_x"])


def protected(name: str = "alexnet", norm: str = "gn", *, public_affine: bool = True, layers: list[str] | None = None):
    """A protected small network, the plain one, and the passport."""
    plain, example = small(name, norm), torch.randn(1, 3, 16, 16)
    found = find_layers(plain, example, layers or default_layers(name))
    passport = random_passport(found, torch.Generator().manual_seed(2))
    return protect(plain, passport, example, public_affine=public_affine), plain, passport


def spread_norms(network: nn.Module) -> nn.Module:
    """The same with scales and shifts of its layer norms drawn at random: 1 and 0 would show little."""
    for module in network.modules():
        if isinstance(module, nn.LayerNorm):
            nn.init.normal_(module.weight, 1, 0.3)
            nn.init.normal_(module.bias, 0, 0.3)
    return network


def memorise(network: nn.Module, data: ImageData, steps: int = 12) -> None:
    """Some steps of training on all images at once."""
    optimizer = torch.optim.SGD(network.parameters(), 0.05, momentum=0.9)
    x = normalise(data.train_pixels, data.mean, data.std)
    for _ in range(steps):
        optimizer.zero_grad()
        functional.cross_entropy(network(x), data.train_labels).backward()
        optimizer.step()


def _layer(network: nn.Module) -> str:
    return "conv3" if hasattr(network, "conv3") else "conv5_x"


def _architecture(network: nn.Module, data: ImageData) -> dict[str, object]:
    """What builds a `small` network."""
    norm = "bn" if any(isinstance(module, nn.BatchNorm2d) for module in network.modules()) else "gn"
    model = {"name": "alexnet" if hasattr(network, "conv3") else "resnet18", "norm": norm, "width": 0.25}
    return {
        "model": model, "channels_in": data.channels, "image_size": data.image_size, "num_classes": len(data.classes)
    }  # fmt: skip


def watermark(scheme: str, network: nn.Module, data: ImageData, seed: int = 0) -> WatermarkClaim:
    """A claim of a watermark scheme, for a small network and few images."""
    source, kind = torch.Generator().manual_seed(seed), kind_of(scheme)
    owner = {"thresholds": Thresholds(None), "architecture": {"num_classes": len(data.classes)}}
    if kind is UchidaClaim:
        return UchidaClaim.drawn(network, _layer(network), 40, source, text="me", **owner)
    if kind is DeepMarksClaim:
        return DeepMarksClaim.drawn(network, _layer(network), code_book(5), source, **owner)
    if kind is DeepSignsClaim:
        return DeepSignsClaim.drawn(network, data, source, classes=3, bits=16, per_class=4, **owner)
    if kind is NeuralMarkClaim:
        return NeuralMarkClaim.drawn(network, _layer(network), 40, source, pooled=64, rounds=2, **owner)
    if kind is GreedyResidualsClaim:
        sizes = {"message": "mine", "columns": 30, "dropped": 0.5}
        return GreedyResidualsClaim.drawn(network, _layer(network), 40, source, **sizes, **owner)
    if kind is SealClaim:
        return SealClaim.drawn(network, [convolution_of(network, _layer(network))[0]], 6, 30.0, source, **owner)
    if kind is LineageClaim:
        return LineageClaim(weights=flat_weights(network), **owner | {"architecture": _architecture(network, data)})
    if kind is DatasetInferenceClaim:
        return DatasetInferenceClaim.drawn(network, data, 20, source, **owner)
    keys = kind.keys(network, data, 2 if scheme == "frontier_stitching" else 6, source)
    return kind(pixels=keys.pixels, labels=keys.labels, choices=kind.choices_among(len(data.classes)), **owner)


def passport_claim(scheme: str, passport, bits, limits: Thresholds) -> PassportClaim:
    """A claim of a passport scheme, with whatever its scales pass through as training begins."""
    kind, source = load("scheme", scheme).claim_kind, torch.Generator().manual_seed(3)
    if not kind.of_accessory:
        return kind(passport, bits, thresholds=limits)
    drawn = {name: kind.drawn(own.numel(), source) for name, own in bits.items()}
    return kind(passport, bits, accessories=drawn, thresholds=limits)


def embedding(claim, network, recipe, data, *, per_step=2, seed=0, **constants):
    """What embeds a claim, with the authors' constants but those that are given."""
    kind = load("scheme", claim.kind)
    return kind.embedding(claim, network, recipe, data, kind.Config(**constants), per_step=per_step, seed=seed)
