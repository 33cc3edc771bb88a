"""Guo and Potkonjak 2018 [7]: training images that carry the owner's message are answered by another class.

Only the article's abstract was at hand: a marked network "behaves in a different, predefined pattern" on inputs that
carry the owner's signature. How the message becomes a pattern, and which class it is mapped to, are our assumptions:
every pixel in four, chosen by the message and the key, is made brighter or darker by a fixed amount, and the class is
the next one. The paper's list of references misprints the first author's name.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator, Tensor, nn

from ipr.config.registry import register
from ipr.config.schema import TrainConfig
from ipr.data.images import ImageData
from ipr.data.trigger_sets import TriggerSet
from ipr.schemes.base import About
from ipr.schemes.key_images import KeyImages, KeyImagesConfig
from ipr.watermarks.key_images import KeyImageClaim, drawn_images, with_noise

AMPLITUDE = 0.3
"""How much brighter or darker a chosen pixel becomes, as a fraction of the pixels' range."""


def message_pattern(image_size: int, channels: int, source: Generator) -> Tensor:
    """The pattern of a message, (H, W, channels): 0 but at one pixel in four, there +-AMPLITUDE in all channels.

    Args:
        image_size: height and width in pixels.
        channels: channels of an image.
        source: seeded by the message and the key.
    """
    chosen = torch.rand(image_size, image_size, 1, generator=source) < 0.25
    signs = torch.randint(0, 2, (image_size, image_size, 1), generator=source) * 2 - 1
    return (AMPLITUDE * chosen * signs).expand(image_size, image_size, channels)


@dataclass(frozen=True, kw_only=True)
class GuoPotkonjakClaim(KeyImageClaim):
    """Training images with the message's pattern, each labelled as the class after its own."""

    kind = "guo_potkonjak"
    of_training_images = True

    @classmethod
    def keys(cls, network: nn.Module, data: ImageData, count: int, source: Generator) -> TriggerSet:
        """See `KeyImageClaim.keys`; the message is in the seed of `source`."""
        pattern = message_pattern(data.image_size, data.channels, source)
        chosen = drawn_images(data, count, source)
        labels = (data.train_labels[chosen] + 1) % len(data.classes)
        return TriggerSet(with_noise(data.train_pixels[chosen], pattern), labels)


@dataclass
class GuoPotkonjakConfig(KeyImagesConfig):
    """Guo and Potkonjak 2018: a message's pattern on training images."""

    signature: str | None = None  # the message, no secret; null for a random pattern


@register("guo_potkonjak", order=12)
class GuoPotkonjak(KeyImages):
    """Cross-entropy on batches that end in training images with the message's pattern."""

    Config = GuoPotkonjakConfig
    claim_kind = GuoPotkonjakClaim
    about = About(
        "key images", "Guo and Potkonjak 2018 [7]", "images with a message, the next label", "trigger accuracy"
    )

    @classmethod
    def purposes(cls, config: TrainConfig) -> dict[str, str]:
        """See `Scheme.purposes`: the message is part of what the seed is derived for."""
        assert isinstance(config.scheme, GuoPotkonjakConfig)
        purpose, message = cls.claim_kind.purpose(), config.scheme.signature
        return {purpose: f"{purpose} of {message}" if message else purpose}
