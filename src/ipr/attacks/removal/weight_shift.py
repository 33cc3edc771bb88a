"""Weight shifting (Lukas et al., S&P 2022): the mean filter is taken from all filters, and noise is added."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Generator, nn

from ipr.attacks.base import Fit, constant_rate
from ipr.attacks.removal.trains_on import Finetuning, TrainsOn
from ipr.config.registry import register
from ipr.data.images import ImageData
from ipr.models.inspection import Projection, classifier_of
from ipr.randomness import generator


def before_classifier(network: nn.Module) -> Iterator[Projection]:
    """The convolutions and linear layers of a network but for its classifier, in its order."""
    _, classifier = classifier_of(network)
    for module in network.modules():
        if isinstance(module, Projection) and module is not classifier:
            yield module


@torch.no_grad()
def shift_weights(network: nn.Module, strength: float, noise: float, source: Generator) -> None:
    """W <- W - strength * mean_c(W_c) + N(0, (noise * std W)^2) in every layer but the classifier, in place.

    Args:
        network: whatever has a classifier.
        strength: how often the mean over the output filters W_c is taken away; of 1 none is left.
        noise: in standard deviations of all weights of the layer.
        source: draws the noise, layer by layer, on the CPU.
    """
    for module in before_classifier(network):
        weight = module.weight.cpu().double()  # summed in float64 and rounded once: alike on every processor
        drawn = torch.randn(weight.shape, generator=source).to(weight)
        module.weight.copy_(weight - strength * weight.mean(0, keepdim=True) + noise * weight.std() * drawn)


@register("weight_shift")
@dataclass
class WeightShift(TrainsOn):
    """The mean filter of each layer is taken from its filters, noise as large as the weights is added, and it is tuned.

    Uchida and DeepMarks are read from that mean. Constants are those of Lukas et al. (SoK: How robust is neural network
    watermarking, IEEE S&P 2022) for CIFAR-10. Convolutions and linear layers are shifted, but not the classifier, whose
    mean row no answer depends on.
    """

    section = "not in the paper (Lukas et al., S&P 2022)"

    strength: float = 1.5  # how often the mean filter is taken away
    noise: float = 1.0  # what is added, in standard deviations of the layer's weights
    epochs: int = 10  # of the attacker's training
    lr: float = 0.01  # learning rate, constant
    weight_decay: float = 5e-4  # of SGD

    def tune(self, network: nn.Module, data: ImageData, fit: Fit, seed: int) -> None:
        """See `TrainsOn.tune`."""
        shift_weights(network, self.strength, self.noise, generator(seed, "weight shift"))
        tuning = Finetuning(network, constant_rate(self.lr, self.weight_decay), len(data.classes))
        fit("weight_shift", tuning, epochs=self.epochs, clip_norm=None)
