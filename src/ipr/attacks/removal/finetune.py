"""Fine-tuning (Section IV-C1, Table VI): to another data set or on the same one."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass

from torch import nn

from ipr.attacks.base import CLAIMED, Attacked, Fit, Victim, constant_rate
from ipr.attacks.removal.trains_on import Finetuning, TrainsOn, fresh_classifier
from ipr.config.registry import register
from ipr.data.images import ImageData
from ipr.models.inspection import classifier_of


@register("finetune")
@dataclass
class Finetune(TrainsOn):
    """Training goes on without passport, signature or trigger set, from the network as its user holds it.

    `start=fine_tune` keeps the classifier, `retrain` begins it anew (always so where the classes differ); `layers=all`
    trains everything, `last` the classifier alone (FTAL, FTLL, RTAL, RTLL of Adi et al.). In V1 the passport's scales
    become ordinary, free ones: the signature is read from Avg(W * P) and from these freed scales, as the authors' code
    reads the second and the paper describes the first. `transfer=NAME` names the other data set.

    Where the classes differ, trigger images have no labels among the new ones: a second point, `classifier=owner`,
    reads them with the owner's classifier put back on the tuned network, as the authors of DeepIPR do. Its accuracy, on
    the other task, says nothing. A baseline is tuned as well, to compare accuracies with (Table VI).
    """

    section = "IV-C1, Table VI"
    attacker_has = "the weights, for V1 the distributed passport, and training data of the task it is tuned to"
    families = ("none", *CLAIMED)
    other_task = "learned"

    start: str = "retrain"  # fine_tune | retrain: keep the classifier, or begin it anew
    layers: str = "all"  # all | last: what is trained
    epochs: int = 100  # of the attacker's training
    lr: float = 0.01  # learning rate, constant
    weight_decay: float = 5e-4  # of SGD

    def check(self, scheme: str) -> None:
        """See `Attack.check`."""
        super().check(scheme)
        self.require(self.start in ("fine_tune", "retrain"), "start", "choose fine_tune or retrain")
        self.require(self.layers in ("all", "last"), "layers", "choose all or last")

    def tune(self, network: nn.Module, data: ImageData, fit: Fit, seed: int) -> None:
        """See `TrainsOn.tune`."""
        name, classifier = classifier_of(network)
        if self.start == "retrain" or classifier.out_features != len(data.classes):
            classifier = fresh_classifier(classifier, len(data.classes), seed)
            network.set_submodule(name, classifier)
        if self.layers == "last":
            network.requires_grad_(False)
            classifier.requires_grad_(True)
        tuning = Finetuning(network, constant_rate(self.lr, self.weight_decay), len(data.classes))
        fit("finetune", tuning, epochs=self.epochs, clip_norm=None)

    def run(self, victim: Victim, data: ImageData, fit: Fit, seed: int) -> Iterator[Attacked]:
        """See `Attack.run`."""
        (tuned,) = super().run(victim, data, fit, seed)
        yield tuned
        name, owners = classifier_of(victim.suspect)
        images = victim.claim is not None and victim.claim.triggers is not None
        if images and owners.out_features != len(data.classes):
            restored = copy.deepcopy(tuned.suspect)
            restored.set_submodule(name, copy.deepcopy(owners))
            yield Attacked(restored, {"classifier=owner": victim.claim})
