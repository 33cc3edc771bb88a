"""Which convolutions get a passport where none are named."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from ipr.models.inspection import groups_of, projection_of
from ipr.passport.surgery import ConvNorm

LAYERS = 5
"""How many: the last ones, as the paper does in ResNet-18."""


def last_layers(found: Sequence[ConvNorm], network: nn.Module) -> list[str]:
    """The names of the last convolutions; of those of one filter a channel only where there are no others, as these
    hold few numbers.

    Args:
        found: all that can be protected, in the order in which the network runs them (`find_layers`).
        network: that they are of.
    """
    dense = [one for one in found if groups_of(projection_of(network, one.conv)) == 1]
    return [one.conv for one in (dense or found)[-LAYERS:]]
