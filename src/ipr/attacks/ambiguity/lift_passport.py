"""The public scale and shift of a network, solved back to a passport."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ipr.attacks.base import Attack, Attacked, Fit, Victim, example_of
from ipr.config.registry import load, register
from ipr.data.images import ImageData
from ipr.judging.verdict import claim_of_signs
from ipr.passport.generate import random_passport, with_energy
from ipr.passport.guesses import lifted_passport
from ipr.passport.lift import public_scales
from ipr.passport.surgery import find_layers
from ipr.randomness import generator


@register("lift_passport")
@dataclass
class LiftPassport(Attack):
    """The passport whose scale and shift are those that the norms were given away with: one linear solve a layer.

    Presented, it changes nothing where the solve is exact (`passport/lift.py`), so it has the public accuracy. Of many
    such passports it is the one nearest to a random one: the shortest would be 0 where a public shift is, and refused.
    It is claimed with the signature that it spells.
    """

    kind = "ambiguity"
    section = "none (this project)"
    attacker_has = "the weights and the places of the passport layers"
    needs = "no scale or shift is given away with its protected layers"

    @classmethod
    def schemes(cls) -> tuple[str, ...]:
        """See `Applicable.schemes`: those that give scales away."""
        return tuple(name for name in super().schemes() if not load("scheme", name).locked)

    def run(self, victim: Victim, data: ImageData, fit: Fit, seed: int) -> Iterator[Attacked]:
        """See `Attack.run`."""
        owner, suspect = victim.passport_claim, victim.suspect
        places = find_layers(suspect, example_of(data, suspect), owner.layers)
        start = with_energy(random_passport(places, generator(seed, "lift")), suspect, 1.0)
        passport = lifted_passport(public_scales(suspect, places), suspect, places, start)
        yield Attacked(suspect, {"": claim_of_signs(owner.forged(passport=passport), suspect)})
