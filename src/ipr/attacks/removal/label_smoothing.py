"""Fine-tuning on smoothed labels (Szegedy et al. 2016; an attack in Lukas et al., S&P 2022)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional

from ipr.attacks.base import Fit, constant_rate
from ipr.attacks.removal.trains_on import Finetuning, TrainsOn
from ipr.config.recipe import Recipe
from ipr.config.registry import register
from ipr.data.images import ImageData


class Smoothed(Finetuning):
    """Cross-entropy with (1 - a) of each label where it was and a spread over all K classes evenly.

    Args:
        network: see `Scheme`.
        recipe: see `Scheme`.
        num_classes: see `Scheme`.
        smoothing: a, in [0, 1].
    """

    def __init__(self, network: nn.Module, recipe: Recipe, num_classes: int, *, smoothing: float) -> None:
        super().__init__(network, recipe, num_classes)
        self.smoothing = smoothing

    def terms(self, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        """(1 - a) L_c + a / K sum_k -log p_k."""
        logits = self.network(x)
        self.means.count(logits, y)
        return {"cross_entropy": functional.cross_entropy(logits, y, label_smoothing=self.smoothing)}


@register("label_smoothing")
@dataclass
class LabelSmoothing(TrainsOn):
    """Training goes on with smoothed labels, which leave less certainty to trigger images.

    Constants are those of Lukas et al. (S&P 2022).
    """

    section = "not in the paper (Lukas et al., S&P 2022)"

    smoothing: float = 0.3  # share of a label that is spread over all classes
    epochs: int = 5  # of the attacker's training
    lr: float = 0.01  # learning rate, constant
    weight_decay: float = 5e-4  # of SGD

    def tune(self, network: nn.Module, data: ImageData, fit: Fit, seed: int) -> None:
        """See `TrainsOn.tune`."""
        recipe, classes = constant_rate(self.lr, self.weight_decay), len(data.classes)
        tuning = Smoothed(network, recipe, classes, smoothing=self.smoothing)
        fit("label_smoothing", tuning, epochs=self.epochs, clip_norm=None)
