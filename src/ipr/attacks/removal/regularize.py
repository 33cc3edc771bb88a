"""Strong regularisation, then fine-tuning (an attack in Lukas et al., S&P 2022)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from ipr.attacks.base import Fit, constant_rate
from ipr.attacks.removal.trains_on import Finetuning, TrainsOn
from ipr.config.registry import register
from ipr.data.images import ImageData


@register("regularize")
@dataclass
class Regularize(TrainsOn):
    """Some epochs with a weight decay that makes all weights small, then fine-tuning without it.

    Constants are those of Lukas et al. (S&P 2022). `decay` is that of SGD, which adds decay * W to the gradient.
    Deviation: they tune for up to 50 epochs and stop when it gains nothing for 5; here `epochs` are tuned.
    """

    section = "not in the paper (Lukas et al., S&P 2022)"

    decay: float = 0.1  # weight decay of the first epochs
    first_epochs: int = 5  # with that weight decay
    epochs: int = 10  # of fine-tuning after them
    lr: float = 0.01  # learning rate, constant
    weight_decay: float = 5e-4  # of fine-tuning

    def tune(self, network: nn.Module, data: ImageData, fit: Fit, seed: int) -> None:
        """See `TrainsOn.tune`."""
        strong, usual = (constant_rate(self.lr, decay) for decay in (self.decay, self.weight_decay))
        regularised = Finetuning(network, strong, len(data.classes))
        fit("regularised", regularised, epochs=self.first_epochs, clip_norm=None)
        fit("regularize", Finetuning(network, usual, len(data.classes)), epochs=self.epochs, clip_norm=None)
