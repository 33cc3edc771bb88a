"""A layer that a file tells without its network: what `matching.py` puts into an architecture."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Layer:
    """A layer and its weights.

    Attributes:
        kind: `convolution`, `norm` or `linear`.
        tensors: `weight`, and `bias`, `running_mean` and `running_var` where it has them.
    """

    kind: str
    tensors: Mapping[str, Tensor]
