"""network.json: what the record of a run does not tell and whoever opens its weights needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ipr.store.record import Record

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Network:
    """How images were read, and which weights these are.

    Attributes:
        image_size: height and width in pixels.
        channels: of an image, 1 or 3.
        classes: their names, in the order of the logits.
        mean: of each channel, in [0, 1]; an image is (pixel / 255 - mean) / std.
        std: likewise, above 0.
        sha256: of the weights file, 64 hexadecimal digits.
        weights_digest: of the tensors in it by their names (`ipr.digests.weights_digest`), the same for every format.
        schema_version: of these fields.
    """

    image_size: int
    channels: int
    classes: list[str]
    mean: list[float]
    std: list[float]
    sha256: str
    weights_digest: str
    schema_version: int = SCHEMA_VERSION

    def architecture(self, record: Record) -> Mapping[str, Any]:
        """What builds the plain network, as `ipr.suspects.open_suspect` takes it."""
        return {
            "model": {"name": record.model, "norm": record.norm, "width": record.width},
            "channels_in": self.channels,
            "image_size": self.image_size,
            "num_classes": len(self.classes),
        }
