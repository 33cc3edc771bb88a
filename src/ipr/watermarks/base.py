"""What the claims of all watermarks share: they are read from the network as it is, and stored field by field."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Self, get_type_hints

from torch import Generator, Tensor, nn

from ipr.claims.base import Claim, Reading, Thresholds
from ipr.claims.origin import Origin, watermark_purpose
from ipr.claims.recorded_images import RecordedImages
from ipr.claims.redraw import ALL_TEXT, Part, compared, source_of
from ipr.data.images import ImageData
from ipr.data.trigger_sets import TriggerSet
from ipr.errors import InputError
from ipr.models.claimed import without_memory
from ipr.randomness import generator


@dataclass(frozen=True, kw_only=True)
class WatermarkClaim(Claim):
    """A watermark's secrets: every field of a kind is a tensor or a plain value, and is stored under its name."""

    of_training_images: ClassVar[bool] = False
    """Whether the keys are training images, so that only who has the same ones can draw them again."""

    tolerances: ClassVar[Mapping[str, float]] = {}
    """Tensor -> how far its floats may be off when they are drawn again, where that is more than usual."""

    follow: ClassVar[frozenset[str]] = frozenset()
    """Tensors that `__post_init__` has found to follow from others by a hash. They are not compared when the claim is
    drawn again: a float that is off in its last digit gives another hash."""

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

    def rivals(self, source: Generator, count: int) -> list[Self]:
        """Claims of forgers who know no secret, and present others at random; none where nothing is presented.

        Args:
            source: draws.
            count: how many.
        """
        return []

    def with_rows(self, rows: Callable[[Tensor, Tensor], Tensor]) -> Self:
        """The claim with another projection.

        Args:
            rows: (the projection, (T, M), the bits that it reads, (T,)) -> the rows that each bit is read by, (T, M).
        """
        raise NotImplementedError(f"a claim of kind {self.kind} reads no projection")

    @property
    def kept(self) -> dict[str, Any]:
        """What a claim keeps whose secrets are drawn anew, by name: thresholds and architecture."""
        return {"thresholds": self.thresholds, "architecture": self.architecture}

    @classmethod
    def purpose(cls) -> str:
        """What the secrets are drawn for: the name in `Origin.seeds`."""
        return watermark_purpose(cls.kind)

    def not_redrawn(self, data: ImageData) -> str | None:
        """Why a judge with these images cannot draw the secrets again, in words; None where that is possible."""
        same = self.origin is not None and (self.origin.data, self.origin.train_images) == (
            data.fingerprint,
            data.train_labels.numel(),
        )
        if self.of_training_images and not data.train_labels.numel():
            return "the judge has no training images, and they were drawn from these"
        if self.of_training_images and not same:
            return "the judge has other training images, so they cannot be drawn again"
        text = self.chosen_bits
        return f"the bits are {ALL_TEXT}" if text and text == self.marks().numel() else None

    def redraw(self, data: ImageData) -> tuple[Part, ...]:
        """See `Claim.redraw`."""
        return (self._redrawn("key images" if self.evidence == "images" else "projection and bits", data),)

    def _redrawn(self, name: str, data: ImageData) -> Part:
        source, text = source_of(self.origin, self.purpose()), self.chosen_bits
        why_not = source if isinstance(source, str) else self.not_redrawn(data)
        if why_not or isinstance(source, str):
            return Part(name, self.evidence, None, why_not or "")
        try:
            again = self.drawn_from(source, without_memory(self.architecture), data).tensors()
        except InputError as error:
            return Part(name, self.evidence, False, f"a claim of this size is never drawn ({error.problem})")
        mine, total = {n: tensor for n, tensor in self.tensors().items() if n not in self.follow}, 0
        if text:
            total = self.marks().numel()
            mine, again = ({**tensors, "bits": tensors["bits"][text:]} for tensors in (mine, again))
        return compared(name, self.evidence, mine, again, text=text, total=total, absolute=self.tolerances)

    def check_network(self, network: nn.Module, example: Tensor) -> None:
        """See `Claim.check_network`: the mark is read."""
        claim, keys, channels = self, self.triggers, example.shape[1]
        if keys is not None:  # one tells whether all fit
            claim = self.with_triggers(TriggerSet(keys.pixels[:1], keys.labels[:1]))
        claim.read(network, (0.5,) * channels, (0.25,) * channels)

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
        shared = {"owner": facts["owner"], "architecture": dict(facts["architecture"]), "thresholds": thresholds}
        origin, images = Origin.read(facts.get("origin")), RecordedImages.read(facts.get("images"))
        return cls(**parts, **shared, origin=origin, images=images)

    def _own(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in _own_fields(type(self))}


def _own_fields(kind: type[WatermarkClaim]) -> list[str]:
    return [field.name for field in fields(kind) if field.name not in {f.name for f in fields(Claim)}]
