"""Other scales and shifts between layers: each answer stays, and a passport meets other filters and statistics."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Generator, nn

from ipr.attacks.base import READ_FROM_WEIGHTS, Attack, Attacked, Fit, Victim, example_of, freedom_of, require
from ipr.data.images import ImageData
from ipr.models.channels import BATCH_NORMS, Symmetry
from ipr.models.gauge import before_norms, restate, scale
from ipr.randomness import generator


def rescaled(network: nn.Module, found: Symmetry, factor: float, shift: float, source: Generator) -> nn.Module:
    """A copy with other scales and shifts between its layers, and the same answers.

    Each channel is multiplied by a factor of its own where it is made, and divided by it where it is taken: by the
    columns of the next layer (through ReLU), or by the norm behind a convolution (of a group norm, one factor for each
    group, of 1 or more, as a smaller one would let eps be felt). The running mean of each batch norm, then its running
    variance, get other values, and its shift and scale what undoes them.

    Args:
        network: left as it was.
        found: its symmetry.
        factor: the largest; they are drawn from 1 / factor to factor, evenly in the logarithm.
        shift: the standard deviation of what is added to running means, in standard deviations of the channel.
        source: draws them.
    """
    copied = copy.deepcopy(network)
    for segment in found.segments:
        drawn = 2 * torch.rand(segment.channels // segment.block, generator=source) - 1
        normed = any(isinstance(copied.get_submodule(name), nn.GroupNorm) for name, _ in segment.takers)
        exponents = drawn.abs() if normed else drawn
        scale(copied, segment, torch.exp(math.log(factor) * exponents).repeat_interleave(segment.block))
    for segment in before_norms(copied, found):
        conv, norm = copied.get_submodule(segment.makers[0]), copied.get_submodule(segment.takers[0][0])
        if isinstance(norm, BATCH_NORMS):
            assert norm.running_mean is not None
            assert norm.running_var is not None
            mean, var = norm.running_mean, norm.running_var
            drawn = torch.randn(mean.shape, generator=source).to(mean)
            other = torch.exp(math.log(factor) * (2 * torch.rand(var.shape, generator=source) - 1)).to(var)
            restate(conv, norm, mean + shift * drawn * (var + norm.eps).sqrt(), var * other)
    return copied


@dataclass
class Rescale(Attack):
    """Channels get other scales, and running statistics other values, wherever another layer undoes it.

    The bits before the first change stay, but the private branch, which brings scales and shifts of its own, meets
    filters and statistics that it was not trained with, so that fidelity fails. Costs nothing and needs no data. In V1
    the network in use and the file that was given away (`file=locked`) are both attacked. The paper does not name the
    attack.
    """

    kind = "removal"
    section = "not in the paper"
    attacker_has = "the weights, and for V1 the distributed passport"
    schemes = READ_FROM_WEIGHTS
    needs = "its mark is in the answers, which stay as they are"

    factor: float = 8.0
    shift: float = 1.0

    def check(self, scheme: str) -> None:
        """See `Attack.check`."""
        super().check(scheme)
        require(1 <= self.factor <= 100, "factor", self.factor, "give 1 to 100, e.g. 8")
        require(0 <= self.shift <= 10, "shift", self.shift, "give 0 to 10, e.g. 1")

    def run(self, victim: Victim, data: ImageData, fit: Fit, seed: int) -> Iterator[Attacked]:
        """See `Attack.run`."""
        example = example_of(data, victim.suspect)
        for point, network in victim.held(example).items():
            found = freedom_of(network, example)
            suspect = rescaled(network, found, self.factor, self.shift, generator(seed, "rescale"))
            yield Attacked(suspect, {point: victim.claim})
