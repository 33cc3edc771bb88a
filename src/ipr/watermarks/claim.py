"""What the claims of all watermarks share: they are read from the network as it is."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Self

from torch import nn

from ipr.claim import Claim, Reading
from ipr.data.images import ImageData


@dataclass(frozen=True)
class WatermarkClaim(Claim):
    """A watermark's secrets."""

    @abstractmethod
    def read(self, suspect: nn.Module, mean: tuple[float, ...], std: tuple[float, ...]) -> Reading:
        """The evidence in a plain network, which is left as it was; `mean` and `std` normalise images for it.

        Raises:
            InputError: the claim does not fit the network.
        """

    @abstractmethod
    def redrawn(self, network: nn.Module, data: ImageData, seed: int) -> Self:
        """A claim of the same kind and size with other secrets: what another party would embed."""
