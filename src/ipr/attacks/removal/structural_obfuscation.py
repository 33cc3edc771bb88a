"""Channels that do nothing are put in: no answer changes, and the network has other widths."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Generator, Tensor, nn

from ipr.attacks.base import freedom_of
from ipr.attacks.removal.same_answers import IMAGES, SameAnswers, permuted, rescaled, with_flipped_groups
from ipr.config.registry import register
from ipr.data.images import ImageData, normalise
from ipr.models.channels import ChannelSet, Symmetry
from ipr.models.inspection import device_of
from ipr.models.widths import columns, gather, unit
from ipr.randomness import generator

WAYS = ("zero", "clique", "split")
"""How channels are put in."""

CLIQUE = 3
"""Channels of a clique; the last one of a set may have fewer."""

WIDEST = 3.0
"""The largest share of channels that may be added."""


@register("structural_obfuscation")
@dataclass
class StructuralObfuscation(SameAnswers):
    """Dummy channels are put in wherever channels are free, and the answers stay (Yan et al., 2303.09732).

    A `zero` channel has filters of its own and is taken by columns of 0. A `clique` is made by equal filters, and its
    columns sum to 0. A `split` channel stands in two copies whose columns sum to what they were. Group norm takes whole
    groups of the size that it has: no channel can come into a group without changing its mean and variance, so that a
    layer of one group is left alone. With `hide` all channels change places afterwards, half of them their signs before
    norms, and all their scales, as `permute`, `flip_groups` and `rescale` do it.

    The paper also enlarges kernels by zeros and puts layers in; here kernels and layers stay. Costs nothing and needs
    no data, but a few images where group norms are rescaled. What is left is a plain network of other widths.
    """

    attacker_has = "the weights, a few images, and for V1 the distributed passport"

    added: float = 0.25  # channels that are put in, as a share of each set's own; at least one
    ways: list[str] = field(default_factory=lambda: list(WAYS))  # each adds an equal part of them
    hide: bool = True  # permute, flip and rescale afterwards

    def check(self, scheme: str) -> None:
        """See `Attack.check`."""
        super().check(scheme)
        self.require(0 < self.added <= WIDEST, "added", f"give more than 0 and up to {WIDEST:g}, e.g. 0.25")
        known = bool(self.ways) and set(self.ways) <= set(WAYS) and len(set(self.ways)) == len(self.ways)
        self.require(known, "ways", f"give some of [{','.join(WAYS)}], each once")

    def moved(self, network: nn.Module, found: Symmetry, data: ImageData, seed: int) -> Iterator[tuple[str, nn.Module]]:
        """See `SameAnswers.moved`."""
        images = normalise(data.train_pixels[:IMAGES].to(device_of(network)), data.mean, data.std)
        source = generator(seed, "structural obfuscation")
        widened = obfuscated(network, found, self.added, self.ways, source)
        yield "", hidden(widened, images, source) if self.hide else widened


def obfuscated(network: nn.Module, found: Symmetry, share: float, ways: Sequence[str], source: Generator) -> nn.Module:
    """A copy with dummy channels behind the channels of every set that is free, and the same answers.

    Args:
        network: left as it was.
        found: its symmetry.
        share: how many are added to each set, of its own, at least one; with group norm whole groups.
        ways: some of `WAYS`; each adds an equal part of them, and sets take turns in which way adds one more.
        source: draws what is free.
    """
    copied = copy.deepcopy(network)
    for number, channels in enumerate(found.free):
        size = unit(copied, channels)
        count = channels.channels // size
        added = max(round(share * count), int(count > 1))
        counts = {way: len(range((n - number) % len(ways), added, len(ways))) for n, way in enumerate(ways)}
        _put_in(copied, channels, size, counts, source)
    return copied


def hidden(network: nn.Module, images: Tensor, source: Generator) -> nn.Module:
    """A copy with the same answers whose channels are in a random order, half of the signs before norms turned, scales
    up to 8 times as large or small, and running means moved by a standard deviation.

    Args:
        network: left as it was.
        images: some of the attacker's, (N, C, H, W), normalised.
        source: draws it.
    """
    found = freedom_of(network, images[:1])
    turned = with_flipped_groups(permuted(network, found, source), found, 0.5, source)
    return rescaled(turned, found, 8.0, 1.0, images, source)


@torch.no_grad()
def _put_in(network: nn.Module, channels: ChannelSet, size: int, counts: dict[str, int], source: Generator) -> None:
    """Adds so many units of `size` channels in each way, behind those that are there."""
    own = channels.channels // size
    places, first = {}, own
    for way, count in counts.items():
        places[way] = torch.arange(first, first + count)
        first += count
    drawn = torch.randperm(own, generator=source).repeat(-(-first // own))[: first - own]  # of whom each is a copy
    index = torch.cat([torch.arange(own), drawn])
    gather(network, channels, _each(index, size))
    taken = list(columns(network, channels).values())
    for way, new in places.items():
        ranks = [_each(one[None], size) for one in new]
        if way == "split":
            for one, rank in zip(new, ranks, strict=True):
                _share_out(taken, _each(index[one][None], size), rank, source)
            continue
        alone = 1 if way == "zero" else CLIQUE
        for clique in (ranks[n : n + alone] for n in range(0, len(ranks), alone)):
            _draw_rows(network, channels, clique[0], source)
            for rank in clique[1:]:
                _copy_rows(network, channels, clique[0], rank)
            _cancel(taken, clique, source)


def _each(units: Tensor, size: int) -> Tensor:
    """The channels of units, in their order."""
    return (units[:, None] * size + torch.arange(size)).flatten()


def _draw_rows(network: nn.Module, channels: ChannelSet, rank: Tensor, source: Generator) -> None:
    """Gives channels rows of the entries that they have, in another order."""
    for name in channels.makers:
        weight = network.get_submodule(name).get_parameter("weight").detach()
        rows = weight[rank].flatten(1)
        order = torch.rand(rows.shape, generator=source).argsort(1).to(rows.device)
        weight[rank] = rows.gather(1, order).view_as(weight[rank])


def _copy_rows(network: nn.Module, channels: ChannelSet, old: Tensor, new: Tensor) -> None:
    """All that makes and changes channels: rows, biases, norms, filters of single channels."""
    for axis in channels.axes:
        if axis.axis == 0:
            name, _, part = axis.tensor.rpartition(".")
            tensor = getattr(network.get_submodule(name), part).detach()
            tensor[new] = tensor[old]


def _cancel(taken: list[Tensor], clique: list[Tensor], source: Generator) -> None:
    """Columns that sum to 0: those of channels drawn at random, and the last one what is left; of one alone, 0."""
    for column in taken:
        last = torch.zeros_like(column[clique[-1]])
        for rank in clique[:-1]:
            column[rank] = column[torch.randint(int(clique[0][0]), rank.shape, generator=source)]
            last -= column[rank]
        column[clique[-1]] = last


def _share_out(taken: list[Tensor], old: Tensor, new: Tensor, source: Generator) -> None:
    """The copy takes a quarter to three quarters of each column, drawn at random, and the old one the rest."""
    for column in taken:
        part = 0.25 + 0.5 * torch.rand(old.numel(), 1, 1, generator=source)
        column[new] = part.to(column) * column[old]
        column[old] -= column[new]
