"""Channels that a thief put in so that no answer changes, found by weights alone and taken out again.

A reference of the same layers tells how many channels there were. Set by set, in the order of the layers:

1. Each channel is compared with those of the reference by the |cosine| of its balanced filters, as `channel_order.py`
   does it. The one that it is most like is its partner.
2. Channels with the same partner are copies of one another where the filter, with what the norm behind it does to it,
   differs by a positive factor. What takes them is added up, times the factor: what a split channel was comes together
   again, and what cancels is 0.
3. Each channel of the reference gets the channel that it is most like, one that is not taken by columns of 0 first.
   Copies of these are merged into them, and all others are dropped.

In exact arithmetic dropping changes no answer of what `attacks/removal/structural_obfuscation.py` does. A thief who
trains on, or adds noise, has copies that are not quite equal. They are still merged up to `COPY`, and what that does to
the answers is measured and told (`Narrowed.change`); bits are read from filters that stay as they are.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn

from ipr.errors import InputError
from ipr.judging.channel_order import STAY, Layers, balanced
from ipr.judging.folded_norms import put_back
from ipr.models.channels import BATCH_NORMS, ChannelSet, Symmetry
from ipr.models.gauge import before_norms, tensors_of
from ipr.models.inspection import evaluating
from ipr.models.widths import MOST_WIDER, by_channel, columns, gather, unit

COPY = 0.95
"""The least cosine of two channels, after their norms, to be copies of one another."""

IDLE = 1e-3
"""The share of what a usual channel does up to which one is taken to do nothing."""

ALONE = 0.01
"""What it counts, in cosines, that a channel does something alone: of copies the one that does most is kept."""

CHUNK = 512
"""How many units are compared at once, which bounds the memory that it takes."""

KINDS = 32
"""Among the channels with one partner no more kinds than these are told apart, so that a hostile file ends, too."""


@dataclass(frozen=True)
class Narrowed:
    """A network of the reference's widths.

    Attributes:
        network: a copy.
        norms: how many batch norms were put back.
        merged: how many channels were added to copies of themselves.
        dropped: how many others were left out.
        change: by how much its answer to the example differs, relative to the largest logit.
    """

    network: nn.Module
    norms: int
    merged: int
    dropped: int
    change: float

    @property
    def says(self) -> str:
        """What was done, in words; "" if nothing."""
        parts = [f"put back {self.norms} norms"] if self.norms else []
        parts += [f"merged {self.merged} and dropped {self.dropped} channels"] if self.merged + self.dropped else []
        return f"{' and '.join(parts)} (answers changed by {self.change:.0e})" if parts else ""


def narrowed(
    suspect: nn.Module, target: nn.Module, found: Symmetry, example: Tensor, theirs: Layers | None = None
) -> Narrowed:
    """Brings a suspect to the widths and norms of a target.

    Args:
        suspect: on the CPU, in evaluation mode; left as it was. Of the target's layers, with the target's channels in
            every set or more, up to `MOST_WIDER` times as many; batch norms may be missing.
        target: the network that was committed to.
        found: its symmetry.
        example: an input for both, (1, C, H, W).
        theirs: the target's balanced layers, where they are known.

    Raises:
        InputError: the suspect has other layers, or fewer channels, or too many.
    """
    network = copy.deepcopy(suspect)
    norms = put_back(network, target, found)
    merged = dropped = 0
    if _check_widths(network, target, found):
        work = _Work(target, found, Layers(target, found) if theirs is None else theirs)
        work.narrow(copy.deepcopy(network))  # so that layers which close a loop are known, too
        merged, dropped = work.narrow(network)
    change = 0.0
    if norms + merged + dropped:
        with evaluating(network), evaluating(suspect):
            now, before = network(example), suspect(example)
        change = float((now - before).abs().max() / before.abs().max().clamp(min=1e-30))
    return Narrowed(network, norms, merged, dropped, change)


def _check_widths(network: nn.Module, target: nn.Module, found: Symmetry) -> bool:
    """Whether any set is wider than the target's.

    Raises:
        InputError: something else than the widths of free sets differs.
    """
    ours, theirs = network.state_dict(), target.state_dict()
    shapes = {name: list(tensor.shape) for name, tensor in theirs.items()}
    wider = False
    for one in found.free:
        rows = ours.get(f"{one.makers[0]}.weight") if one.makers else None
        width = rows.shape[0] if rows is not None else one.channels
        size = unit(target, one)
        if not one.channels <= width <= MOST_WIDER * one.channels or width % size:
            problem = f"has {width} channels behind {one.makers[0]!a} where the reference has {one.channels}"
            raise _other(target, problem)
        wider |= width != one.channels
        for axis in one.axes:
            shapes[axis.tensor][axis.axis] = width * axis.repeat
    for name in [*ours, *shapes]:
        if name not in ours or name not in shapes or list(ours[name].shape) != shapes[name]:
            raise _other(target, f"{name!a} is not of the same shape in the suspect")
    return wider


def _other(target: nn.Module, problem: str) -> InputError:
    return InputError("reference", type(target).__name__, problem, "give the network that was committed to")


class _Work:
    """Takes dummy channels out of all sets; a second time it knows which those of later sets are.

    Attributes:
        kept: set -> the channels that stayed in it, (C,), in the order of the target.
    """

    def __init__(self, target: nn.Module, found: Symmetry, theirs: Layers) -> None:
        self.target, self.found, self.theirs = target, found, theirs
        self.sources = {name: i for i, one in enumerate(found.sets) for name, _ in one.takers}
        self.repeats = {name: repeat for one in found.sets for name, repeat in one.takers}
        self.norms = {segment.makers[0]: segment.takers[0][0] for segment in before_norms(target, found)}
        self.kept: dict[int, Tensor] = {}

    def narrow(self, network: nn.Module) -> tuple[int, int]:
        """Leaves the target's channels in the target's order, in place; how many were merged and dropped."""
        settled: set[int] = set()
        merged = dropped = 0
        for i, one in enumerate(self.found.sets):
            makers = [maker for name in one.makers if (maker := self._maker(name, settled)) is not None]
            if one.pinned or not makers:
                continue
            channels = _Set(network, self.theirs, one, unit(self.target, one), makers, self.norms.values())
            merged += (count := channels.merge())
            self.kept[i] = channels.kept()
            dropped += channels.places.numel() - one.channels - count
            gather(network, one, self.kept[i])
            settled.add(i)
        return merged, dropped

    def _maker(self, name: str, settled: set[int]) -> _Maker | None:
        """A layer as it can be read now; None where nothing tells which its columns are."""
        source = self.sources.get(name)
        known = source is None or source in settled or bool(self.found.sets[source].pinned)
        if not known and source not in self.kept:
            return None
        columns_ = None if known or source is None else self.kept[source]
        return _Maker(name, self.repeats.get(name, 1), self.norms.get(name), columns_)


@dataclass(frozen=True)
class _Maker:
    """A layer that makes channels.

    Attributes:
        name: of the layer.
        repeat: how many of its columns belong to one channel.
        norm: what is right behind it; None if no norm is.
        columns: those that count, (C,), where others will be taken out later; None for all.
    """

    name: str
    repeat: int
    norm: str | None
    columns: Tensor | None

    def rows(self, network: nn.Module) -> Tensor:
        """Its weight, (C', C_in, N)."""
        weight = by_channel(network.get_submodule(self.name).get_parameter("weight").detach(), self.repeat)
        return weight if self.columns is None else weight[:, self.columns]


class _Set:
    """The channels of one set of a suspect, in units of `size`, beside those of the reference.

    Attributes:
        partners: the unit of the reference that each unit is most like, (H,).
        chosen: the unit that each unit of the reference gets, (G,).
    """

    def __init__(
        self,
        network: nn.Module,
        theirs: Layers,
        one: ChannelSet,
        size: int,
        makers: Sequence[_Maker],
        norms: Collection[str],
    ) -> None:
        self.network, self.one, self.size = network, one, size
        score = _score(network, theirs, makers)
        self.sums, self.inner = _tiles(score, self.size)
        if score.shape[1] > score.shape[0]:  # once more, without the rows of dummies among those that weigh columns
            rows = self._channels(torch.arange(len(self.sums)), _best(self.sums))
            self.sums, self.inner = _tiles(_score(network, theirs, makers, rows.flatten()), self.size)
        self.partners = self.sums.argmax(0)
        self.places = self._channels(self.partners, torch.arange(self.partners.numel()))
        self.leaders = torch.arange(self.partners.numel())
        self.factors = torch.ones(self.places.shape, dtype=torch.float64)
        lengths = torch.ones(self.places.numel(), dtype=torch.float64)
        if (made := _after_norms(network, one, makers, norms)) is not None:
            self._find_copies(*made)
            lengths = made[0].norm(dim=1)
        together, alone = self._works(lengths)
        self.chosen = _best(self.sums * (0.5 + 0.5 * (together > IDLE)) + ALONE * len(makers) * alone.clamp(max=1))

    def _channels(self, theirs: Tensor, ours: Tensor) -> Tensor:
        """The channels of units in the order in which they stand in units of the reference, (N, size)."""
        return self.inner[theirs, ours] + ours[:, None] * self.size

    def _find_copies(self, rows: Tensor, shifts: Tensor) -> None:
        """Sets of each unit the one that it is a copy of, itself at least, and the factor of each of its channels.

        In each round the best one that is left of every partner's is compared with the others of the partner.
        """
        order = self.sums.gather(0, self.partners[None])[0].argsort(descending=True, stable=True)
        left = order[self.partners[order].argsort(stable=True)]
        for _ in range(KINDS):
            first = torch.cat([torch.ones(1, dtype=torch.bool), self.partners[left].diff() != 0])[: left.numel()]
            heads, others = left[first][first.long().cumsum(0) - 1][~first], left[~first]
            found = [
                self._compared(*pair, rows, shifts)
                for pair in zip(heads.split(CHUNK), others.split(CHUNK), strict=True)
            ]
            same = torch.cat([same for same, _ in found])
            factors = torch.cat([factor for _, factor in found])
            self.leaders[others[same]], self.factors[others[same]] = heads[same], factors[same]
            left = others[~same]
            if left.numel() == 0:
                break

    def _compared(self, heads: Tensor, others: Tensor, rows: Tensor, shifts: Tensor) -> tuple[Tensor, Tensor]:
        """Whether others are copies of heads, (N,), and by what factor their channels are larger, (N, size)."""
        (one, other), (shift, shifted) = ((x[self.places[heads]], x[self.places[others]]) for x in (rows, shifts))
        factor = (other * one).sum(2) / one.square().sum(2).clamp(min=1e-300)
        length = other.square().sum((1, 2))
        apart = (other - factor[:, :, None] * one).square().sum((1, 2)) / length.clamp(min=1e-300)
        offset = (shifted - factor[:, :, None] * shift).square().sum((1, 2))
        offset /= (length + shifted.square().sum((1, 2))).clamp(min=1e-300)
        return (apart <= 1 - COPY**2) & (offset <= 1 - COPY**2) & (factor > 0).all(1), factor

    def _works(self, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """What each unit does, with its copies and alone: its length, (C',), times that of what takes it, (H,) each.

        In shares of what a usual one does: the middle one of as many as the reference has.
        """
        places, sizes = self.places.flatten(), lengths[self.places[self.leaders]]
        found = torch.zeros(2, len(self.leaders), dtype=torch.float64)
        for column in columns(self.network, self.one).values():
            parts = column.double()[places] * self.factors.flatten()[:, None, None]
            parts = parts.unflatten(0, self.places.shape)
            together = torch.zeros_like(parts).index_add_(0, self.leaders, parts)[self.leaders]
            both = torch.stack([(sizes * part.flatten(2).norm(dim=2)).sum(1) for part in (together, parts)])
            found += both / both[0].topk(len(self.sums)).values.median().clamp(min=1e-300)
        return found[0], found[1]

    @torch.no_grad()
    def merge(self) -> int:
        """Adds the columns of copies to those of the chosen units, in the network; how many channels that were."""
        kept = {int(self.leaders[unit]): int(unit) for unit in self.chosen.flip(0)}
        chosen = set(self.chosen.tolist())
        pairs = [(u, kept[lead]) for u, lead in enumerate(self.leaders.tolist()) if u not in chosen and lead in kept]
        if not pairs:
            return 0
        copies, into = torch.tensor(pairs).T
        factor = (self.factors[copies] / self.factors[into]).flatten()
        for column in columns(self.network, self.one).values():
            added = column[self.places[copies].flatten()].double() * factor[:, None, None]
            column.index_add_(0, self.places[into].flatten(), added.to(column))
        return int(factor.numel())

    def kept(self) -> Tensor:
        """The channels that stay, (C,), in the order of the reference."""
        return self._channels(torch.arange(len(self.sums)), self.chosen).flatten()


def _score(network: nn.Module, theirs: Layers, makers: Sequence[_Maker], among: Tensor | None = None) -> Tensor:
    """|cosine| of the reference's balanced filters with the suspect's, (C, C'), summed over layers."""
    score = torch.zeros(())
    for maker in makers:
        ours = balanced(maker.rows(network), among).float()
        score = score + (theirs.weights[maker.name].flatten(1) @ ours.flatten(1).T).abs_()
    return score.nan_to_num_(0)  # a sum of columns may have been too large for a float


def _tiles(score: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Scores of units, (G, H), and the order of each of the H in each of the G, (G, H, size)."""
    if size == 1:
        return score, torch.zeros((*score.shape, 1), dtype=torch.long)
    tiles = score.unflatten(0, (-1, size)).unflatten(2, (-1, size)).transpose(1, 2)
    inner = np.array([[linear_sum_assignment(t, maximize=True)[1] for t in row] for row in tiles.numpy()])
    order = torch.from_numpy(inner).long()
    return tiles.gather(3, order[..., None]).sum((2, 3)), order


def _best(sums: Tensor) -> Tensor:
    """The assignment of one of H to each of G with the largest sum, (G,); among equals what is in place."""
    return torch.from_numpy(linear_sum_assignment((sums + STAY * torch.eye(*sums.shape)).numpy(), maximize=True)[1])


def _after_norms(
    network: nn.Module, one: ChannelSet, makers: Sequence[_Maker], norms: Collection[str]
) -> tuple[Tensor, Tensor] | None:
    """What makes each channel, its norm included: filters (C', D) and shifts (C', N), equal up to a factor for copies.

    None where a channel passes something else than one norm behind each of its layers: a norm behind a sum, filters of
    single channels.
    """
    state = tensors_of(network)
    known = {*one.makers, *norms}
    if any(axis.axis == 0 and axis.tensor.rpartition(".")[0] not in known for axis in one.axes):
        return None
    made = []
    for maker in makers:
        rows = maker.rows(network).double().flatten(1)
        bias = state.get(f"{maker.name}.bias", torch.zeros(len(rows))).double()
        made.append(_through(network.get_submodule(maker.norm) if maker.norm else None, rows, bias))
    rows_of_all, shifts = zip(*made, strict=True)
    return torch.cat(rows_of_all, 1), torch.stack(shifts, 1)


def _through(norm: nn.Module | None, rows: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """Filter and shift behind a norm, (C', D) and (C',); of a group norm as far as its filters tell."""
    if isinstance(norm, BATCH_NORMS):
        assert norm.running_mean is not None
        assert norm.running_var is not None
        slope = norm.weight.double() / (norm.running_var.double() + norm.eps).sqrt()
        return rows * slope[:, None], norm.bias.double() + slope * (bias - norm.running_mean.double())
    if isinstance(norm, nn.GroupNorm):
        before = torch.cat([rows, bias[:, None]], 1).unflatten(0, (norm.num_groups, -1))
        length = before.flatten(1).norm(dim=1)[:, None, None].clamp(min=1e-300)
        return (before / length).flatten(0, 1) * norm.weight.double()[:, None], norm.bias.double()
    return rows, bias
