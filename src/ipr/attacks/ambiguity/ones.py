"""Passports of ones, and passports that are not negative: what feature maps have in common, guessed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from ipr.attacks.base import Attack, Attacked, Fit, Victim, example_of, require
from ipr.config.registry import register
from ipr.data.images import ImageData
from ipr.judging.verdict import claim_of_signs
from ipr.passport.generate import with_energy
from ipr.passport.guesses import SIGNS, ones_passport, positive_passport
from ipr.passport.surgery import find_layers
from ipr.randomness import generator


@register("ones")
@dataclass
class Ones(Attack):
    """Constant passports of both signs at several energies, and uniform ones in [0, 1], each a point of its own.

    A passport of feature maps (`image`, `shuffled`) is not negative, so its mean patch lies near the constant one. Each
    is claimed with the signature that it spells, which may be the owner's own: then it is no ambiguity, but it opens a
    V1 network.
    """

    kind = "ambiguity"
    section = "none (this project)"
    attacker_has = "the weights and the places of the passport layers"

    energies: list[float] = field(default_factory=lambda: [1.0, 3.0, 10.0])  # lengths |S| that are tried
    noise: int = 3  # how many uniform ones in [0, 1] are tried, too

    def check(self, scheme: str) -> None:
        """See `Attack.check`."""
        super().check(scheme)
        above_0("energies", self.energies)
        require(self.noise >= 0, "noise", self.noise, "give e.g. 3")

    def run(self, victim: Victim, data: ImageData, fit: Fit, seed: int) -> Iterator[Attacked]:
        """See `Attack.run`."""
        owner, suspect = victim.passport_claim, victim.suspect
        places = find_layers(suspect, example_of(data, suspect), owner.layers)
        source = generator(seed, "positive passports")
        guessed = {f"signs={named(signs)}": ones_passport(places, signs) for signs in SIGNS}
        guessed |= {f"noise={i}": positive_passport(places, source) for i in range(self.noise)}
        claims = {
            f"{name} energy={energy:g}": claim_of_signs(
                owner.forged(passport=with_energy(passport, suspect, energy)), suspect
            )
            for name, passport in guessed.items()
            for energy in self.energies
        }
        yield Attacked(suspect, claims)


def named(signs: tuple[int, int]) -> str:
    """`+-` for the signs 1 and -1."""
    return "".join("+" if sign > 0 else "-" for sign in signs)


def above_0(name: str, values: list[float]) -> None:
    """Refuses an empty list, or one with a number that is not above 0."""
    require(bool(values) and all(value > 0 for value in values), name, values, "give numbers above 0, e.g. [1,3,10]")
