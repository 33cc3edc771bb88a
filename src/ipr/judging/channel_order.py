"""Which channel of one network is which of another: by assignment on the |cosine| of their filters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn

from ipr.models.channels import ChannelSet, Symmetry
from ipr.models.gauge import before_norms, permute, scale
from ipr.models.widths import by_channel

SWEEPS = 20
"""Rounds over all sets of channels at most; two or three are usual."""

BALANCING = 20
"""Steps of bringing rows and columns to the same lengths."""

CERTAIN = (0.98, 0.9)
"""The mean |cosine| that a channel has at least with its own, and at most with any other, to be matched for good."""

STAY = 1e-6
"""What it counts to stay in place, more than the rounding of a sum of cosines."""

ALIKE = 0.6
"""The least mean |cosine| of a layer's channels with those they were matched to, to be the same layer."""


def balanced(weight: Tensor, among: Tensor | None = None) -> Tensor:
    """A layer's weights with rows and columns of equal length: the same whatever scales its channels were given.

    The squares, summed over the places of a kernel, are brought to equal sums of rows and of columns in turn (Sinkhorn
    and Knopp 1967). Empty rows and columns stay empty.

    Args:
        weight: (C, C_in, ...).
        among: the rows by which columns are weighed, int64; None for all.

    Returns:
        (C, C_in, N), float64, with rows of length 1.
    """
    flat = weight.detach().to(torch.float64, copy=True)
    flat = flat.flatten(2) if flat.dim() > 2 else flat.unsqueeze(2)
    largest = torch.maximum(flat.amax((1, 2), keepdim=True), -flat.amin((1, 2), keepdim=True))
    flat.div_(torch.where(largest > 0, largest, 1))
    everything = flat.square().sum(2)
    squares = everything if among is None else everything[among]
    rows, columns = torch.ones_like(squares[:, 0]), torch.ones_like(squares[0])
    for _ in range(BALANCING):
        if columns.numel() > 1:
            columns = _inverse(rows @ squares) * rows.numel() / columns.numel()
        rows = _inverse(squares @ columns)
    rows = _inverse(everything @ columns)
    return flat.mul_(rows.sqrt()[:, None, None]).mul_(columns.sqrt()[None, :, None])


def _inverse(sums: Tensor) -> Tensor:
    return torch.where(sums > 0, 1 / sums.clamp(min=1e-300), 0)


class Layers:
    """The balanced layers of a network, by name, in float32; the suspect's follow what is done to it."""

    def __init__(self, network: nn.Module, found: Symmetry) -> None:
        repeats = {name: repeat for one in found.sets for name, repeat in one.takers}
        self.weights = {}
        for one in found.sets:
            for name in one.makers:
                weight = network.get_submodule(name).get_parameter("weight").detach()
                self.weights[name] = balanced(by_channel(weight, repeats.get(name, 1))).float()

    def permute(self, channels: ChannelSet, order: Tensor) -> None:
        """Puts the channels of a set in another order, (C,), where they are made and taken."""
        for name in channels.makers:
            self.weights[name] = self.weights[name][order]
        for name, _ in channels.takers:
            self.weights[name] = self.weights[name][:, order]


@dataclass(frozen=True)
class Match:
    """What matching left: how many channels are elsewhere than before, and the balanced layers, in the same order."""

    moved: int
    ours: Layers
    theirs: Layers


def match(network: nn.Module, target: nn.Module, found: Symmetry, theirs: Layers | None = None) -> Match:
    """Permutes the network's channels towards the target's.

    A set that all of its layers agree on, without a doubt (`CERTAIN`), is not asked again in later rounds.

    Args:
        network: changed in place.
        target: of the same shapes.
        found: the symmetry of both.
        theirs: the target's layers, where they are known.
    """
    ours, theirs = Layers(network, found), theirs or Layers(target, found)
    places = [torch.arange(one.channels) for one in found.sets]
    sources: dict[str, int] = {name: i for i, one in enumerate(found.sets) for name, _ in one.takers}
    settled = {i for i, one in enumerate(found.sets) if one.pinned}
    certain = set(settled)
    for sweep in range(SWEEPS):
        changed = False
        for i, one in enumerate(found.sets):
            makers = [n for n in one.makers if sweep > 0 or sources.get(n, -1) in settled or n not in sources]
            if i in certain:
                continue
            settled.add(i)
            if not makers and sweep == 0:
                continue
            score = by_rows(theirs, ours, makers)
            doubted = not _certain(score, len(makers))
            if sweep > 0:
                for name, _ in one.takers:
                    score += _columns(theirs.weights[name], ours.weights[name])
            order = assigned(score, one.block)
            if len(makers) == len(one.makers) and not doubted:
                certain.add(i)
            if not torch.equal(order, torch.arange(one.channels)):
                changed = True
                ours.permute(one, order)
                permute(network, one, order)
                places[i] = places[i][order]
        if sweep > 0 and not changed:
            break
    moved = sum(int((place != torch.arange(place.numel())).sum()) for place in places)
    return Match(moved, ours, theirs)


