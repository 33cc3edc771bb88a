"""Training from random weights on the attacker's own images: what he reaches without the victim."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ipr.attacks.base import CLAIMED, Attacked, Fit, Victim
from ipr.attacks.students import LonelyAttack
from ipr.config.registry import register
from ipr.data.images import ImageData


@register("from_scratch")
@dataclass
class FromScratch(LonelyAttack):
    """A plain network trained on the attacker's images alone, from random weights: the ceiling of every removal.

    A removal that leaves less accuracy than this one was not worth the theft. The victim is not looked at, so that the
    owner's claim must not be read: a claim that is read here would be read anywhere. The rate falls as in the
    extraction attacks (`distill`), so that the accuracies can be compared at one budget; it is not the victim's recipe,
    which an attacker need not know. `transfer=... transfer.part=2/2` gives the attacker images of his own.
    """

    kind = "removal"
    section = "not in the paper"
    attacker_has = "training images of the task; not the victim"
    families = CLAIMED

    def run(self, victim: Victim, data: ImageData, fit: Fit, seed: int) -> Iterator[Attacked]:
        """See `Attack.run`."""
        yield Attacked(self.trained_alone("from_scratch", victim, data, fit, seed), {"": victim.claim})
