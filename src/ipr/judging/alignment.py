"""A suspect's channels matched to the network that was committed to: free removal, undone.

Whoever holds a network may permute its channels, turn their signs, scale and shift them without changing one answer
(`models/gauge.py`); a signature, or bits in weights, are then no longer where they were. Here the same changes are
looked for that bring the suspect nearest to the owner's reference network. They are chosen by filters alone, never by
what is claimed, and they change no answer either, so that nothing that an aligned network says was put in.

1. Order and sign. Rows and columns of each layer are brought to the same lengths (`balanced`: what scales did is then
   gone), and channels matched by assignment on the |cosine| of their filters, first in the order of the layers, then
   over and over with all layers that make or take them, until nothing moves.
2. Scale. Factors between the layers by least squares.
3. Shift. Batch norms get the reference's running statistics, and their scale and shift what keeps the answers: a
   private branch, which brings its own scale and shift, works by these statistics again.

With filters that are not alike the best match still has cosines above 0, and signs chosen by them would read more than
half of the bits. So a suspect is aligned only if it is the same network: similar beyond `SIMILAR` (docs/alignment.md
has the measurement); else it is left as it is.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from torch import Tensor, nn

from ipr.errors import InputError
from ipr.judging.channel_order import Layers, match, similarities, turn
from ipr.judging.channel_scale import rescale
from ipr.judging.dummy_channels import narrowed
from ipr.judging.stream_order import match_stream, stream_or_none
from ipr.models.channels import symmetry
from ipr.models.inspection import evaluating

SIMILAR = 0.6
"""The least median similarity of a suspect's layers to be the same network."""


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

    @property
    def same(self) -> bool | None:
        """Whether suspect and reference are the same network: half of the layers are alike beyond `SIMILAR`, aligned or
        not; None where nothing could be compared.
        """
        return _median(self.similarity) >= SIMILAR if self.similarity else None


def align(suspect: nn.Module, reference: nn.Module, example: Tensor) -> Alignment:
    """Matches a suspect to a reference of the same layers.

    Args:
        suspect: a plain network, on whatever device; left as it was. It may have more channels (`dummy_channels.py`)
            and lack batch norms (`folded_norms.py`).
        reference: the plain network that was committed to, on the same device or another; left as it was.
        example: an input for both, shape (1, C, H, W).

    Raises:
        InputError: their layers differ in anything else, or cannot be traced.
    """
    network, target = copy.deepcopy(suspect).cpu().eval(), copy.deepcopy(reference).cpu().eval()
    for one in (network, target):
        one.requires_grad_(False)
    if not (_finite(network) and _finite(target)):
        return _left(suspect, {}, "its weights, or the reference's, are not finite")
    example = example.cpu()
    if (same_shapes := misfit(network, target) is None) and stream_or_none(target, example) is not None:
        return _turned_back(suspect, network, target, example)
    found = symmetry(target, example)
    narrow, theirs = None, Layers(target, found)
    if not same_shapes:
        narrow = narrowed(network, target, found, example, theirs)
        network = copy.deepcopy(narrow.network)
        if not _finite(network):
            return _left(suspect, {}, "its scales are extreme")
    matched = match(network, target, found, theirs)
    similarity = similarities(matched)
    if not similarity:
        return _left(suspect, {}, "no layer of it can be compared")
    if _median(similarity) < SIMILAR:
        return _another(suspect, similarity)
    turned = turn(network, target, found, matched)
    places = rescale(network, target, found)
    if not _same_answers(network, suspect if narrow is None else narrow.network, example):
        return _left(suspect, similarity, "its answers would change, as its scales are extreme")
    device = next(suspect.parameters()).device
    way = _told(matched.moved, turned, places, sum(one.channels for one in found.free))
    way = way if narrow is None else f"{narrow.says}; then {way}"
    return Alignment(network.to(device), True, way, similarity, 2)


def misfit(suspect: nn.Module, reference: nn.Module) -> str | None:
    """The first tensor that two networks do not have in one shape, by its name; None where they have all."""
    one, other = suspect.state_dict(), reference.state_dict()
    names = (n for n in [*one, *other] if n not in one or n not in other or one[n].shape != other[n].shape)
    return next(names, None)


def _turned_back(suspect: nn.Module, network: nn.Module, target: nn.Module, example: Tensor) -> Alignment:
    """A transformer in the bases of the reference (`stream_order.py`)."""
    try:
        similarity = match_stream(network, target, example)
    except InputError as error:
        return _left(suspect, {}, f"it cannot be turned back ({error.problem})")
    if _median(similarity) < SIMILAR:
        return _another(suspect, similarity)
    if not _same_answers(network, suspect, example):
        return _left(suspect, similarity, "its answers would change, as its scales are extreme")
    way = "residual stream, hidden units and values turned to the reference's"
    return Alignment(network.to(next(suspect.parameters()).device), True, way, similarity, 2)


def _another(suspect: nn.Module, similarity: Mapping[str, float]) -> Alignment:
    says = f"half of its layers are no more alike than {_median(similarity):.2f}, of {SIMILAR:g} that it takes"
    return _left(suspect, similarity, f"it is another network than the reference ({says})")


def _median(similarity: Mapping[str, float]) -> float:
    return float(np.median(list(similarity.values())))


def _left(suspect: nn.Module, similarity: Mapping[str, float], why: str) -> Alignment:
    return Alignment(copy.deepcopy(suspect), False, f"left as it was: {why}", similarity, 1)


def _finite(network: nn.Module) -> bool:
    floats = (t for t in network.state_dict().values() if t.is_floating_point() and t.numel())
    return all(bool(end.isfinite()) for t in floats for end in t.aminmax())  # NaN is either end of what holds it


def _same_answers(network: nn.Module, suspect: nn.Module, example: Tensor) -> bool:
    original = copy.deepcopy(suspect).cpu()
    with evaluating(network), evaluating(original):
        ours, theirs = network(example), original(example)
    return float((ours - theirs).abs().max()) <= 1e-3 * (1 + float(theirs.abs().max()))


def _told(moved: int, turned: int, places: int, channels: int) -> str:
    what = [f"{verb} {count}" for verb, count in (("moved", moved), ("turned", turned)) if count]
    told = f"{' and '.join(what)} of {channels} channels" if what else f"all {channels} channels were in place"
    return told + (f", scaled at {places} places" if places else "")
