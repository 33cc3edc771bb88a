"""Whether a black box answers trigger images as steadily as others: a filter that answers at random gives itself away.

A capsuled service (2208.14127) has a filter before its network, which answers images that look unlike the task's by
other means. One that draws labels draws others for an image that is changed a little, where a network hardly changes
its mind (`tests/judging/test_capsule.py`). A filter that asks another network is as steady as a network without the
mark, and is not found by this.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from ipr.judging.binomial import tail_log10

CHANGE = 2
"""By so much of 255 a pixel is changed at most."""

LIMIT = 0.25
"""A network changes its mind about at most so many of the slightly changed images, a fraction."""

RISK_LOG10 = -6.0
"""log10 of the chance at which so many changed answers are no network's."""


@dataclass(frozen=True)
class Steadiness:
    """How many answers changed with slightly changed images.

    Attributes:
        keys_changed: of the trigger images.
        keys: so many there are.
        ordinary_changed: of the ordinary images.
        ordinary: so many there are; 0 where none was asked.
    """

    keys_changed: int
    keys: int
    ordinary_changed: int
    ordinary: int

    @property
    def filtered(self) -> bool:
        """Whether trigger images alone are answered unsteadily, by more than a network would."""
        return _unsteady(self.keys_changed, self.keys) and not _unsteady(self.ordinary_changed, self.ordinary)


def _unsteady(changed: int, total: int) -> bool:
    return bool(total) and tail_log10(changed, total, LIMIT) <= RISK_LOG10


def slightly_changed(pixels: Tensor, source: Generator) -> Tensor:
    """The same images, every pixel changed by at most `CHANGE`.

    Args:
        pixels: uint8, (N, H, W, channels).
        source: draws the changes.
    """
    by = torch.randint(-CHANGE, CHANGE + 1, pixels.shape, generator=source, dtype=torch.int16)
    return (pixels.short() + by).clamp(0, 255).to(torch.uint8)
