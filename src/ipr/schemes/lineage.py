"""Lineage by weights, after AWM (arXiv:2510.06738): the claim is the network, and copies are found by their channels.

What is measured, and how it differs from the paper's, is in `judging/lineage.py`. It finds what descends from the very
weights, whatever was done to the order, signs and scales of channels. It does not find what was trained on a network's
answers (distillation): that has weights of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

import torch
from torch import Generator, Tensor, nn

from ipr.claims.base import Reading, reading
from ipr.claims.redraw import Part
from ipr.config.registry import register
from ipr.config.schema import SchemeConfig, TrainConfig
from ipr.data.images import ImageData
from ipr.errors import InputError
from ipr.judging.alignment import misfit
from ipr.judging.lineage import lineage, smooth_noise
from ipr.models.claimed import network_of, without_memory
from ipr.schemes.base import About, Trained
from ipr.schemes.fingerprint import Fingerprint
from ipr.schemes.start import claim_parts
from ipr.watermarks.base import WatermarkClaim
from ipr.watermarks.projection import check_finite, check_shape


def flat_weights(network: nn.Module) -> Tensor:
    """Every float of a network's `state_dict`, in its order, (N,), float32, on the CPU."""
    return torch.cat([t.detach().float().cpu().flatten() for t in network.state_dict().values() if _is_float(t)])


def with_weights(architecture: Mapping[str, Any], weights: Tensor) -> nn.Module:
    """The network of an architecture with such weights, on the CPU.

    Args:
        architecture: see `network_of`.
        weights: what `flat_weights` gives.

    Raises:
        InputError: the architecture is none, or its network has another number of weights.
    """
    wanted = sum(t.numel() for t in without_memory(architecture).state_dict().values() if _is_float(t))
    if wanted != weights.numel():
        problem = f"are not the {wanted} of the network that it names"
        raise InputError("claim", f"{weights.numel()} weights", problem, "restore the claim")
    network = network_of(architecture)
    floats = {name: t for name, t in network.state_dict().items() if _is_float(t)}
    parts = weights.split([t.numel() for t in floats.values()])
    stored = {name: part.view_as(t) for (name, t), part in zip(floats.items(), parts, strict=True)}
    network.load_state_dict(stored, strict=False)
    return network


def _is_float(tensor: Tensor) -> bool:
    return tensor.is_floating_point()


@dataclass(frozen=True, kw_only=True)
class LineageClaim(WatermarkClaim):
    """A network's weights, from which a suspect is claimed to descend.

    The p-value is that of a guess among as many channels as the smallest set has. A judge asks networks of his own
    besides: some channels of first layers are alike in most networks.

    Attributes:
        weights: see `flat_weights`.
    """

    kind = "lineage"
    is_fingerprint = True

    weights: Tensor

    def __post_init__(self) -> None:
        super().__post_init__()
        check_shape("weights", self.weights, None)
        check_finite("weights", self.weights)

    def read(self, suspect: nn.Module, mean: tuple[float, ...], std: tuple[float, ...]) -> Reading:
        """See `WatermarkClaim.read`: no image is needed.

        Raises:
            InputError: also where the suspect is of another architecture.
        """
        about = self.architecture
        reference = with_weights(about, self.weights)
        _check_shapes(suspect, reference)
        found = lineage(suspect, reference, smooth_noise(about["channels_in"], about["image_size"]))
        read = reading(found.identified, found.channels, choices=found.choices, correlation=found.similarity)
        return replace(read, unit="channels")

    def drawn_from(self, source: Generator, network: nn.Module, data: ImageData) -> Self:
        """See `WatermarkClaim.drawn_from`: nothing is drawn, these are the network's."""
        return replace(self, owner="", origin=None, weights=flat_weights(network))

    def redraw(self, data: ImageData) -> tuple[Part, ...]:
        """See `Claim.redraw`."""
        return (Part("weights", self.evidence, None, "they are those of a trained network: nothing of them was drawn"),)

    def check_network(self, network: nn.Module, example: Tensor) -> None:
        """See `Claim.check_network`."""
        _check_shapes(network, with_weights(self.architecture, self.weights))

    def check_structure(self) -> None:
        """See `Claim.check_structure`: there are as many weights as the network has, and they are not all equal."""
        if bool((self.weights == self.weights[0]).all()):
            raise InputError("claim", "weights", "are all equal, as those of no trained network", "restore the claim")
        if "model" in self.architecture:
            with_weights(self.architecture, self.weights)

    def marks(self) -> Tensor:
        """The weights."""
        return self.weights


@dataclass
class LineageConfig(SchemeConfig):
    """Lineage by weights: there is nothing to set."""


@register("lineage", order=22)
class Lineage(Fingerprint):
    """The trained plain network's own weights; nothing is trained besides."""

    Config = LineageConfig
    claim_kind = LineageClaim
    about = About(
        "fingerprint",
        "AWM (arXiv:2510.06738)",
        "nothing: the weights are kept",
        "channels that filters and answers match alike, and unbiased CKA of weights",
    )

    @classmethod
    def purposes(cls, config: TrainConfig) -> dict[str, str]:
        """See `Scheme.purposes`: nothing is drawn."""
        return {}

    @classmethod
    def draw_claim(cls, config: TrainConfig, data: ImageData, trained: Trained) -> LineageClaim:
        """See `Scheme.draw_claim`.

        Raises:
            InputError: the channels of such a network cannot be followed.
        """
        claim = LineageClaim(weights=flat_weights(network := trained()), **claim_parts(config, data))
        claim.read(network, data.mean, data.std)  # refused now rather than when it is needed
        return claim


def _check_shapes(suspect: nn.Module, reference: nn.Module) -> None:
    if (tensor := misfit(suspect, reference)) is not None:
        problem = (
            f"is of another architecture than the network that is claimed ({tensor} is of another shape, or missing)"
        )
        raise InputError("suspect", type(suspect).__name__, problem, "judge it by its answers")
