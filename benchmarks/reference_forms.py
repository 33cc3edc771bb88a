"""Slow, literal forms of the paper's equations: what the fast ones are compared with, in tests and in benchmarks."""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


def naive_affine(conv: nn.Conv2d, passport: Tensor) -> tuple[Tensor, Tensor]:
    """Eq. 4 as printed: convolve P with W and average over the positions."""
    out = conv(passport)
    if conv.bias is not None:
        out = out - conv.bias.view(1, -1, 1, 1)
    return out[0].mean((1, 2)), out[1].mean((1, 2))


class NaivePassportNorm(nn.Module):
    """Algorithms 1 and 3 as printed, with the convolution over the passport in every forward pass."""

    def __init__(self, norm: Any, conv: nn.Conv2d, passport: Tensor) -> None:
        super().__init__()
        self.norm, self.weight, self.bias = copy.deepcopy(norm), norm.weight, norm.bias
        self.norm.weight = self.norm.bias = None
        self._conv, self._passport, self.idx = (conv,), (passport,), 1

    def forward(self, x: Tensor) -> Tensor:
        """Eq. 3 with the scale and shift of branch `idx`."""
        gamma, beta = naive_affine(self._conv[0], self._passport[0]) if self.idx else (self.weight, self.bias)
        normalised: Tensor = self.norm(x)
        return gamma.view(1, -1, 1, 1) * normalised + beta.view(1, -1, 1, 1)


class SideBySideNorm(nn.Module):
    """K scales and shifts as rows along the batch axis: what running the tails one after the other is measured against.

    Args:
        norm: the plain norm.
        forks: whether the rows part here, or come apart already.
    """

    affine: tuple[Tensor, Tensor]
    """Scales and shifts, each (K, C); to be set before every forward pass."""

    def __init__(self, norm: Any, forks: bool) -> None:
        super().__init__()
        self.norm, self.weight, self.bias, self.forks = copy.deepcopy(norm), norm.weight, norm.bias, forks
        self.norm.weight = self.norm.bias = None

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W), or (K * B, C, H, W) where the rows come apart, to (K * B, C, H, W)."""
        gamma, beta = self.affine
        shape, normalised = (gamma.shape[0], 1, -1, 1, 1), self.norm(x)
        rows = normalised.unsqueeze(0) if self.forks else normalised.unflatten(0, (gamma.shape[0], -1))
        return torch.addcmul(beta.view(shape), rows, gamma.view(shape)).flatten(0, 1)


def norm_behind(conv: str) -> str:
    """The name of the norm behind a convolution of the project's models."""
    if "shortcut" in conv:
        return conv[:-1] + "1"
    return conv.replace("conv5_x", "@").replace("conv", "norm").replace("@", "conv5_x")


def with_norms(plain: nn.Module, convs: Collection[str], make: Callable[[nn.Module, str, Any], nn.Module]) -> nn.Module:
    """A copy of a network with the norms behind some convolutions replaced, by hand.

    Args:
        plain: one of the project's models.
        convs: the convolutions' names.
        make: from the norm, the convolution's name and the copy to what comes in the norm's place.
    """
    network: Any = copy.deepcopy(plain)
    for name in convs:
        where = norm_behind(name)
        parent, _, child = where.rpartition(".")
        holder = network.get_submodule(parent)
        setattr(holder, child, make(network.get_submodule(where), name, network))
    return network  # type: ignore[no-any-return]


def naive_protect(plain: nn.Module, passport: Mapping[str, Tensor]) -> nn.Module:
    """A network protected as printed."""
    return with_norms(
        plain,
        passport,
        lambda norm, name, network: NaivePassportNorm(norm, network.get_submodule(name), passport[name]),
    )


def side_by_side(plain: nn.Module, convs: Collection[str]) -> nn.Module:
    """A network whose norms behind these convolutions (Table IV's) take K scales and shifts as rows of one batch."""
    first = {"conv3", "conv5_x.0.conv1", "conv5_x.0.shortcut.0"}
    return with_norms(plain, convs, lambda norm, conv, _: SideBySideNorm(norm, conv in first))


def answer_with(naive: nn.Module, idx: int) -> None:
    """Sets `idx` of Algorithm 3 at every layer."""
    for module in naive.modules():
        if isinstance(module, NaivePassportNorm):
            module.idx = idx


def two_passes(naive: nn.Module, x: Tensor) -> list[Tensor]:
    """Both branches, one full pass each (Algorithm 6 as printed)."""
    answers = []
    for idx in (0, 1):
        answer_with(naive, idx)
        answers.append(naive(x))
    return answers


def cross_entropies(answers: list[Tensor], y: Tensor) -> Tensor:
    """The loss of each branch."""
    return torch.stack([functional.cross_entropy(answer, y) for answer in answers])
