"""Adversarial training (Madry et al., ICLR 2018; an attack in Lukas et al., S&P 2022): tuned on perturbed images."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from ipr.attacks.base import Fit, constant_rate
from ipr.attacks.removal.trains_on import Finetuning, TrainsOn
from ipr.config.recipe import Recipe
from ipr.config.registry import register
from ipr.data.images import ImageData, extremes
from ipr.models.inspection import in_evaluation_mode


class Adversarial(Finetuning):
    """Cross-entropy on images that projected gradient ascent has made worse.

    It starts at the image itself and asks the network in evaluation mode, so that running statistics are learned from
    what is trained on alone.

    Args:
        network: see `Scheme`.
        recipe: see `Scheme`.
        num_classes: see `Scheme`.
        data: gives the normalisation.
        epsilon: the largest change of a pixel, of a range from 0 to 1.
        step: of one iteration, likewise.
        iterations: how many.
    """

    black: Tensor
    white: Tensor

    def __init__(
        self,
        network: nn.Module,
        recipe: Recipe,
        num_classes: int,
        *,
        data: ImageData,
        epsilon: float,
        step: float,
        iterations: int,
    ) -> None:
        super().__init__(network, recipe, num_classes)
        self.epsilon, self.step, self.iterations = epsilon, step, iterations
        for name, value in zip(("black", "white"), extremes(data.mean, data.std), strict=True):
            self.register_buffer(name, value, persistent=False)

    def perturbed(self, x: Tensor, y: Tensor) -> Tensor:
        """Images (B, C, H, W), normalised, that are harder to answer with y, (B,): within epsilon of x, and images."""
        black, white = self.black.to(x), self.white.to(x)
        reach, step = ((white - black) * share for share in (self.epsilon, self.step))
        low, high = torch.maximum(x - reach, black), torch.minimum(x + reach, white)
        worse = x.detach()
        with in_evaluation_mode(self.network):
            for _ in range(self.iterations):
                worse = worse.detach().requires_grad_()
                loss = functional.cross_entropy(self.network(worse), y, reduction="sum")
                (gradient,) = torch.autograd.grad(loss, worse)
                moved = worse.detach() + step * gradient.sign()
                worse = torch.minimum(torch.maximum(moved, low), high)
        return worse.detach()

    def terms(self, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        """L_c of perturbed images."""
        return super().terms(self.perturbed(x, y), y)


@register("adversarial_finetune")
@dataclass
class AdversarialFinetune(TrainsOn):
    """Training goes on with images that projected gradient ascent (PGD) has made worse, each pixel by epsilon at most.

    Key images near the frontier (`frontier_stitching`) lose what tells them. An epoch costs `iterations` + 1 plain
    ones. Lukas et al. (S&P 2022) try epsilon 0.01, 0.1 and 0.25 with steps of 0.01 and 40 iterations for 5 epochs,
    which cost 205 plain ones. Deviations: by default 0.03, about the 8 / 255 of Madry et al., which 3 such steps reach;
    and the ascent starts at the image, not beside it at random.
    """

    section = "not in the paper (Lukas et al., S&P 2022)"

    epsilon: float = 0.03  # largest change of a pixel, of a range from 0 to 1
    step: float = 0.01  # change of a pixel in one iteration
    iterations: int = 3  # for each batch
    epochs: int = 5  # of the attacker's training
    lr: float = 0.01  # learning rate, constant
    weight_decay: float = 5e-4  # of SGD

    def tune(self, network: nn.Module, data: ImageData, fit: Fit, seed: int) -> None:
        """See `TrainsOn.tune`."""
        recipe, classes = constant_rate(self.lr, self.weight_decay), len(data.classes)
        budget = {"epsilon": self.epsilon, "step": self.step}
        tuning = Adversarial(network, recipe, classes, data=data, iterations=self.iterations, **budget)
        fit("adversarial_finetune", tuning, epochs=self.epochs, clip_norm=None)
