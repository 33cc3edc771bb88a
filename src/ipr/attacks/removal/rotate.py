"""A transformer in other bases: no answer changes, and no channel is where it was."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Generator, Tensor, nn

from ipr.attacks.base import READ_FROM_WEIGHTS, Attack, Attacked, Fit, Victim, example_of
from ipr.config.registry import register
from ipr.data.images import ImageData
from ipr.models.blocks import hidden_of, mix, reorder, values_of
from ipr.models.stream import random_rotation, rotate, stream_of
from ipr.randomness import generator


@register("rotate")
@dataclass
class Rotate(Attack):
    """The residual stream of a transformer is rotated at random, and the answers stay (Ashkboos et al., 2024).

    Norms are folded into the layers behind them first. A scale of the passport is a product with a row of the rotated
    projection: all scales of a layer are mixed. The hidden units of MLPs change places, and the values of each head are
    rotated, too. Costs nothing and needs no data. Convolutional networks have no such freedom, and are refused. In V1
    the network in use and the file that was given away (`file=locked`) are attacked.
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
            yield Attacked(turned_about(network, example, generator(seed, "rotate")), {held: victim.claim})


def turned_about(network: nn.Module, example: Tensor, source: Generator) -> nn.Module:
    """A copy of a transformer with the same answers and all that is free drawn at random.

    Args:
        network: left as it was.
        example: an input for it.
        source: draws.

    Raises:
        InputError: it has no residual stream that can be rotated.
    """
    copied: nn.Module = copy.deepcopy(network)
    stream = stream_of(copied, example)
    rotate(copied, stream, random_rotation(stream.channels, source, centred=stream.centred), example)
    for hidden in hidden_of(copied, example):
        reorder(hidden, torch.randperm(hidden.maker.out_features, generator=source))
    for values in values_of(copied):
        heads, size = values.weight.shape[:2]
        for head in range(heads):
            mix(values, head, random_rotation(size, source, centred=False))
    return copied
