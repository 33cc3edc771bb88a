"""Random flips of scale signs (Section IV-D, Figures 13 and 14)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import combinations

import torch

from ipr.attacks.base import Attack, Attacked, Fit, Victim, flipped
from ipr.config.registry import register
from ipr.data.images import ImageData
from ipr.judging.verdict import claim_of_signs
from ipr.randomness import generator


@register("flip_signs")
@dataclass
class FlipSigns(Attack):
    """The genuine scales with a fraction of their signs inverted; magnitudes and shifts are kept, nothing is trained.

    Each combination of up to all protected layers where there are at most three (Figure 13: one, two and three layers
    of AlexNet), else all of them at once. A flipped scale belongs to no known passport, so the claim brings scales.
    """

    kind = "ambiguity"
    section = "IV-D, Figures 13 and 14"
    attacker_has = "the weights and the genuine passport, to measure what a sign is worth"
    fractions = ("rates",)

    # shares of the signs that are inverted
    rates: list[float] = field(default_factory=lambda: [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0])

    def run(self, victim: Victim, data: ImageData, fit: Fit, seed: int) -> Iterator[Attacked]:
        """See `Attack.run`."""
        genuine = victim.passport_claim.affines(victim.suspect)
        names = list(genuine)
        sizes = range(1, len(names) + 1) if len(names) <= 3 else (len(names),)
        claims = {}
        for group in (group for size in sizes for group in combinations(names, size)):
            where = "+".join(group) if len(names) <= 3 else "all"
            for rate in self.rates:
                signs = {name: torch.ones(genuine[name][0].shape[1]) for name in group}
                turned = flipped(signs, rate, generator(seed, f"flip {rate} of {where}"))
                scales = {
                    name: torch.cat([gamma * turned[name].to(gamma) if name in turned else gamma, beta])
                    for name, (gamma, beta) in genuine.items()
                }
                forged = victim.passport_claim.with_scales(scales)
                claims[f"rate={rate:g} layers={where}"] = claim_of_signs(forged, victim.suspect)
        yield Attacked(victim.suspect, claims)
