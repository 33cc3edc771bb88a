"""Changes of a network's weights that change none of its answers: what `models/channels.py` finds, done.

All work in place, in evaluation mode, without gradients. In exact arithmetic the function stays as it was, with one
exception: group norm divides by sqrt(var + eps) of what it is given, so that a factor before it changes the answers by
the order of eps / var. Batch norm has its statistics at hand, and eps is accounted for.
"""

from __future__ import annotations

import torch
from torch import Generator, Tensor, nn

from ipr.models.channels import BATCH_NORMS, ChannelSet, Segment, Symmetry

MOST = 1e38
"""The largest running variance: one beyond float32 would be infinite."""


def tensors_of(network: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers by name, to be changed in place."""
    return {name: tensor.detach() for name, tensor in [*network.named_parameters(), *network.named_buffers()]}


@torch.no_grad()
def permute(network: nn.Module, channels: ChannelSet, order: Tensor) -> None:
    """Channel c becomes what channel order[c] was, along every axis of the set.

    Args:
        network: changed in place.
        channels: one of its sets that is not pinned.
        order: a permutation of the C channels, int64, that keeps blocks together.
    """
    state = tensors_of(network)
    for axis in channels.axes:
        tensor = state[axis.tensor]
        within = torch.arange(axis.repeat)
        index = (order[:, None] * axis.repeat + within).flatten().to(tensor.device)
        tensor.copy_(tensor.index_select(axis.axis, index))


@torch.no_grad()
def scale(network: nn.Module, segment: Segment, factors: Tensor) -> None:
    """Multiplies channels by factors where they are made, and undoes it where they are taken.

    Args:
        network: changed in place.
        segment: one of its segments.
        factors: (C,), not 0; above 0 unless the segment is signed; one number within each of its blocks.
    """
    for name in segment.makers:
        maker = network.get_submodule(name)
        for part in (maker.weight, maker.bias):
            if isinstance(part, Tensor):
                part.mul_(_along(factors, part, 0))
    for name, repeat in segment.takers:
        taker = network.get_submodule(name)
        if isinstance(taker, BATCH_NORMS):
            _absorb(taker, factors)
        elif isinstance(taker, nn.GroupNorm):
            taker.weight.mul_(factors.sign().to(taker.weight))
        else:
            assert isinstance(taker.weight, Tensor)
            axis = 0 if isinstance(taker, nn.Conv2d) and taker.groups > 1 else 1
            taker.weight.div_(_along(factors.repeat_interleave(repeat), taker.weight, axis))


def _absorb(norm: nn.Module, factors: Tensor) -> None:
    """Batch norm behind a factor: the mean takes it, the variance its square, the scale its sign and what is left."""
    assert isinstance(norm, BATCH_NORMS)
    mean, var = norm.running_mean, norm.running_var
    assert mean is not None
    assert var is not None
    factors = factors.to(mean)
    old = (var.double() + norm.eps).sqrt()
    mean.mul_(factors)
    var.copy_((old.square() * factors.double().square() - norm.eps).clamp(0, MOST))
    new = (var.double() + norm.eps).sqrt()
    norm.weight.mul_((new / (old * factors.double())).to(norm.weight))


@torch.no_grad()
def restate(conv: nn.Module, norm: nn.Module, mean: Tensor, var: Tensor, bias: Tensor | None = None) -> None:
    """Gives a batch norm other statistics, and its scale and shift what keeps its answers.

    Args:
        conv: the layer before it, whose bias is replaced where one is given.
        norm: a batch norm; changed in place.
        mean: its new running mean, (C,).
        var: its new running variance, (C,); not negative.
        bias: the new bias of `conv`; None leaves it.
    """
    assert isinstance(norm, BATCH_NORMS)
    assert norm.running_mean is not None
    assert norm.running_var is not None
    slope = norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()
    moved = mean.double() - norm.running_mean.double()
    if bias is not None and isinstance(conv.bias, Tensor):
        moved = moved + conv.bias.double() - bias.double()
        conv.bias.copy_(bias)
    norm.bias.add_((slope * moved).to(norm.bias))
    norm.weight.copy_(slope * (var.double() + norm.eps).sqrt())
    norm.running_mean.copy_(mean)
    norm.running_var.copy_(var)


def before_norms(network: nn.Module, found: Symmetry) -> list[Segment]:
    """The segments from one convolution, or linear layer, to one norm."""
    norms = (*BATCH_NORMS, nn.GroupNorm)
    return [
        segment
        for segment in found.segments
        if segment.signed
        and len(segment.makers) == len(segment.takers) == 1
        and isinstance(network.get_submodule(segment.takers[0][0]), norms)
        and isinstance(network.get_submodule(segment.makers[0]), nn.Conv2d | nn.Linear)
    ]


def random_order(channels: ChannelSet, source: Generator) -> Tensor:
    """A permutation drawn at random among those that keep the set's blocks: blocks change places, and channels in them.

    Args:
        channels: any set.
        source: draws it.

    Returns:
        (C,), int64.
    """
    count = channels.channels // channels.block
    blocks = torch.randperm(count, generator=source)
    within = torch.stack([torch.randperm(channels.block, generator=source) for _ in range(count)])
    return (blocks[:, None] * channels.block + within).flatten()


def _along(factors: Tensor, tensor: Tensor, axis: int) -> Tensor:
    shape = [1] * tensor.dim()
    shape[axis] = -1
    return factors.to(tensor).view(shape)
