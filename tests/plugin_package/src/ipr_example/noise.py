"""An attack: Gaussian noise on the weights, in the hope that the mark drowns before the task does."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Generator, nn

from ipr.attacks.base import EMBEDDING, Attack, Attacked, Fit, Victim, example_of
from ipr.data.images import ImageData
from ipr.randomness import generator


def with_noise(network: nn.Module, strength: float, source: Generator) -> nn.Module:
    """A copy with noise on the weights of its convolutions and linear layers.

    Args:
        network: left as it was.
        strength: standard deviation of the noise, in standard deviations of the layer's weights.
        source: what the noise is drawn from.
    """
    copied = copy.deepcopy(network)
    with torch.no_grad():
        for module in copied.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                noise = torch.randn(module.weight.shape, generator=source).to(module.weight)
                module.weight += strength * module.weight.std() * noise
    return copied


@dataclass
class Noise(Attack):
    """Gaussian noise on the weights of every convolution and linear layer; nothing is trained."""

    kind = "removal"
    section = "not in the paper"
    attacker_has = "the weights, and for V1 the distributed passport"
    families = EMBEDDING

    strengths: list[float] = field(default_factory=lambda: [0.1, 0.5, 1.0])  # in standard deviations of the weights

    def check(self, scheme: str) -> None:
        """See `Attack.check`."""
        super().check(scheme)
        good = bool(self.strengths) and min(self.strengths) >= 0
        self.require(good, "strengths", "give numbers from 0 on, e.g. [0.1,1]")

    def run(self, victim: Victim, data: ImageData, fit: Fit, seed: int) -> Iterator[Attacked]:
        """See `Attack.run`: one suspect for each strength."""
        network = victim.in_use(example_of(data, victim.suspect))
        for strength in self.strengths:
            noisy = with_noise(network, strength, generator(seed, f"noise of {strength}"))
            yield Attacked(noisy, {f"strength={strength}": victim.claim})
