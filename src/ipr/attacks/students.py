"""What extraction attacks share: a new network with random weights, how its rate falls, and a frozen teacher."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ipr.attacks.base import Attack, Fit, Victim, example_of
from ipr.config.recipe import Recipe
from ipr.config.schema import ModelConfig
from ipr.data.images import ImageData
from ipr.errors import InputError
from ipr.randomness import derive_seed
from ipr.schemes.base import Scheme
from ipr.schemes.baseline import Baseline
from ipr.schemes.start import plain_network

FALLS = (20 / 60, 35 / 60, 50 / 60)
"""When the rate falls to a fifth, as shares of the training: epochs 20, 35 and 50 of 60 (WRT)."""

CLIP_NORM = 1.0
"""The largest norm of a gradient. WRT clips none; group norm at this rate needs it in its first steps."""


@dataclass
class Falling(Recipe):
    """SGD with a rate that falls to a fifth at `FALLS`, as in the Watermark Robustness Toolbox (Lukas et al., 2022)."""

    def rate_factor(self, progress: float) -> float:
        """See `Recipe.rate_factor`."""
        return float(0.2 ** sum(progress >= share for share in FALLS))


@dataclass
class StudentAttack(Attack):
    """An attack that trains a new network: nothing of the victim's weights is in it, and so no passport, no signature
    and no projection. A claim that does not fit another architecture is not read; trigger images are asked of any.
    """

    student: str | None = None  # the new network: a name as of model.name; null for the victim's architecture
    norm: str = "bn"  # bn | gn, of another architecture
    width: float = 1.0  # multiplies the channels of every convolution of another architecture

    def check(self, scheme: str) -> None:
        """See `Attack.check`."""
        super().check(scheme)
        self.require(self.norm in ("bn", "gn"), "norm", "choose bn or gn")

    def begun(self, victim: Victim, data: ImageData, seed: int) -> nn.Module:
        """The new network at its start, on the victim's device: its weights follow from the seed of the attack.

        Raises:
            InputError: there is no such network, or not of this size; or nothing tells what the victim is.
        """
        model = victim.model if self.student is None else ModelConfig(self.student, self.norm, self.width)
        if model is None:
            problem = "builds a network like the victim's, and nothing tells what that is"
            raise InputError("attack", self.name, problem, "give attack.student")
        try:
            network = plain_network(model, data, derive_seed(seed, "student"))
        except InputError as error:
            field = error.field.replace("model.name", "attack.student").replace("model.", "attack.")
            raise InputError(field, error.value, error.problem, error.remedy) from error
        return network.to(next(victim.suspect.parameters()).device)


@dataclass
class LonelyAttack(StudentAttack):
    """An attack that trains new networks without looking at the victim: on images and their labels alone."""

    epochs: int = 60  # of each network's training
    lr: float = 0.1  # learning rate at the start, SGD
    weight_decay: float = 5e-4  # of SGD

    def trained_alone(self, name: str, victim: Victim, data: ImageData, fit: Fit, seed: int) -> nn.Module:
        """A network like the victim, in size alone, trained on the attacker's images from random weights.

        Args:
            name: of the training.
            victim: see `Attack.run`.
            data: see there.
            fit: see there.
            seed: its weights at the start follow from this.

        Raises:
            InputError: see `begun`.
        """
        network = self.begun(victim, data, seed)
        training = Baseline(network, falling(self.lr, self.weight_decay), len(data.classes))
        fit(name, training, epochs=self.epochs, clip_norm=CLIP_NORM, alone=True)
        return network


class Learning(Scheme):
    """Trains a student on what a teacher answers.

    Args:
        network: the student.
        recipe: see `Scheme`.
        num_classes: see `Scheme`.
        teacher: a frozen network; in evaluation mode from the first step on.
    """

    def __init__(self, network: nn.Module, recipe: Recipe, num_classes: int, teacher: nn.Module) -> None:
        super().__init__(network, recipe, num_classes)
        self.teacher = teacher

    def on_train_epoch_start(self) -> None:
        """Has the teacher evaluate."""
        super().on_train_epoch_start()
        self.teacher.eval()

    def answers(self, x: Tensor) -> Tensor:
        """The teacher's logits, (B, classes), without gradients."""
        with torch.no_grad():
            logits: Tensor = self.teacher(x)
        return logits


def falling(lr: float, weight_decay: float) -> Recipe:
    """See `Falling`; momentum 0.9."""
    return Falling(lr, 0.9, weight_decay, "step", 0.0, CLIP_NORM)


def teacher_of(victim: Victim, data: ImageData) -> nn.Module:
    """A frozen copy of the network in use. `Learning` has it evaluate: Lightning warns of what begins in that mode."""
    network = copy.deepcopy(victim.in_use(example_of(data, victim.suspect)))
    return network.requires_grad_(False).train()
