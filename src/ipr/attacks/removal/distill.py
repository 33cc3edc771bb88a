"""Distillation (Hinton, Vinyals and Dean, 2015): a new network learns what the victim answers."""

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


def soft_loss(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """T^2 KL(p_T || q_T), the mean over a batch: p_T and q_T are the softmax of logits / T, of teacher and student.

    Args:
        student: logits, (B, classes).
        teacher: logits, (B, classes).
        temperature: T, above 0.
    """
    p, q = (functional.log_softmax(logits / temperature, 1) for logits in (teacher, student))
    return temperature**2 * functional.kl_div(q, p, reduction="batchmean", log_target=True)


class Distillation(Learning):
    """alpha T^2 KL + (1 - alpha) L_c.

    Args:
        network: the student.
        recipe: see `Scheme`.
        num_classes: see `Scheme`.
        teacher: a frozen network.
        temperature: T.
        alpha: the share of the soft labels, a fraction.
    """

    def __init__(
        self, network: nn.Module, recipe: Recipe, num_classes: int, teacher: nn.Module, temperature: float, alpha: float
    ) -> None:
        super().__init__(network, recipe, num_classes, teacher)
        self.temperature, self.alpha = temperature, alpha

    def terms(self, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        """See `Scheme.terms`."""
        logits = self.network(x)
        self.means.count(logits, y)
        terms = {}
        if self.alpha > 0:
            terms["soft_labels"] = self.alpha * soft_loss(logits, self.answers(x), self.temperature)
        if self.alpha < 1:
            terms["cross_entropy"] = (1 - self.alpha) * functional.cross_entropy(logits, y)
        return terms


@register("distill")
@dataclass
class Distill(StudentAttack):
    """A new network is trained to answer as the network in use does, which may be of another architecture.

    Constants are those of the Watermark Robustness Toolbox (WRT): soft labels at T = 3 alone (alpha = 1), 60 epochs, a
    rate of 0.1 that falls to a fifth at epochs 20, 35 and 50. Ours are the bound on a gradient's norm (1), as the rate
    rate of 0.1 that falls to a fifth at epochs 20, 35 and 50. Ours are the bound on a gradient's norm (1), as the rate
    is high for group norm, and the factor T^2, with which gradients do not shrink with T. Passports, signatures and
    projections are in the weights, and none of these is copied: expect them lost. What is left of a trigger set depends
    on how much of it the answers to ordinary images tell.
    """

    kind = "removal"
    section = "not in the paper"
    attacker_has = "the network in use (for V1 with the distributed passport) and training images of the task"
    families = CLAIMED

    temperature: float = 3.0  # T: softens the labels, above 0
    alpha: float = 1.0  # share of the soft labels in the loss, a fraction; the true ones have the rest
    epochs: int = 60  # of the attacker's training
    lr: float = 0.1  # learning rate at the start, SGD
    weight_decay: float = 5e-4  # of SGD

    def run(self, victim: Victim, data: ImageData, fit: Fit, seed: int) -> Iterator[Attacked]:
        """See `Attack.run`."""
        network, recipe = self.begun(victim, data, seed), falling(self.lr, self.weight_decay)
        teacher = teacher_of(victim, data)
        training = Distillation(network, recipe, len(data.classes), teacher, self.temperature, self.alpha)
        fit("distill", training, epochs=self.epochs, clip_norm=CLIP_NORM)
        yield Attacked(network, {"": victim.claim})
