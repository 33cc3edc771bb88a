"""Bits in one convolution's mean filter, and the secret projection that Uchida et al. and DeepMarks read them by."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator, Tensor, nn

from ipr.errors import InputError
from ipr.models.inspection import convolution_of
from ipr.watermarks.base import WatermarkClaim


def mean_filter(convolution: nn.Conv2d) -> Tensor:
    """w: a convolution's weights averaged over its output filters, (M,) with M = C_in k^2 (Uchida et al., 3.2)."""
    return convolution.weight.mean(0).flatten()


def secret_projection(rows: int, columns: int, source: Generator) -> Tensor:
    """X, (rows, columns), drawn from N(0, 1): the projection that hides where the mark is."""
    return torch.randn(rows, columns, generator=source)


def projected(network: nn.Module, layer: str, projection: Tensor) -> Tensor:
    """X w of a network's layer, (T,), in double precision.

    Raises:
        InputError: the projection does not fit the layer.
    """
    name, convolution = convolution_of(network, layer)
    filter_ = mean_filter(convolution).detach().double().cpu()
    if filter_.numel() != projection.shape[1]:
        raise InputError(
            "claim",
            f"{name}: a projection of {projection.shape[1]} weights",
            f"the layer's mean filter has {filter_.numel()}",
            "judge the network that it was made for",
        )
    return projection.double().cpu() @ filter_


def check_count(bits: int) -> None:
    """Refuses to draw a claim of no bits."""
    if bits < 1:
        raise InputError("scheme.bits", bits, "must be at least 1", "give e.g. 256")


def check_shape(name: str, tensor: Tensor, *shape: int | None) -> None:
    """Refuses a tensor of a claim that has another shape; None stands for any length, of at least 1."""
    fits = tensor.dim() == len(shape) and all(n in (None, m) and m for n, m in zip(shape, tensor.shape, strict=True))
    if not fits:
        wanted = ", ".join("any" if n is None else str(n) for n in shape)
        raise InputError("claim", f"{name} of shape {tuple(tensor.shape)}", f"is not ({wanted})", "restore the claim")


def check_finite(name: str, tensor: Tensor) -> None:
    """Refuses a tensor of a claim that is not made of finite floats."""
    if not tensor.is_floating_point() or not bool(tensor.isfinite().all()):
        raise InputError("claim", name, "is not made of finite numbers", "restore the claim")


def check_bits(name: str, bits: Tensor) -> None:
    """Refuses bits that are no -1 and +1 in int8."""
    if bits.dtype != torch.int8 or not bool((bits.abs() == 1).all()):
        raise InputError("claim", name, "is not made of -1 and +1 in int8", "restore the claim")


@dataclass(frozen=True, kw_only=True)
class FilterClaim(WatermarkClaim):
    """Bits in the weights of one convolution.

    Attributes:
        layer: the convolution that carries them.
        bits: b in {-1, +1}, (T,), int8.
    """

    layer: str
    bits: Tensor

    def __post_init__(self) -> None:
        super().__post_init__()
        check_shape("bits", self.bits, None)
        check_bits("bits", self.bits)

    def marks(self) -> Tensor:
        """The bits."""
        return self.bits
