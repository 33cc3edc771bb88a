"""What the claims of all watermarks share: they are read from the network as it is, and stored field by field."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Self, get_type_hints

from torch import Generator, Tensor, nn

from ipr.claims.base import Claim, Reading, Thresholds
from ipr.claims.origin import Origin
from ipr.data.images import ImageData
from ipr.randomness import generator


@dataclass(frozen=True, kw_only=True)
class WatermarkClaim(Claim):
    """A watermark's secrets: every field of a kind is a tensor or a plain value, and is stored under its name."""

    @abstractmethod
    def read(self, suspect: nn.Module, mean: tuple[float, ...], std: tuple[float, ...]) -> Reading:
        """The evidence in a plain network, which is left as it was; `mean` and `std` normalise images for it.

        Raises:
            InputError: the claim does not fit the network.
        """

    @abstractmethod
    def drawn_from(self, source: Generator, network: nn.Module, data: ImageData) -> Self:
        """A claim of the same kind and size with secrets drawn from a source: from the owner's, the same secrets but
        for what was chosen (a text).

        Args:
            source: a generator at its start.
            network: a plain network of the claim's architecture, for the sizes of its layers.
            data: what key images are taken from.

        Raises:
            InputError: the data has too few images, or the claim is of a size that is never drawn.
        """

    def redrawn(self, network: nn.Module, data: ImageData, seed: int) -> Self:
        """A claim of the same kind and size with other secrets: what another party would embed."""
        return self.drawn_from(generator(seed, "second watermark"), network, data)

    def tensors(self) -> dict[str, Tensor]:
        """See `Claim.tensors`."""
        return {name: value for name, value in self._own().items() if isinstance(value, Tensor)}

    def specifics(self) -> dict[str, Any]:
        """See `Claim.specifics`."""
        return {name: value for name, value in self._own().items() if not isinstance(value, Tensor)}

    @classmethod
    def from_parts(cls, facts: Mapping[str, Any], tensors: Mapping[str, Tensor], thresholds: Thresholds) -> Self:
        """See `Claim.from_parts`."""
        parts: dict[str, Any] = {}
        for name, kind in get_type_hints(cls).items():
            if name in _own_fields(cls):
                parts[name] = tensors[name] if kind is Tensor else facts[name]
                if type(parts[name]) is not kind:
                    raise TypeError(f"{name} is no {kind.__name__}")
        shared = {"owner": facts["owner"], "architecture": dict(facts["architecture"])}
        return cls(**parts, **shared, origin=Origin.read(facts.get("origin")), thresholds=thresholds)

    def _own(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in _own_fields(type(self))}


def _own_fields(kind: type[WatermarkClaim]) -> list[str]:
    return [field.name for field in fields(kind) if field.name not in {f.name for f in fields(Claim)}]
