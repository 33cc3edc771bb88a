"""Permuting channels: each answer stays, and what was written channel by channel is somewhere else."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass

from torch import Generator, nn

from ipr.attacks.base import READ_FROM_WEIGHTS, Attack, Attacked, Fit, Victim, example_of, freedom_of
from ipr.config.registry import register
from ipr.data.images import ImageData
from ipr.models.channels import Symmetry
from ipr.models.gauge import permute, random_order
from ipr.randomness import generator


def permuted(network: nn.Module, found: Symmetry, source: Generator) -> nn.Module:
    """A copy whose channels are in an order drawn at random, wherever they can be moved (group norm: groups, and
    channels within a group).

    Args:
        network: left as it was.
        found: its symmetry.
        source: draws the order.
    """
    copied = copy.deepcopy(network)
    for channels in found.free:
        permute(copied, channels, random_order(channels, source))
    return copied


@register("permute")
@dataclass
class Permute(Attack):
    """The channels of all layers change places, and the answers stay.

    The rows of each convolution, its norm and the columns of the layers behind it move together; channels that a
    residual stream joins take one order. Costs nothing and needs no data. In V1 the network in use and the file that
    was given away, without its passport (`file=locked`), are both attacked. The paper does not name the attack.
    """

    kind = "removal"
    section = "not in the paper"
    attacker_has = "the weights, and for V1 the distributed passport"
    families = READ_FROM_WEIGHTS
    needs = "its mark is in the answers, which stay as they are"

    def run(self, victim: Victim, data: ImageData, fit: Fit, seed: int) -> Iterator[Attacked]:
        """See `Attack.run`."""
        example = example_of(data, victim.suspect)
        for point, network in victim.held(example).items():
            found = freedom_of(network, example)
            yield Attacked(permuted(network, found, generator(seed, "permute")), {point: victim.claim})
