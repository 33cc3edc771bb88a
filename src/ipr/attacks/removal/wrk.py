"""WRK (2511.07947): a black-box mark is unlearned from a few clean images and images at the borders between classes."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import Generator, Tensor, nn

from ipr.attacks.base import Fit
from ipr.attacks.removal.trains_on import Finetuning, TrainsOn, fresh_classifier
from ipr.attacks.removal.weight_shift import before_classifier
from ipr.config.recipe import Recipe
from ipr.config.registry import register
from ipr.data.images import ImageData, normalise
from ipr.data.trigger_sets import TriggerSet
from ipr.models.inspection import classifier_of, frozen, logits_of
from ipr.randomness import generator
from ipr.schemes.triggers import TriggerSamples


def pushed_images(network: nn.Module, data: ImageData, count: int, step: float, source: Generator) -> TriggerSet:
    """Images pushed towards a class k, clip(x + step * sign(dz_k / dx), 0, 1), and wrong labels; both are drawn.

    Args:
        network: answers with logits z; left as it was.
        data: gives the images x, drawn from those to train on, and the normalisation.
        count: how many, or all that there are.
        step: of a pixel's range from 0 to 1; of 1 or more it turns every pixel that matters black or white.
        source: draws.

    Returns:
        uint8 (N, H, W, channels) and labels (N,), never those of x.
    """
    chosen = torch.randperm(data.train_labels.numel(), generator=source)[:count]
    pixels, labels = data.train_pixels[chosen], data.train_labels[chosen]
    classes, total = len(data.classes), labels.numel()
    pushed_to = torch.randint(classes, (total,), generator=source)
    wrong = (labels + torch.randint(1, max(2, classes), (total,), generator=source)) % classes
    asked = copy.deepcopy(network).cpu().double()  # whose signs are alike on every processor
    x = normalise(pixels, data.mean, data.std).double().requires_grad_()
    with frozen(asked), torch.enable_grad():
        logits = logits_of(asked, x)
        (gradient,) = torch.autograd.grad(logits.gather(1, pushed_to[:, None]).sum(), x)
    moved = pixels.float() + 255 * step * gradient.sign().permute(0, 2, 3, 1).float()
    return TriggerSet(moved.clamp(0, 255).round().to(torch.uint8), wrong)


class Unlike(Finetuning):
    """Cross-entropy on images and pushed images, and a term that turns weights away from those before.

    Args:
        network: what is trained.
        recipe: see `Scheme`.
        num_classes: see `Scheme`.
        triggers: pushed images that are appended to every batch.
        weight: of sum W W_old.
    """

    def __init__(
        self, network: nn.Module, recipe: Recipe, num_classes: int, triggers: TriggerSamples, *, weight: float
    ) -> None:
        super().__init__(network, recipe, num_classes, triggers)
        self.weight = weight
        for number, module in enumerate(before_classifier(network)):
            self.register_buffer(f"before_{number}", module.weight.detach().clone(), persistent=False)

    def likeness(self) -> Tensor:
        """Sum of W W_old over the weights of all convolutions and linear layers but the classifier."""
        each = [
            (module.weight * self.get_buffer(f"before_{number}")).sum()
            for number, module in enumerate(before_classifier(self.network))
        ]
        return torch.stack(each).sum()

    def terms(self, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        """L_c, and weight * sum W W_old."""
        return super().terms(*self.with_triggers(x, y)) | {"likeness": self.weight * self.likeness()}


@register("wrk")
@dataclass
class Wrk(TrainsOn):
    """A few clean images and images pushed across borders, with wrong labels, are trained in behind a new classifier,
    and weights are turned away from what they were.

    Constants are those of the authors' code (2511.07947). The pushed images are made with the victim, before the
    classifier begins anew, from the share of the images that the attacker has. Deviations: batches are those of the
    victim's training instead of 32; an epoch is as long as one over all images, so that a share of them is gone through
    more often; `per_step` pushed images stand in every batch, about as many as there would be with 5 % of CIFAR-10; and
    the weights of the last term are those of convolutions and linear layers but the classifier.
    """

    section = "not in the paper (2511.07947)"
    attacker_has = "the weights, for V1 the distributed passport, and a share of the training images"

    clean: float = 0.05  # share of the training images that the attacker has, above 0
    images: int = 100  # how many are pushed, of those
    step: float = 2.0  # how far, of a pixel's range from 0 to 1
    per_step: int = 2  # pushed images of a batch
    weight: float = 0.01  # of sum W W_old
    epochs: int = 10  # of the attacker's training
    lr: float = 1e-3  # learning rate, highest of a cosine

    def tune(self, network: nn.Module, data: ImageData, fit: Fit, seed: int) -> None:
        """See `TrainsOn.tune`."""
        share = max(1, round(self.clean * data.train_labels.numel()))
        pushed = pushed_images(network, data.limited(share, None), self.images, self.step, generator(seed, "wrk"))
        triggers = TriggerSamples(pushed, min(self.per_step, pushed.labels.numel()), data, seed)
        name, classifier = classifier_of(network)
        network.set_submodule(name, fresh_classifier(classifier, len(data.classes), seed))
        recipe = Recipe(self.lr, 0.9, 0.0, "cosine", 0.0, None)
        tuning = Unlike(network, recipe, len(data.classes), triggers, weight=self.weight)
        fit("wrk", tuning, epochs=self.epochs, clip_norm=None, share=share)
