"""fake1 (Section IV-D, Table VII): random passports."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ipr.attacks.base import Attack, Attacked, Fit, Victim, example_of
from ipr.config.registry import register
from ipr.data.images import ImageData
from ipr.judging.verdict import forged_at_random


@register("fake1")
@dataclass
class Fake1(Attack):
    """K random passports, each claimed with the signature that it happens to spell.

    The same forgeries as the control of every verdict (`verification.forged`), judged here one by one.
    """

    kind = "ambiguity"
    section = "IV-D, fake1"
    attacker_has = "the weights and the places of the passport layers"

    passports: int = 50  # how many are tried, K

    def run(self, victim: Victim, data: ImageData, fit: Fit, seed: int) -> Iterator[Attacked]:
        """See `Attack.run`."""
        example = example_of(data, victim.suspect)
        forgeries = forged_at_random(victim.suspect, victim.passport_claim, example, self.passports, seed)
        yield Attacked(victim.suspect, {f"passport={i}": claim for i, claim in enumerate(forgeries)})
