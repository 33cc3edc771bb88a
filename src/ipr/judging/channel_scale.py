"""Which factors lie between the channels of one network and those of another, in the same order: by least squares."""

from __future__ import annotations

import math
from collections.abc import Mapping, Set
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ipr.models.channels import BATCH_NORMS, Segment, Symmetry
from ipr.models.gauge import before_norms, restate, scale
from ipr.models.widths import by_channel

STEPS = 20
"""Steps of fitting rows and columns in turn, at most."""

SETTLED = 1e-9
"""The relative change of factors at which they are not fitted further."""

UNALIKE = 0.2
"""The cosine at and below which two filters tell nothing of a factor between them."""

EXTREME = 1e18
"""The largest factor: its square is one of a running variance, in float32."""

SAME = 1e-4
"""The logarithm of a factor below which it is none."""


def rescale(network: nn.Module, target: nn.Module, found: Symmetry) -> int:
    """Brings factors between layers, and the statistics of batch norms, to the target's, from the input on.

    A batch norm's statistics are put back as soon as its convolution has the target's scale, as the sizes of the scales
    behind it tell what factor follows.

    Args:
        network: changed in place; its channels are in the target's order and have its signs.
        target: of the same shapes.
        found: the symmetry of both.

    Returns:
        At how many places channels were given another factor.
    """
    rows = {name: segment for segment in found.segments for name in segment.makers}
    behind = {segment.makers[0] for segment in before_norms(network, found)}
    changed, settled = 0, set[str]()
    for segment in found.segments:
        if before := segment.makers[0] in behind:
            factors: Tensor | None = _row_factors(network, target, segment)
        else:
            factors = _column_factors(network, target, segment, rows, settled)
        if factors is not None and bool((factors.log().abs() > SAME).any()):
            scale(network, segment, factors)
            changed += 1
        if before:
            _restate(network, target, segment)
            settled.add(segment.takers[0][0])
    return changed


def _restate(network: nn.Module, target: nn.Module, segment: Segment) -> None:
    """Gives a batch norm behind a layer, and the layer's bias, the target's values."""
    maker, taker = segment.makers[0], segment.takers[0][0]
    wanted = target.get_submodule(taker)
    if isinstance(wanted, BATCH_NORMS):
        assert wanted.running_mean is not None
        assert wanted.running_var is not None
        bias = target.get_submodule(maker).bias
        restate(
            network.get_submodule(maker),
            network.get_submodule(taker),
            wanted.running_mean,
            wanted.running_var,
            bias.detach() if isinstance(bias, Tensor) else None,
        )


def _row_factors(network: nn.Module, target: nn.Module, segment: Segment) -> Tensor:
    """What brings the rows of a convolution before a norm to the target's, one factor for each block; 1 if unalike."""
    name = segment.makers[0]
    ours, theirs = (n.get_submodule(name).get_parameter("weight").detach().double() for n in (network, target))
    ours, theirs = ours.flatten(1), theirs.flatten(1)
    sums = ((ours * theirs).sum(1), ours.square().sum(1), theirs.square().sum(1))
    return _quotient(*sums, segment.block)


def _column_factors(
    network: nn.Module, target: nn.Module, segment: Segment, rows: Mapping[str, Segment], settled: Set[str]
) -> Tensor | None:
    """What brings the columns that take a segment to the target's, where rows may have factors of their own.

    Both are fitted in turn. What is left open, one number for all channels, is chosen so that the layers that make the
    segment have scales of the same size as the target's.
    """
    fits = []
    for name, repeat in segment.takers:
        layer = network.get_submodule(name)
        if not isinstance(layer, nn.Conv2d | nn.Linear) or (isinstance(layer, nn.Conv2d) and layer.groups > 1):
            return None
        ours, theirs = (
            by_channel(n.get_submodule(name).get_parameter("weight").detach().double(), repeat)
            for n in (network, target)
        )
        length = theirs.square().sum().clamp(min=1e-300)  # so that each layer counts the same
        product, square, other = (part.sum(2) / length for part in (ours * theirs, ours.square(), theirs.square()))
        fits.append(_Fit(product, square, other.sum(1), other.sum(0), rows.get(name)))
    inner = torch.ones(segment.channels, dtype=torch.float64)
    if fixed := [fit for fit in fits if fit.own is None]:  # nothing is left open: begin with these
        inner = _inner(fixed, [torch.ones_like(fit.rows) for fit in fixed], segment.block)
    for _ in range(STEPS):
        before, inner = inner, _inner(fits, [fit.outer(inner) for fit in fits], segment.block)
        if bool(((inner - before).abs() <= SETTLED * before).all()):
            break
    if not fixed:
        inner = inner * _common_factor(network, target, segment, inner, settled)
    return 1 / inner


@dataclass
class _Fit:
    """Of a layer that takes a segment, and the segment of its rows.

    Sums over the places of a kernel, (C, C_in): of ours times theirs, and of ours squared; and of theirs squared over
    all of a row, (C,), and of a column, (C_in,).
    """

    product: Tensor
    square: Tensor
    rows: Tensor
    columns: Tensor
    own: Segment | None

    def outer(self, inner: Tensor) -> Tensor:
        """The factors of the rows when the columns have these."""
        if self.own is None:
            return torch.ones_like(self.rows)
        return _quotient(self.product @ inner, self.square @ inner.square(), self.rows, self.own.block)


def _inner(fits: list[_Fit], outers: list[Tensor], block: int) -> Tensor:
    """The factors of the columns when the rows have these."""
    pairs = list(zip(fits, outers, strict=True))
    top = torch.stack([outer @ fit.product for fit, outer in pairs]).sum(0)
    bottom = torch.stack([outer.square() @ fit.square for fit, outer in pairs]).sum(0)
    return _quotient(top, bottom, torch.stack([fit.columns for fit in fits]).sum(0), block)


def _quotient(product: Tensor, square: Tensor, other: Tensor, block: int) -> Tensor:
    """Least squares: the factor of each row, one for a block, that brings it to the other's; 1 where they are unalike.

    Args:
        product: sums of ours times theirs, (C,).
        square: sums of ours squared, (C,).
        other: sums of theirs squared, (C,).
        block: how many rows share a factor.
    """
    top, bottom, length = (one.view(-1, block).sum(1) for one in (product, square, other))
    alike = top > UNALIKE * (bottom * length).sqrt()
    factor = torch.where(alike & (bottom > 0), top / bottom.clamp(min=1e-300), 1)
    return factor.clamp(1 / EXTREME, EXTREME).repeat_interleave(block)


def _common_factor(network: nn.Module, target: nn.Module, segment: Segment, inner: Tensor, settled: Set[str]) -> float:
    """How much larger the scales that make a segment would be than the target's: the median over channels and makers.

    A batch norm that is not `settled` tells nothing: whoever changes its variance changes its scale.
    """
    logs = []
    for name in segment.makers:
        if isinstance(network.get_submodule(name), BATCH_NORMS) and name not in settled:
            continue
        ours, theirs = (_size(n.get_submodule(name)) for n in (network, target))
        logs.append((ours / inner / theirs).log()[(ours > 0) & (theirs > 0)])
    together = torch.cat(logs) if logs else torch.empty(0)
    return math.exp(float(together.median())) if together.numel() else 1.0


def _size(layer: nn.Module) -> Tensor:
    weight = layer.get_parameter("weight").detach().double()
    return weight.flatten(1).norm(dim=1) if weight.dim() > 1 else weight.abs()
