"""A transformer's residual stream in another basis: no answer changes, and no channel is where it was."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass

from torch import nn

from ipr.attacks.base import READ_FROM_WEIGHTS, Attack, Attacked, Fit, Victim, example_of
from ipr.config.registry import register
from ipr.data.images import ImageData
from ipr.models.stream import random_rotation, rotate, stream_of
from ipr.randomness import generator


@register("rotate")
@dataclass
class Rotate(Attack):
    """The residual stream of a transformer is rotated at random, and the answers stay (Ashkboos et al., 2024).

    Norms are folded into the layers behind them first. A scale of the passport is a product with a row of the rotated
    projection: all scales of a layer are mixed. Costs nothing and needs no data. Convolutional networks have no such
    freedom, and are refused. In V1 the network in use and the file that was given away (`file=locked`) are attacked.
    """

    kind = "removal"
    section = "not in the paper (Ashkboos et al., ICLR 2024)"
    attacker_has = "the weights, and for V1 the distributed passport"
    families = READ_FROM_WEIGHTS
    needs = "its mark is in the answers, which stay as they are"

    def run(self, victim: Victim, data: ImageData, fit: Fit, seed: int) -> Iterator[Attacked]:
        """See `Attack.run`."""
        example = example_of(data, victim.suspect)
        for held, network in victim.held(example).items():
            rotated: nn.Module = copy.deepcopy(network)
            stream = stream_of(rotated, example)
            q = random_rotation(stream.channels, generator(seed, "rotate"), centred=stream.centred)
            rotate(rotated, stream, q, example)
            yield Attacked(rotated, {held: victim.claim})
