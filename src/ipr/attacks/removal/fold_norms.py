"""The graph is rewritten without its batch norms: no answer changes, and the file has no norm."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass

from torch import nn

from ipr.attacks.base import example_of
from ipr.attacks.removal.same_answers import SameAnswers
from ipr.config.registry import register
from ipr.data.images import ImageData
from ipr.errors import InputError
from ipr.models.channels import Symmetry
from ipr.passport.surgery import fold


@register("fold_norms")
@dataclass
class FoldNorms(SameAnswers):
    """Every batch norm is folded into the convolution before it, as exporters do it to make a network faster.

    The convolution takes the norm's scale into its rows, and its shift as a bias; the norm is gone, and with it the
    place where a passport's scales would be presented. A group norm computes its mean and variance from each image and
    cannot be folded: a network that has no batch norm behind a convolution is refused. Costs nothing and needs no data.
    """

    def moved(self, network: nn.Module, found: Symmetry, data: ImageData, seed: int) -> Iterator[tuple[str, nn.Module]]:
        """See `SameAnswers.moved`.

        Raises:
            InputError: there is no batch norm to fold.
        """
        folded = fold(copy.deepcopy(network), example_of(data, network))
        if len(folded.state_dict()) == len(network.state_dict()):
            name, problem = type(network).__name__, "has no batch norm behind a convolution, and no other can be folded"
            raise InputError("model.norm", name, problem, "attack a network with model.norm=bn")
        yield "", folded
