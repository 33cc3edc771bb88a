"""Quantisation of weights: fewer bits for each, as networks are made smaller for use."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from ipr.attacks.base import CLAIMED, Attack, Attacked, Fit, Victim, constant_rate, example_of
from ipr.attacks.removal.trains_on import Finetuning
from ipr.config.registry import register
from ipr.data.images import ImageData


def quantised(network: nn.Module, bits: int) -> nn.Module:
    """A copy whose weights take 2^bits - 1 values at most in each convolution and linear layer.

    They are whole multiples of the layer's largest magnitude divided by 2^(bits - 1) - 1: symmetric, round to nearest.

    Args:
        network: left as it was.
        bits: of a weight, at least 2.
    """
    copied = copy.deepcopy(network)
    with torch.no_grad():
        for module in copied.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                step = module.weight.abs().max() / (2 ** (bits - 1) - 1)
                if step > 0:
                    module.weight.copy_((module.weight / step).round() * step)
    return copied


@register("quantise")
@dataclass
class Quantise(Attack):
    """The weights of convolutions and linear layers are rounded to fewer bits.

    The paper does not try it; the settings are those of common post-training quantisation (one scale a layer, no
    calibration of activations). Nothing is trained afterwards, unless `epochs` asks for it, and `attack_epochs` leaves
    0 epochs as they are. Lukas et al. (S&P 2022) take 5 bits and 1 epoch. What is tuned is no longer rounded.
    """

    kind = "removal"
    section = "not in the paper"
    attacker_has = "the weights, for V1 the distributed passport, and training data where it tunes"
    families = CLAIMED

    bits: list[int] = field(default_factory=lambda: [8, 6, 5, 4, 3])  # of a weight
    epochs: int = 0  # of training afterwards; 0 for none
    lr: float = 0.01  # learning rate of it, constant
    weight_decay: float = 5e-4  # of SGD

    def check(self, scheme: str) -> None:
        """See `Attack.check`."""
        super().check(scheme)
        good = bool(self.bits) and all(2 <= bits <= 16 for bits in self.bits)
        self.require(good, "bits", "give whole numbers from 2 to 16, e.g. [8,5]")

    def identity(self) -> dict[str, Any]:
        """See `Attack.identity`: without a training what it was before there could be one, so that it is found."""
        return super().identity() if self.epochs else {"name": self.name, "bits": self.bits}

    def run(self, victim: Victim, data: ImageData, fit: Fit, seed: int) -> Iterator[Attacked]:
        """See `Attack.run`."""
        network = victim.in_use(example_of(data, victim.suspect))
        for bits in self.bits:
            suspect = quantised(network, bits)
            if self.epochs:
                tuning = Finetuning(suspect, constant_rate(self.lr, self.weight_decay), len(data.classes))
                fit(f"quantise-{bits}", tuning, epochs=self.epochs, clip_norm=None)
            yield Attacked(suspect, {f"bits={bits}": victim.claim}, freed=victim.locked and self.epochs > 0)
