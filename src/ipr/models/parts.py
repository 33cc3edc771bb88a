"""What the networks share: channel counts, the norm after a convolution, and the initialisation."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from ipr.errors import InputError


def scaled(channels: int, width: float) -> int:
    """A channel count times the width, as a multiple of 16 (of at least 16) so that group norm can divide it."""
    return max(16, round(channels * width / 16) * 16)


def norm_layer(norm: str) -> Callable[[int], nn.Module]:
    """The norm behind a convolution by its short name.

    `gn` has groups of 16 channels, as the authors' code; the paper gives no number.
    """
    if norm == "bn":
        return nn.BatchNorm2d
    if norm == "gn":
        return lambda channels: nn.GroupNorm(channels // 16, channels)
    raise InputError("model.norm", norm, "is not a norm", "choose bn or gn")


def initialise(network: nn.Module) -> None:
    """He initialisation (fan out) for convolutions, as Table IV [13]."""
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
