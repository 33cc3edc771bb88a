"""Knockoff nets (Orekondy, Schiele and Fritz, CVPR 2019): one learns the answers to any images."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional

from ipr.attacks.base import CLAIMED, Attacked, Fit, Victim
from ipr.attacks.students import CLIP_NORM, Learning, StudentAttack, falling, teacher_of
from ipr.config.recipe import Recipe
from ipr.config.registry import register
from ipr.data.images import ImageData


class Knockoffs(Learning):
    """Cross-entropy with what the victim answers; labels are not looked at.

    Args:
        network: the student.
        recipe: see `Scheme`.
        num_classes: of the victim.
        teacher: the victim, frozen.
        hard: whether it answers with a class alone, else with probabilities.
    """

    def __init__(self, network: nn.Module, recipe: Recipe, num_classes: int, teacher: nn.Module, hard: bool) -> None:
        super().__init__(network, recipe, num_classes, teacher)
        self.hard = hard

    def terms(self, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        """See `Scheme.terms`; y may be of other classes. The accuracy that is logged is agreement with the victim."""
        logits, answers = self.network(x), self.answers(x)
        chosen = answers.argmax(1)
        self.means.count(logits, chosen)
        return {"answers": functional.cross_entropy(logits, chosen if self.hard else answers.softmax(1))}


@register("knockoff")
@dataclass
class Knockoff(StudentAttack):
    """A new network is trained on what the network in use answers to images of any kind, e.g. `transfer=cifar100`.

    Their labels are not used, their classes may be others, and the outcome is judged on the victim's task. Without
    `transfer` the victim's own images are asked about. Every augmented image is a question: epochs x images of them,
    where the authors ask about each image once and choose them adaptively too. Rates are those of `distill`, so that
    the two can be compared. Only answers are used, so that nothing in the victim's weights survives: no passport, no
    signature, no projection.
    """

    kind = "removal"
    section = "not in the paper"
    attacker_has = "the answers of the network in use (for V1 with the distributed passport) and images of any kind"
    families = CLAIMED
    other_task = "asked"

    answers: str = "soft"  # soft | hard: the victim answers with probabilities, or with a class alone
    epochs: int = 60  # of the attacker's training
    lr: float = 0.1  # learning rate at the start, SGD
    weight_decay: float = 5e-4  # of SGD

    def check(self, scheme: str) -> None:
        """See `Attack.check`."""
        super().check(scheme)
        self.require(self.answers in ("soft", "hard"), "answers", "choose soft or hard")

    def run(self, victim: Victim, data: ImageData, fit: Fit, seed: int) -> Iterator[Attacked]:
        """See `Attack.run`."""
        network, recipe = self.begun(victim, data, seed), falling(self.lr, self.weight_decay)
        training = Knockoffs(network, recipe, len(data.classes), teacher_of(victim, data), self.answers == "hard")
        fit("knockoff", training, epochs=self.epochs, clip_norm=CLIP_NORM)
        yield Attacked(network, {"": victim.claim})
