"""A suspect's channels matched to the network that was committed to: free removal, undone.

Whoever holds a network may permute its channels, turn their signs, scale and shift them without changing one answer
(`models/gauge.py`); a signature, or bits in weights, are then no longer where they were. Here the same changes are
looked for that bring the suspect nearest to the owner's reference network. They are chosen by filters alone, never by
what is claimed, and they change no answer either, so that nothing that an aligned network says was put in.

1. Order and sign. Rows and columns of each layer are brought to the same lengths (`balanced`: what scales did is then
   gone), and channels matched by assignment on the |cosine| of their filters, first in the order of the layers, then
   over and over with all layers that make or take them, until nothing moves.
2. Scale. Factors between the layers by least squares.
3. Shift. Batch norms get the reference's running statistics, and their scale and shift what keeps the answers: a private
   branch, which brings its own scale and shift, works by these statistics again.

With filters that are not alike the best match still has cosines above 0, and signs chosen by them would read more than
half of the bits. So a suspect is aligned only if it is the same network: similar beyond `SIMILAR` (docs/alignment.md
has the measurement); else it is left as it is.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn

from ipr.errors import InputError
from ipr.models.channels import BATCH_NORMS, ChannelSet, Segment, Symmetry, symmetry
from ipr.models.gauge import permute, restate, scale
from ipr.models.use import evaluating

SIMILAR = 0.6
"""The least median similarity of a suspect's layers to be the same network."""

SWEEPS = 20
"""Rounds over all sets of channels at most; two or three are usual."""

BALANCING = 20
"""Steps of bringing rows and columns to the same lengths."""

UNALIKE = 0.2
"""The cosine at and below which two filters tell nothing of a factor between them."""

SAME = 1e-4
"""The logarithm of a factor below which it is none."""


@dataclass(frozen=True)
class Alignment:
    """What alignment found.

    Attributes:
        network: a copy of the suspect with the same answers, in the reference's order, signs and scales; an unchanged
            copy where it is not similar.
        similar: whether it was aligned.
        way: what was done, or why nothing was, in words.
        similarity: layer -> mean |cosine| of its channels with those they were matched to, in [0, 1].
        ways: how many readings there are to choose from, which a p-value must be multiplied by: 2 (as it was given, and
            aligned), or 1 where nothing was done.
    """

    network: nn.Module
    similar: bool
    way: str
    similarity: Mapping[str, float]
    ways: int


@dataclass
class _Done:
    """Counts of what was changed."""

    moved: int = 0
    turned: int = 0
    rescaled: int = 0
    shifted: int = 0


def align(suspect: nn.Module, reference: nn.Module, example: Tensor) -> Alignment:
    """Matches a suspect to a reference of the same architecture.

    Args:
        suspect: a plain network; left as it was.
        reference: the plain network that was committed to; left as it was.
        example: an input for both, shape (1, C, H, W).

    Raises:
        InputError: they are of different shapes, or cannot be traced.
    """
    _check_same_shapes(suspect, reference)
    found = symmetry(reference, example)
    network, target = copy.deepcopy(suspect).cpu().eval(), copy.deepcopy(reference).cpu().eval()
    network.requires_grad_(False)
    if not (_finite(network) and _finite(target)):
        return _left(suspect, {}, "its weights, or the reference's, are not finite")
    done = _Done()
    done.moved = _match(network, target, found)
    similarity = similarities(network, target, found)
    if not similarity:
        return _left(suspect, {}, "no layer of it can be compared")
    alike = float(np.median(list(similarity.values())))
    if alike < SIMILAR:
        says = f"half of its layers are no more alike than {alike:.2f}, of {SIMILAR:g} that it takes"
        return _left(suspect, similarity, f"it is another network than the reference ({says})")
    done.turned = _turn(network, target, found)
    done.rescaled = _rescale(network, target, found)
    done.shifted = _restate(network, target, found)
    if not _same_answers(network, suspect, example.cpu()):
        return _left(suspect, similarity, "its answers would change, as its scales are extreme")
    device = next(suspect.parameters()).device
    return Alignment(network.to(device), True, _told(done, sum(one.channels for one in found.free)), similarity, 2)


def _left(suspect: nn.Module, similarity: Mapping[str, float], why: str) -> Alignment:
    return Alignment(copy.deepcopy(suspect), False, f"left as it was: {why}", similarity, 1)


def _check_same_shapes(suspect: nn.Module, reference: nn.Module) -> None:
    one, other = suspect.state_dict(), reference.state_dict()
    for name in [*one.keys(), *other.keys()]:
        if name not in one or name not in other or one[name].shape != other[name].shape:
            problem = f"{name!a} is not of the same shape in the suspect"
            raise InputError("reference", type(reference).__name__, problem, "give the network that was committed to")


