"""Triggers are inverted and unlearned: patches (Neural Cleanse, Wang et al., S&P 2019) and single images (Dehydra)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from rich.progress import track
from torch import Tensor, nn

from ipr.attacks.base import Fit, constant_rate
from ipr.attacks.removal.inversion import Patch, anomalous, inverted_images, inverted_patch
from ipr.attacks.removal.trains_on import Finetuning, TrainsOn
from ipr.config.recipe import Recipe
from ipr.config.registry import register
from ipr.data.images import ImageData, normalise
from ipr.data.trigger_sets import TriggerSet
from ipr.models.inspection import device_of
from ipr.randomness import generator
from ipr.schemes.triggers import TriggerSamples
from ipr.terminal.console import Console

SEEN = 1024
"""Images that a patch is inverted on, at most."""


class Unlearning(Finetuning):
    """Cross-entropy on batches of which a share bears a patch, with the true labels, and that end in inverted images.

    Args:
        network: see `Scheme`.
        recipe: see `Scheme`.
        num_classes: see `Scheme`.
        triggers: inverted images with other labels; None for none.
        patches: they take turns, image by image.
        stamped: the share of a batch's images that bear one, in [0, 1].
    """

    masks: Tensor
    patterns: Tensor

    def __init__(
        self,
        network: nn.Module,
        recipe: Recipe,
        num_classes: int,
        triggers: TriggerSamples | None,
        *,
        patches: Sequence[Patch],
        stamped: float,
    ) -> None:
        super().__init__(network, recipe, num_classes, triggers)
        self.stamped = stamped
        self.register_buffer("masks", torch.stack([patch.mask for patch in patches])[:, None], persistent=False)
        self.register_buffer("patterns", torch.stack([patch.pattern for patch in patches]), persistent=False)

    def with_patches(self, x: Tensor) -> Tensor:
        """A process's share of a batch, (B, C, H, W), of which the first images bear the patches."""
        whole = x.shape[0] * self.share.processes
        place = self.share.of(torch.arange(whole, device=x.device))
        turn, bears = place % self.masks.shape[0], place < round(self.stamped * whole)
        masks = self.masks[turn].to(x) * bears.view(-1, 1, 1, 1)
        return (1 - masks) * x + masks * self.patterns[turn].to(x)

    def terms(self, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        """L_c over images, images with patches and inverted images."""
        return super().terms(*self.with_triggers(self.with_patches(x), y))


@register("unlearn_triggers")
@dataclass
class UnlearnTriggers(TrainsOn):
    """What the network answers with a class is inverted, as a patch and as images, and trained to other answers.

    For every class the smallest patch is sought that turns the attacker's images to it (mask and pattern, penalty on
    |mask|_1). Classes whose patch is smaller than others' by `anomaly` deviations (MAD), or the smallest one, are
    unlearned: the patch is put on a share of the images, which keep their labels. Constants are those of Neural Cleanse
    (Wang et al., S&P 2019), with the lambda of Lukas et al. (S&P 2022); deviation: lambda stays, where Neural Cleanse
    adapts it. An inversion costs `iterations` times 32 images: of ten classes an epoch and a third of CIFAR-10.

    Trigger images that have no patch in common (Adi et al.) are met by inverted ones: images optimised from noise until
    they are answered with a class, the same number of each, without any data, and trained to another class drawn at
    random. It is the principle of Dehydra (2309.03466), inversion class by class and then unlearning, in its simplest
    form: all classes are taken, no target class is detected, and samples are not split.
    """

    section = "not in the paper (Wang et al., S&P 2019; 2309.03466)"

    penalty: float = 0.01  # lambda, of the sum of a mask
    anomaly: float = 2.0  # deviations below the median from which a patch counts as planted
    iterations: int = 200  # steps of each inversion
    stamped: float = 0.2  # share of a batch that bears a patch
    images: int = 10  # inverted images of each class; 0 for none
    per_step: int = 2  # inverted images of a batch
    epochs: int = 5  # of the attacker's training
    lr: float = 0.01  # learning rate, constant
    weight_decay: float = 5e-4  # of SGD

    def tune(self, network: nn.Module, data: ImageData, fit: Fit, seed: int) -> None:
        """See `TrainsOn.tune`."""
        patches = self.patches(network, data, seed)
        chosen = [patches[label] for label in anomalous(patches, self.anomaly)]
        triggers = self.inverted(network, data, seed) if self.images else None
        recipe, classes = constant_rate(self.lr, self.weight_decay), len(data.classes)
        tuning = Unlearning(network, recipe, classes, triggers, patches=chosen, stamped=self.stamped)
        fit("unlearn_triggers", tuning, epochs=self.epochs, clip_norm=None)

    def patches(self, network: nn.Module, data: ImageData, seed: int) -> list[Patch]:
        """A patch for every class."""
        chosen = torch.randperm(data.train_labels.numel(), generator=generator(seed, "seen by patches"))[:SEEN]
        x = normalise(data.train_pixels[chosen].to(device_of(network)), data.mean, data.std)
        source, penalty, steps = generator(seed, "patches"), self.penalty, self.iterations
        return [
            inverted_patch(network, x, data, label, penalty=penalty, steps=steps, source=source)
            for label in track(range(len(data.classes)), "inverting", console=Console(stderr=True), transient=True)
        ]

    def inverted(self, network: nn.Module, data: ImageData, seed: int) -> TriggerSamples:
        """Inverted images of every class, each with the label of another class."""
        source, classes = generator(seed, "inverted images"), len(data.classes)
        labels = torch.arange(classes).repeat_interleave(self.images)
        pixels = inverted_images(network, labels, data, steps=self.iterations, source=source)
        others = (labels + torch.randint(1, max(2, classes), labels.shape, generator=source)) % classes
        return TriggerSamples(TriggerSet(pixels, others), min(self.per_step, labels.numel()), data, seed)