def by_rows(theirs: Layers, ours: Layers, makers: Sequence[str]) -> Tensor:
    """|cosine| of the filters of each pair of channels, (C, C), summed over the layers that make them."""
    score = torch.zeros(())
    for name in makers:
        score = score + (theirs.weights[name].flatten(1) @ ours.weights[name].flatten(1).T).abs_()
    return score


def _certain(score: Tensor, makers: int) -> bool:
    """Whether every channel is like exactly one, beyond doubt, and no other channel is like that one."""
    if score.shape[0] == 1:
        return True
    first, second = score.topk(2, 1).values.unbind(1)
    best = score.argmax(1)
    alone = best.unique().numel() == best.numel()
    return alone and bool((first >= CERTAIN[0] * makers).all()) and bool((second <= CERTAIN[1] * makers).all())


def _columns(theirs: Tensor, ours: Tensor) -> Tensor:
    """|cosine| of what each row gives each pair of columns, (C_in, C_in): rows may have been turned."""
    signs = _cosines(theirs, ours).sign()
    signs[signs == 0] = 1
    one, other = theirs.transpose(0, 1).flatten(1), (ours * signs[:, None, None]).transpose(0, 1).flatten(1)
    lengths = one.norm(dim=1)[:, None] * other.norm(dim=1)[None]
    return torch.where(lengths > 0, (one @ other.T) / lengths.clamp(min=1e-30), 0).clamp(min=0)


def assigned(score: Tensor, block: int) -> Tensor:
    """The permutation that keeps blocks and has the largest sum of scores.

    Args:
        score: (C, C): of the channel wanted (row) with the one that is there (column); finite.
        block: size of the blocks; C for none.

    Returns:
        (C,), int64: which channel goes to each place. Among equals, what stays in place is preferred.
    """
    score = score + STAY * torch.eye(score.shape[0], dtype=score.dtype)
    count = score.shape[0] // block
    tiles = score.view(count, block, count, block).transpose(1, 2)
    if count == 1:
        return torch.from_numpy(linear_sum_assignment(score.numpy(), maximize=True)[1]).long()
    inner = [[linear_sum_assignment(tiles[g, h].numpy(), maximize=True)[1] for h in range(count)] for g in range(count)]
    sums = [[float(tiles[g, h].numpy()[range(block), inner[g][h]].sum()) for h in range(count)] for g in range(count)]
    chosen = linear_sum_assignment(np.array(sums), maximize=True)[1]
    return torch.cat([torch.from_numpy(inner[g][h] + h * block).long() for g, h in enumerate(chosen)])


def similarities(matched: Match) -> dict[str, float]:
    """Layer -> mean |cosine| of its balanced rows with the target's, over rows that are not empty in both."""
    ours, theirs = matched.ours, matched.theirs
    similarity = {}
    for name, weight in theirs.weights.items():
        cosine = _cosines(weight, ours.weights[name])
        alive = weight.any(2).any(1) & ours.weights[name].any(2).any(1)
        if bool(alive.any()) and weight[0].numel() > 1:
            similarity[name] = float(cosine[alive].abs().mean())
    return similarity


def _cosines(one: Tensor, other: Tensor) -> Tensor:
    """Of the rows of two layers, (C,): products of matrices, which need no memory for all products."""
    flat: Tensor = torch.bmm(one.flatten(1)[:, None], other.flatten(1)[:, :, None]).flatten()
    return flat


def turn(network: nn.Module, target: nn.Module, found: Symmetry, matched: Match, least: float = ALIKE) -> int:
    """Turns channels that a norm follows to the side of the target's, all of a block or none; how many.

    A layer that is not alike stays: signs chosen by the cosines of unrelated filters would read more than half of the
    bits, and a network may share its first layers alone with the target (one public network that both began with).

    Args:
        network: changed in place.
        target: of the same shapes.
        found: the symmetry of both.
        matched: what `match` left.
        least: the least mean |cosine| of a layer that is turned.
    """
    ours, theirs = matched.ours, matched.theirs
    turned = 0
    for segment in before_norms(network, found):
        name = segment.makers[0]
        if name in ours.weights:
            one, other = ours.weights[name], theirs.weights[name]
        else:  # depthwise
            one, other = _rows(network, name), _rows(target, name)
        cosine = _cosines(one, other)
        alive = one.flatten(1).any(1) & other.flatten(1).any(1)
        if not bool(alive.any()) or float(cosine[alive].abs().mean()) < least:
            continue
        signs = cosine.view(-1, segment.block).sum(1).sign().repeat_interleave(segment.block)
        signs[signs == 0] = 1
        if bool((signs < 0).any()):
            scale(network, segment, signs)
            turned += int((signs < 0).sum())
    return turned


def _rows(network: nn.Module, name: str) -> Tensor:
    weight = network.get_submodule(name).get_parameter("weight").detach().double().flatten(1)
    unit: Tensor = weight / weight.norm(dim=1, keepdim=True).clamp(min=1e-300)
    return unit