def _finite(network: nn.Module) -> bool:
    return all(bool(t.isfinite().all()) for t in network.state_dict().values() if t.is_floating_point())


def _same_answers(network: nn.Module, suspect: nn.Module, example: Tensor) -> bool:
    original = copy.deepcopy(suspect).cpu()
    with evaluating(network), evaluating(original):
        ours, theirs = network(example), original(example)
    return bool(torch.isfinite(ours).all()) and float((ours - theirs).abs().max()) <= 1e-3 * (
        1 + float(theirs.abs().max())
    )


# 1. Order and sign


def balanced(weight: Tensor) -> Tensor:
    """A layer's weights with rows and columns of equal length: the same whatever scales its channels were given.

    The squares, summed over the places of a kernel, are brought to equal sums of rows and of columns in turn (Sinkhorn
    and Knopp 1967). Empty rows and columns stay empty.

    Args:
        weight: (C, C_in, ...).

    Returns:
        (C, C_in, N), float64, with rows of length 1.
    """
    flat = weight.double().flatten(2) if weight.dim() > 2 else weight.double().unsqueeze(2)
    largest = flat.abs().amax((1, 2), keepdim=True)
    flat = torch.where(largest > 0, flat / largest, 0)
    squares = flat.square().sum(2)
    rows, columns = torch.ones_like(squares[:, 0]), torch.ones_like(squares[0])
    for _ in range(BALANCING):
        if columns.numel() > 1:
            columns = _inverse(rows @ squares) * rows.numel() / columns.numel()
        rows = _inverse(squares @ columns)
    return flat * rows.sqrt()[:, None, None] * columns.sqrt()[None, :, None]


def _inverse(sums: Tensor) -> Tensor:
    return torch.where(sums > 0, 1 / sums.clamp(min=1e-300), 0)


def _by_channel(weight: Tensor, repeat: int) -> Tensor:
    """(C, C_in * repeat, ...) as (C, C_in, repeat * ...): columns of one channel behind one another."""
    if weight.dim() > 2:
        return weight.flatten(2)
    return weight.unflatten(1, (-1, repeat))


class _Layers:
    """The balanced layers of a network, by name; the suspect's follow what is done to it."""

    def __init__(self, network: nn.Module, found: Symmetry) -> None:
        repeats = {name: repeat for one in found.sets for name, repeat in one.takers}
        self.weights = {}
        for one in found.sets:
            for name in one.makers:
                weight = network.get_submodule(name).get_parameter("weight").detach()
                self.weights[name] = balanced(_by_channel(weight, repeats.get(name, 1)))

    def permute(self, channels: ChannelSet, order: Tensor) -> None:
        for name in channels.makers:
            self.weights[name] = self.weights[name][order]
        for name, _ in channels.takers:
            self.weights[name] = self.weights[name][:, order]


def _match(network: nn.Module, target: nn.Module, found: Symmetry) -> int:
    """Permutes the network's channels towards the target's; how many are elsewhere afterwards."""
    ours, theirs = _Layers(network, found), _Layers(target, found)
    places = [torch.arange(one.channels) for one in found.sets]
    sources: dict[str, int] = {name: i for i, one in enumerate(found.sets) for name, _ in one.takers}
    settled = {i for i, one in enumerate(found.sets) if one.pinned}
    for sweep in range(SWEEPS):
        changed = False
        for i, one in enumerate(found.sets):
            if one.pinned:
                continue
            makers = [n for n in one.makers if sweep > 0 or sources.get(n, -1) in settled or n not in sources]
            score = torch.zeros(one.channels, one.channels, dtype=torch.float64)
            for name in makers:
                score += (theirs.weights[name].flatten(1) @ ours.weights[name].flatten(1).T).abs()
            if sweep > 0:
                for name, _ in one.takers:
                    score += _columns(theirs.weights[name], ours.weights[name])
            settled.add(i)
            if not makers and sweep == 0:
                continue
            order = assigned(score, one.block)
            if not torch.equal(order, torch.arange(one.channels)):
                changed = True
                ours.permute(one, order)
                permute(network, one, order)
                places[i] = places[i][order]
        if sweep > 0 and not changed:
            break
    return sum(int((place != torch.arange(place.numel())).sum()) for place in places)


def _columns(theirs: Tensor, ours: Tensor) -> Tensor:
    """|cosine| of what each row gives each pair of columns, (C_in, C_in): rows may have been turned."""
    signs = (theirs * ours).sum((1, 2)).sign()
    signs[signs == 0] = 1
    one, other = theirs.transpose(0, 1).flatten(1), (ours * signs[:, None, None]).transpose(0, 1).flatten(1)
    lengths = one.norm(dim=1)[:, None] * other.norm(dim=1)[None]
    return torch.where(lengths > 0, (one @ other.T) / lengths.clamp(min=1e-300), 0).clamp(min=0)


