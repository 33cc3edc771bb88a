"""Class-blind magnitude pruning (Section IV-C2, Figure 11; See et al. 2016)."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import nn

from ipr.attacks.base import CLAIMED, Attack, Attacked, Fit, Victim, example_of
from ipr.config.registry import register
from ipr.data.images import ImageData


def pruned(network: nn.Module, rate: float) -> nn.Module:
    """A copy whose weights of smallest magnitude, over all convolutions and linear layers together, are 0.

    Args:
        network: left as it was.
        rate: the fraction of those weights that becomes 0, in [0, 1].
    """
    copied = copy.deepcopy(network)
    weights = [m.weight for m in copied.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    magnitudes = torch.cat([weight.detach().abs().flatten() for weight in weights])
    kept = torch.ones_like(magnitudes)
    kept[magnitudes.argsort(stable=True)[: round(rate * magnitudes.numel())]] = 0
    with torch.no_grad():
        for weight, mask in zip(weights, kept.split([w.numel() for w in weights]), strict=True):
            weight.mul_(mask.view_as(weight))
    return copied


@register("prune")
@dataclass
class Prune(Attack):
    """The weights of smallest magnitude become 0, whatever layer they are in; nothing is trained afterwards.

    Deviation: the authors' code ranks norms' scales and shifts and biases among them; a scale ranked by its magnitude
    says nothing about its channel, so only the weights of convolutions and linear layers are pruned here.
    """

    kind = "removal"
    section = "IV-C2, Figure 11"
    attacker_has = "the weights, and for V1 the distributed passport"
    families = CLAIMED
    fractions = ("rates",)

    # shares of the weights that become 0
    rates: list[float] = field(default_factory=lambda: [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9])

    def run(self, victim: Victim, data: ImageData, fit: Fit, seed: int) -> Iterator[Attacked]:
        """See `Attack.run`."""
        network = victim.in_use(example_of(data, victim.suspect))
        for rate in self.rates:
            yield Attacked(pruned(network, rate), {f"rate={rate:g}": victim.claim})
