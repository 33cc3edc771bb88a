"""What several attacks do: a copy of the network in use is changed, trained on, and handed over."""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from torch import nn

from ipr.attacks.base import CLAIMED, Attack, Attacked, Fit, Victim, example_of
from ipr.data.images import ImageData
from ipr.randomness import derive_seed, drawing
from ipr.schemes.baseline import Baseline


class Finetuning(Baseline):
    """Cross-entropy on the parameters that are left trainable; norms keep learning statistics only with all of them."""

    def on_train_epoch_start(self) -> None:
        """Freezes running statistics where only the classifier is trained."""
        super().on_train_epoch_start()
        self.network.train(all(p.requires_grad for p in self.network.parameters()))


def fresh_classifier(classifier: nn.Linear, classes: int, seed: int) -> nn.Linear:
    """A classifier that begins anew, on the same features, of the same type and in the same place.

    Args:
        classifier: the one before; left as it was.
        classes: K, of the new one.
        seed: of the attack.
    """
    with drawing(derive_seed(seed, "classifier")):
        return nn.Linear(classifier.in_features, classes).to(classifier.weight)


@dataclass
class TrainsOn(Attack):
    """Changes a copy of the network as its user holds it, trains it on, and hands it over.

    In V1 the passport's scales are folded in, and are ordinary, free ones from then on: the signature is read from
    Avg(W * P) and from these freed scales.
    """

    kind = "removal"
    section = "not in the paper"
    attacker_has = "the weights, for V1 the distributed passport, and training data"
    families: ClassVar[tuple[str, ...]] = CLAIMED

    @abstractmethod
    def tune(self, network: nn.Module, data: ImageData, fit: Fit, seed: int) -> None:
        """Changes the attacker's copy in place, and trains it.

        Args:
            network: a copy of the network in use.
            data: see `Attack.run`.
            fit: see there; of several trainings each has a name of its own.
            seed: see there.
        """

    def run(self, victim: Victim, data: ImageData, fit: Fit, seed: int) -> Iterator[Attacked]:
        """See `Attack.run`."""
        network = copy.deepcopy(victim.in_use(example_of(data, victim.suspect)))
        self.tune(network, data, fit, seed)
        yield Attacked(network.requires_grad_(True), {"": victim.claim}, freed=victim.locked)