def assigned(score: Tensor, block: int) -> Tensor:
    """The permutation that keeps blocks and has the largest sum of scores.

    Args:
        score: (C, C): of the channel wanted (row) with the one that is there (column); finite.
        block: size of the blocks; C for none.

    Returns:
        (C,), int64: which channel goes to each place. Among equals, what stays in place is preferred.
    """
    score = score + 1e-9 * torch.eye(score.shape[0], dtype=score.dtype)
    count = score.shape[0] // block
    tiles = score.view(count, block, count, block).transpose(1, 2)
    if count == 1:
        return torch.from_numpy(linear_sum_assignment(score.numpy(), maximize=True)[1]).long()
    inner = [[linear_sum_assignment(tiles[g, h].numpy(), maximize=True)[1] for h in range(count)] for g in range(count)]
    sums = [[float(tiles[g, h].numpy()[range(block), inner[g][h]].sum()) for h in range(count)] for g in range(count)]
    chosen = linear_sum_assignment(np.array(sums), maximize=True)[1]
    return torch.cat([torch.from_numpy(inner[g][h] + h * block).long() for g, h in enumerate(chosen)])


def similarities(network: nn.Module, target: nn.Module, found: Symmetry) -> dict[str, float]:
    """Layer -> mean |cosine| of its balanced rows with the target's, over rows that are not empty in both."""
    ours, theirs = _Layers(network, found), _Layers(target, found)
    similarity = {}
    for name, weight in theirs.weights.items():
        cosine = (weight * ours.weights[name]).sum((1, 2))
        alive = (weight.abs().amax((1, 2)) > 0) & (ours.weights[name].abs().amax((1, 2)) > 0)
        if bool(alive.any()) and weight[0].numel() > 1:
            similarity[name] = float(cosine[alive].abs().mean())
    return similarity


def _turn(network: nn.Module, target: nn.Module, found: Symmetry) -> int:
    """Turns channels that a norm follows to the side of the target's; how many."""
    ours, theirs = _Layers(network, found), _Layers(target, found)
    turned = 0
    for segment in _before_norms(network, found):
        (name,) = segment.makers
        one, other = (
            (ours.weights[name], theirs.weights[name]) if name in ours.weights else (_rows(network, name), _rows(target, name))
        )
        cosine = (one * other).flatten(1).sum(1)
        signs = cosine.view(-1, segment.block).sum(1).sign().repeat_interleave(segment.block)
        signs[signs == 0] = 1
        if bool((signs < 0).any()):
            scale(network, segment, signs)
            turned += int((signs < 0).sum())
    return turned


def _before_norms(network: nn.Module, found: Symmetry) -> list[Segment]:
    """The segments from one convolution or linear layer to one norm."""
    norms = (*BATCH_NORMS, nn.GroupNorm)
    return [
        segment
        for segment in found.segments
        if segment.signed
        and len(segment.makers) == len(segment.takers) == 1
        and isinstance(network.get_submodule(segment.takers[0][0]), norms)
        and isinstance(network.get_submodule(segment.makers[0]), nn.Conv2d | nn.Linear)
    ]


def _rows(network: nn.Module, name: str) -> Tensor:
    weight = network.get_submodule(name).get_parameter("weight").detach().double().flatten(1)
    return weight / weight.norm(dim=1, keepdim=True).clamp(min=1e-300)


# 2. Scale


def _rescale(network: nn.Module, target: nn.Module, found: Symmetry) -> int:
    """Brings factors between layers to the target's, from the input on; how many channels were given another."""
    rows = {name: segment for segment in found.segments for name in segment.makers}
    behind = {segment.makers[0] for segment in _before_norms(network, found)}
    changed = 0
    for segment in found.segments:
        if segment.makers[0] in behind:
            factors = _row_factors(network, target, segment)
        else:
            factors = _column_factors(network, target, segment, rows)
        if factors is None:
            continue
        different = (factors.log().abs() > SAME).sum()
        if int(different):
            scale(network, segment, factors)
            changed += int(different)
    return changed


def _row_factors(network: nn.Module, target: nn.Module, segment: Segment) -> Tensor:
    """What brings the rows of a convolution before a norm to the target's, one factor for each block; 1 if unalike."""
    ours, theirs = (
        n.get_submodule(segment.makers[0]).get_parameter("weight").detach().double().flatten(1) for n in (network, target)
    )
    sums = ((ours * theirs).sum(1), ours.square().sum(1), theirs.square().sum(1))
    return _quotient(*sums, segment.block)


