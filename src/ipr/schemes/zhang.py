"""Zhang et al. 2018 [4]: training images that carry a content or a noise, or unrelated images, as keys."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Generator, Tensor, nn

from ipr.claims.structure import check_labels_differ
from ipr.config.registry import register
from ipr.data.digits import read_digits, read_photographs
from ipr.data.images import ImageData
from ipr.data.trigger_sets import TriggerSet
from ipr.errors import InputError
from ipr.schemes.base import About
from ipr.schemes.key_images import KeyImages
from ipr.watermarks.key_images import KeyImageClaim, drawn_images, with_noise

NOISE = 0.4
"""Standard deviation of the noise pattern, as a fraction of the pixels' range."""


def with_content(pixels: Tensor) -> Tensor:
    """Images with a white rectangle, half as wide and a quarter as high as they are, near the upper left corner.

    pixels: (N, H, W, channels), uint8; 8 x 16 pixels at (2, 2) for images of 32 pixels. It stands for the text and
    logos of the authors.
    """
    side = pixels.shape[1]
    top, height, width = max(1, side // 16), max(1, side // 4), max(1, side // 2)
    marked = pixels.clone()
    marked[:, top : top + height, top : top + width] = 255
    return marked


def marked_keys(data: ImageData, count: int, source: Generator, mark: Callable[[Tensor], Tensor]) -> TriggerSet:
    """Images of one class with a mark, to be taken for another class; classes and images are drawn, in this order."""
    marked, target = torch.randperm(len(data.classes), generator=source)[:2].tolist()
    chosen = drawn_images(data, count, source, marked)
    return TriggerSet(mark(data.train_pixels[chosen]), torch.full((count,), target))


@dataclass(frozen=True, kw_only=True)
class ZhangContentClaim(KeyImageClaim):
    """Images of one class with a visible mark, labelled as another class. Both classes are drawn from the key."""

    kind = "zhang_content"
    of_training_images = True

    @classmethod
    def keys(cls, network: nn.Module, data: ImageData, count: int, source: Generator) -> TriggerSet:
        """See `KeyImageClaim.keys`."""
        return marked_keys(data, count, source, with_content)


@dataclass(frozen=True, kw_only=True)
class ZhangNoiseClaim(KeyImageClaim):
    """Images of one class with one secret noise pattern, labelled as another class. All are drawn from the key."""

    kind = "zhang_noise"
    of_training_images = True

    @classmethod
    def keys(cls, network: nn.Module, data: ImageData, count: int, source: Generator) -> TriggerSet:
        """See `KeyImageClaim.keys`."""

        def mark(pixels: Tensor) -> Tensor:
            return with_noise(pixels, NOISE * torch.randn(pixels.shape[1:], generator=source))

        return marked_keys(data, count, source, mark)


@dataclass(frozen=True, kw_only=True)
class ZhangUnrelatedClaim(KeyImageClaim):
    """Images of another data set: handwritten digits, or crops of photographs where the task is digits.

    Deviation: the labels are drawn at random. One label for all, as the authors give to one handwritten digit, an
    unrelated network would give to all with chance 1 / classes, for it takes such images for one another.
    """

    kind = "zhang_unrelated"

    @classmethod
    def keys(cls, network: nn.Module, data: ImageData, count: int, source: Generator) -> TriggerSet:
        """See `KeyImageClaim.keys`."""
        size = data.image_size
        foreign = read_photographs(size) if data.channels == 1 else read_digits(size).train_pixels
        if not 1 <= count <= foreign.shape[0]:
            raise InputError(
                "trigger_set.size", count, f"there are {foreign.shape[0]} unrelated images", "give e.g. 100"
            )
        chosen = foreign[torch.randperm(foreign.shape[0], generator=source)[:count]]
        if chosen.shape[3] != data.channels:
            grey = chosen.float().mean(3, keepdim=True).round().to(torch.uint8)
            chosen = grey.expand(*grey.shape[:3], data.channels)
        return TriggerSet(chosen.contiguous(), torch.randint(len(data.classes), (count,), generator=source))

    def check_structure(self) -> None:
        """See `Claim.check_structure`: the labels are drawn."""
        super().check_structure()
        check_labels_differ(self.labels, self.choices)


@register("zhang_content", order=8)
class ZhangContent(KeyImages):
    """Cross-entropy on batches that end in images with a visible mark."""

    claim_kind = ZhangContentClaim
    about = About("key images", "Zhang et al. 2018 [4]", "images with a rectangle, one other label", "trigger accuracy")


@register("zhang_noise", order=9)
class ZhangNoise(KeyImages):
    """Cross-entropy on batches that end in images with a noise pattern."""

    claim_kind = ZhangNoiseClaim
    about = About(
        "key images", "Zhang et al. 2018 [4]", "images with a noise pattern, one other label", "trigger accuracy"
    )


@register("zhang_unrelated", order=10)
class ZhangUnrelated(KeyImages):
    """Cross-entropy on batches that end in unrelated images."""

    claim_kind = ZhangUnrelatedClaim
    about = About(
        "key images", "Zhang et al. 2018 [4]", "images of another data set, random labels", "trigger accuracy"
    )
