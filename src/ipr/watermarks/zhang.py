"""Zhang et al. 2018 [4]: training images that carry a content or a noise, or unrelated images, as keys."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Generator, Tensor, nn

from ipr.data.digits import read_digits, read_photographs
from ipr.data.images import ImageData
from ipr.data.trigger_sets import TriggerSet
from ipr.errors import InputError
from ipr.watermarks.key_images import KeyImageClaim

NOISE = 0.4
"""Standard deviation of the noise pattern, as a fraction of the pixels' range."""


def drawn_images(data: ImageData, count: int, source: Generator, label: int | None = None) -> Tensor:
    """Positions of `count` training images, of one class or of any.

    Raises:
        InputError: there are fewer.
    """
    every = data.train_labels if label is None else (data.train_labels == label).nonzero()[:, 0]
    members = torch.arange(every.numel()) if label is None else every
    if not 1 <= count <= members.numel():
        raise InputError(
            "trigger_set.size", count, f"there are {members.numel()} training images", f"give 1 to {members.numel()}"
        )
    return members[torch.randperm(members.numel(), generator=source)[:count]]


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


def with_noise(pixels: Tensor, pattern: Tensor) -> Tensor:
    """Images with one noise pattern added and clipped; pattern: (H, W, channels), as fractions of the range."""
    return (pixels + 255 * pattern).clamp(0, 255).round().to(torch.uint8)


def marked_keys(data: ImageData, count: int, source: Generator, mark: Callable[[Tensor], Tensor]) -> TriggerSet:
    """Images of one class with a mark, to be taken for another class; classes and images are drawn, in this order."""
    marked, target = torch.randperm(len(data.classes), generator=source)[:2].tolist()
    chosen = drawn_images(data, count, source, marked)
    return TriggerSet(mark(data.train_pixels[chosen]), torch.full((count,), target))


@dataclass(frozen=True, kw_only=True)
class ZhangContentClaim(KeyImageClaim):
    """Images of one class with a visible mark, labelled as another class. Both classes are drawn from the key."""

    kind = "zhang_content"

    @classmethod
    def keys(cls, network: nn.Module, data: ImageData, count: int, source: Generator) -> TriggerSet:
        """See `KeyImageClaim.keys`."""
        return marked_keys(data, count, source, with_content)


@dataclass(frozen=True, kw_only=True)
class ZhangNoiseClaim(KeyImageClaim):
    """Images of one class with one secret noise pattern, labelled as another class. All are drawn from the key."""

    kind = "zhang_noise"

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
