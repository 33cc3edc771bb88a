"""Turning the signs of channels: the norm behind them turns them back, and a signature reads the opposite."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Generator, nn

from ipr.attacks.base import READ_FROM_WEIGHTS, Attack, Attacked, Fit, Victim, example_of, fractions, freedom_of
from ipr.config.registry import register
from ipr.data.images import ImageData
from ipr.models.channels import Symmetry
from ipr.models.gauge import before_norms, scale
from ipr.randomness import generator


def with_flipped_groups(network: nn.Module, found: Symmetry, fraction: float, source: Generator) -> nn.Module:
    """A copy in which some groups of a group norm, or channels of a batch norm, have the other sign before the norm.

    W and the running mean are negated, and so is the scale of the norm, which keeps the answers.

    Args:
        network: left as it was.
        found: its symmetry.
        fraction: of each layer's groups or channels, in [0, 1], chosen at random.
        source: draws them.
    """
    copied = copy.deepcopy(network)
    for segment in before_norms(copied, found):
        count = segment.channels // segment.block
        signs = torch.ones(count)
        signs[torch.randperm(count, generator=source)[: round(fraction * count)]] = -1
        scale(copied, segment, signs.repeat_interleave(segment.block))
    return copied


@register("flip_groups")
@dataclass
class FlipGroups(Attack):
    """Whole groups of a group norm, or channels of a batch norm, change sign before the norm, and the answers stay.

    A scale of the passport is a product with W and changes its sign, so that all bits of these channels are read wrong.
    Costs nothing and needs no data. In V1 the network in use and the file that was given away (`file=locked`) are both
    attacked; the scale of a norm in the latter, 1 until then, becomes -1. The paper does not name the attack; not to be
    confused with `flip_signs`, which forges scales and changes no network.
    """

    kind = "removal"
    section = "not in the paper"
    attacker_has = "the weights, and for V1 the distributed passport"
    families = READ_FROM_WEIGHTS
    needs = "its mark is in the answers, which stay as they are"

    rates: list[float] = field(default_factory=lambda: [0.5, 1.0])  # shares of the groups that change sign

    def check(self, scheme: str) -> None:
        """See `Attack.check`."""
        super().check(scheme)
        fractions("rates", self.rates)

    def run(self, victim: Victim, data: ImageData, fit: Fit, seed: int) -> Iterator[Attacked]:
        """See `Attack.run`."""
        example = example_of(data, victim.suspect)
        for point, network in victim.held(example).items():
            found = freedom_of(network, example)
            for rate in self.rates:
                suspect = with_flipped_groups(network, found, rate, generator(seed, f"flip groups {rate}"))
                yield Attacked(suspect, {f"rate={rate:g} {point}".strip(): victim.claim})