def _column_factors(
    network: nn.Module, target: nn.Module, segment: Segment, rows: Mapping[str, Segment]
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
            _by_channel(n.get_submodule(name).get_parameter("weight").detach().double(), repeat)
            for n in (network, target)
        )
        length = theirs.square().sum().clamp(min=1e-300)  # so that each layer counts the same
        sums = (part.sum(2) / length for part in (ours * theirs, ours.square(), theirs.square()))
        fits.append(_Fit(*sums, rows.get(name)))
    inner = torch.ones(segment.channels, dtype=torch.float64)
    if fixed := [fit for fit in fits if fit.own is None]:  # nothing is left open: begin with these
        inner = _inner(fixed, [torch.ones_like(fit.product[:, 0]) for fit in fixed], segment.block)
    for _ in range(BALANCING):
        inner = _inner(fits, [fit.outer(inner) for fit in fits], segment.block)
    if not fixed:
        inner = inner * _common_factor(network, target, segment, inner)
    return 1 / inner


@dataclass
class _Fit:
    """Sums over the places of a kernel, each (C, C_in), of a layer that takes a segment, and the segment of its rows."""

    product: Tensor
    square: Tensor
    other: Tensor
    own: Segment | None

    def outer(self, inner: Tensor) -> Tensor:
        """The factors of the rows when the columns have these."""
        if self.own is None:
            return torch.ones_like(self.product[:, 0])
        return _quotient(self.product @ inner, self.square @ inner.square(), self.other.sum(1), self.own.block)


def _inner(fits: list[_Fit], outers: list[Tensor], block: int) -> Tensor:
    """The factors of the columns when the rows have these."""
    top = sum((outer @ fit.product for fit, outer in zip(fits, outers, strict=True)), start=torch.tensor(0.0))
    bottom = sum((outer.square() @ fit.square for fit, outer in zip(fits, outers, strict=True)), start=torch.tensor(0.0))
    other = sum((fit.other.sum(0) for fit in fits), start=torch.tensor(0.0))
    return _quotient(top, bottom, other, block)


def _quotient(product: Tensor, square: Tensor, other: Tensor, block: int) -> Tensor:
    """Least squares: the factor of each row, one for a block, that brings it to the other's; 1 where they are unalike.

    Args:
        product, square, other: sums of ours times theirs, of ours squared and of theirs squared, each (C,).
        block: of so many rows.
    """
    top, bottom, length = (one.view(-1, block).sum(1) for one in (product, square, other))
    alike = top > UNALIKE * (bottom * length).sqrt()
    factor = torch.where(alike & (bottom > 0), top / bottom.clamp(min=1e-300), 1)
    return factor.repeat_interleave(block)


def _common_factor(network: nn.Module, target: nn.Module, segment: Segment, inner: Tensor) -> float:
    """The median over all makers and channels of how much larger their scales would be than the target's."""
    logs = []
    for name in segment.makers:
        ours, theirs = (_size(n.get_submodule(name)) for n in (network, target))
        usable = (ours > 0) & (theirs > 0)
        logs.append((ours / inner / theirs).log()[usable])
    together = torch.cat(logs)
    return math.exp(float(together.median())) if together.numel() else 1.0


def _size(layer: nn.Module) -> Tensor:
    weight = layer.get_parameter("weight").detach().double()
    return weight.flatten(1).norm(dim=1) if weight.dim() > 1 else weight.abs()


# 3. Shift


def _restate(network: nn.Module, target: nn.Module, found: Symmetry) -> int:
    """Gives batch norms behind a layer the target's statistics; how many norms."""
    count = 0
    for segment in _before_norms(network, found):
        maker, taker = segment.makers[0], segment.takers[0][0]
        norm, wanted = network.get_submodule(taker), target.get_submodule(taker)
        if isinstance(wanted, BATCH_NORMS):
            assert wanted.running_mean is not None and wanted.running_var is not None
            bias = target.get_submodule(maker).bias
            restate(
                network.get_submodule(maker),
                norm,
                wanted.running_mean,
                wanted.running_var,
                bias.detach() if isinstance(bias, Tensor) else None,
            )
            count += 1
    return count


def _told(done: _Done, channels: int) -> str:
    what = [
        f"moved {done.moved}" if done.moved else "",
        f"turned {done.turned}" if done.turned else "",
        f"scaled {done.rescaled}" if done.rescaled else "",
    ]
    told = ", ".join(part for part in what if part)
    told = f"{told} of {channels} channels" if told else f"all {channels} channels were in place"
    return told + (f"; running statistics of {done.shifted} norms as the reference's" if done.shifted else "")
