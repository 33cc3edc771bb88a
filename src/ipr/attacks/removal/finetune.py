"""Fine-tuning (Section IV-C1, Table VI): to another data set or on the same one."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass

from torch import nn

from ipr.attacks.base import CLAIMED, Attack, Attacked, Fit, Victim, constant_rate, example_of
from ipr.config.registry import register
from ipr.data.images import ImageData
from ipr.models.inspection import classifier_of
from ipr.randomness import derive_seed, drawing
from ipr.schemes.baseline import Baseline


class Finetuning(Baseline):
    """Cross-entropy on the parameters that are left trainable; norms keep learning statistics only with all of them."""

    def on_train_epoch_start(self) -> None:
        """Freezes running statistics where only the classifier is trained."""
        self.network.train(all(p.requires_grad for p in self.network.parameters()))


@register("finetune")
@dataclass
class Finetune(Attack):
    """Training goes on without passport, signature or trigger set, from the network as its user holds it.

    `start=fine_tune` keeps the classifier, `retrain` begins it anew (always so where the classes differ); `layers=all`
    trains everything, `last` the classifier alone (FTAL, FTLL, RTAL, RTLL of Adi et al.). In V1 the passport's scales
    become ordinary, free ones: the signature is read from Avg(W * P) and from these freed scales, as the authors' code
    reads the second and the paper describes the first. `transfer=NAME` names the other data set.

    Where the classes differ, trigger images have no labels among the new ones: a second point, `classifier=owner`,
    reads them with the owner's classifier put back on the tuned network, as the authors of DeepIPR do. Its accuracy, on
    the other task, says nothing. A baseline is tuned as well, to compare accuracies with (Table VI).
    """

    kind = "removal"
    section = "IV-C1, Table VI"
    attacker_has = "the weights, for V1 the distributed passport, and training data of the task it is tuned to"
    families = ("none", *CLAIMED)

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

    def run(self, victim: Victim, data: ImageData, fit: Fit, seed: int) -> Iterator[Attacked]:
        """See `Attack.run`."""
        network = copy.deepcopy(victim.in_use(example_of(data, victim.suspect)))
        name, classifier = classifier_of(network)
        owners = classifier
        if self.start == "retrain" or classifier.out_features != len(data.classes):
            with drawing(derive_seed(seed, "classifier")):
                fresh = nn.Linear(classifier.in_features, len(data.classes)).to(classifier.weight)
            network.set_submodule(name, fresh)
            classifier = fresh
        if self.layers == "last":
            network.requires_grad_(False)
            classifier.requires_grad_(True)
        tuning = Finetuning(network, constant_rate(self.lr, self.weight_decay), len(data.classes))
        fit("finetune", tuning, epochs=self.epochs, clip_norm=None)
        network.requires_grad_(True)
        yield Attacked(network, {"": victim.claim}, freed=victim.locked)
        images = victim.claim is not None and victim.claim.triggers is not None
        if images and owners.out_features != len(data.classes):
            restored = copy.deepcopy(network)
            restored.set_submodule(name, owners)
            yield Attacked(restored, {"classifier=owner": victim.claim})
