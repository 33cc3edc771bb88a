"""Does one network descend from another? By its weights, after its channels were matched to the other's.

The channels of the suspect are first brought into the reference's order, by assignment on their filters
(`channel_order.py`). Then two things are looked at, for each set of channels that may stand in any order:

- **Identified channels.** Which channel is which is asked a second time, of what the channels answer to smooth noise
  (`smooth_noise`, of nobody's choice): assignment on |correlation|. In a copy both ways name the same channel. In a
  network that was trained by itself filters say nothing of answers, and the two agree as a guess among C channels does
  (a few more in first layers, whose filters are alike in most networks: a judge asks networks of his own).
- **CKA of the weights.** Rows that make the channels, and columns that take them, unbiased (`cka.py`), as AWM compares
  transformers (arXiv:2510.06738: hidden dimensions by linear assignment, then unbiased CKA of weights). Layers are
  balanced first, so that scaled channels are none the wiser; signs are taken from the match.

CKA of *activations* on images does not serve: independent networks of one task reach 0.9 and more of it
(docs/fingerprints.md).
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn
from torch.nn import functional

from ipr.errors import InputError
from ipr.judging.channel_order import Match, match
from ipr.judging.cka import LEAST, unbiased_cka
from ipr.models.channels import ChannelSet, symmetry
from ipr.models.inspection import evaluating
from ipr.randomness import generator

PROBES, COARSE = 64, 4
"""Images of smooth noise, and the pixels a side that they are drawn with before they are enlarged."""


@dataclass(frozen=True)
class Lineage:
    """How alike a suspect and a reference are.

    Attributes:
        identified: the first layer that makes a set of channels -> how many of these are found twice as the same.
        channels: likewise, of so many; of the reference's, those that do not always answer the same.
        choices: C of the smallest set.
        similarity: unbiased CKA of the weights, the mean over the layers that make or take a set; at most 1.
        least: the least of these layers'.
    """

    identified: Mapping[str, int]
    channels: Mapping[str, int]
    choices: int
    similarity: float
    least: float


def lineage(suspect: nn.Module, reference: nn.Module, x: Tensor) -> Lineage:
    """Measures it.

    Args:
        suspect: a plain network; left as it was.
        reference: of the same shapes; left as it was.
        x: inputs, (B, channels, H, W), on the CPU; B at least 1.

    Raises:
        InputError: the channels of such a network cannot be followed, or weights are not finite.
    """
    network, target = copy.deepcopy(suspect).cpu().eval(), copy.deepcopy(reference).cpu().eval()
    network.requires_grad_(False)
    for one in (network, target):
        if not all(bool(t.isfinite().all()) for t in one.state_dict().values()):
            raise InputError("suspect", type(one).__name__, "has weights that are not finite", "give trained weights")
    found = symmetry(target, x[:1])
    free = [one for one in found.free if one.makers and one.channels >= LEAST]
    if not free:
        problem = "its channels cannot be matched"
        raise InputError("model", type(target).__name__, problem, "a lineage takes a convolutional network")
    matched = match(network, target, found)
    theirs, ours = (_answers(one, [each.makers[0] for each in free], x) for one in (target, network))
    identified = {one.makers[0]: _identified(theirs[one.makers[0]], ours[one.makers[0]]) for one in free}
    similar = [value for one in free for value in _similarities(matched, one)]
    channels = {name: int(_alive(rows).sum()) for name, rows in theirs.items()}
    if not any(channels.values()):
        raise InputError("model", type(target).__name__, "answers the same to everything", "give a trained network")
    choices = min(one.channels for one in free)
    return Lineage(identified, channels, choices, sum(similar) / len(similar), min(similar))


def smooth_noise(channels: int, image_size: int) -> Tensor:
    """Normal noise of `COARSE` pixels a side, enlarged: (PROBES, channels, image_size, image_size), always the same.

    White noise would not do: what a first layer answers to it follows from its filters alone.
    """
    drawn = torch.randn(PROBES, channels, COARSE, COARSE, generator=generator(0, "probes of a lineage"))
    enlarged: Tensor = functional.interpolate(drawn, image_size, mode="bilinear")
    return enlarged


def _answers(network: nn.Module, layers: Sequence[str], x: Tensor) -> dict[str, Tensor]:
    """Layer -> what each of its channels answers, centred and of length 1 (or 0): (C, B H W), float64."""
    seen: dict[str, Tensor] = {}

    def keep(name: str) -> object:
        return network.get_submodule(name).register_forward_hook(lambda _, __, out: seen.update({name: out}))

    handles = [keep(name) for name in layers]
    try:
        with evaluating(network):
            network(x)
    finally:
        for handle in handles:
            handle.remove()  # type: ignore[attr-defined]
    rows = {name: out.transpose(0, 1).flatten(1).double() for name, out in seen.items()}
    centred = {name: row - row.mean(1, keepdim=True) for name, row in rows.items()}
    return {name: row / row.norm(dim=1, keepdim=True).clamp(min=1e-300) for name, row in centred.items()}


def _identified(theirs: Tensor, ours: Tensor) -> int:
    """How many channels of the matched suspect are, by what they answer, the reference's of the same place."""
    chosen = linear_sum_assignment((theirs @ ours.T).abs().numpy(), maximize=True)[1]
    return int(((torch.from_numpy(chosen) == torch.arange(len(chosen))) & _alive(theirs) & _alive(ours)).sum())


def _alive(rows: Tensor) -> Tensor:
    """Which channels do not always answer the same, (C,): their rows have length 1, those of others 0."""
    alive: Tensor = rows.norm(dim=1) > 0.5
    return alive


def _similarities(matched: Match, channels: ChannelSet) -> list[float]:
    """CKA of each layer's rows that make a set of channels, and columns that take it.

    Rows may have been turned, which the norm behind them undoes; columns were not.
    """
    theirs, ours = matched.theirs.weights, matched.ours.weights
    found = []
    for name in (one for one in channels.makers if one in theirs):
        one, other = theirs[name].flatten(1), ours[name].flatten(1)
        found.append(unbiased_cka(one, other * torch.where((one * other).sum(1, keepdim=True) < 0, -1.0, 1.0)))
    for name, _ in channels.takers:
        if name in theirs and theirs[name].shape[1] == channels.channels:
            found.append(unbiased_cka(*(one[name].transpose(0, 1).flatten(1) for one in (theirs, ours))))
    return found
