"""Training from random weights on the attacker's own images: what he reaches without the victim."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from ipr.attacks.base import CLAIMED, Attacked, Fit, Victim
from ipr.attacks.students import CLIP_NORM, StudentAttack, falling
from ipr.config.registry import register
from ipr.data.images import ImageData
from ipr.schemes.baseline import Baseline


@register("from_scratch")
@dataclass
class FromScratch(StudentAttack):
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

    epochs: int = 60  # of the attacker's training
    lr: float = 0.1  # learning rate at the start, SGD
    weight_decay: float = 5e-4  # of SGD

    def run(self, victim: Victim, data: ImageData, fit: Fit, seed: int) -> Iterator[Attacked]:
        """See `Attack.run`."""
        network = self.begun(victim, data, seed)
        training = Baseline(network, falling(self.lr, self.weight_decay), len(data.classes))
        fit("from_scratch", training, epochs=self.epochs, clip_norm=CLIP_NORM)
        yield Attacked(network, {"": victim.claim})
