"""A data set: grey stripes in four directions, drawn from a fixed seed; nothing to download."""

from __future__ import annotations

import math

import torch
from torch import Generator, Tensor

from ipr.data.sources import DatasetRequest, RawImages, Source, decoded
from ipr.randomness import generator

DIRECTIONS = ("level", "rising", "upright", "falling")


def draw(labels: Tensor, image_size: int, source: Generator) -> Tensor:
    """An image for each label: uint8 (N, image_size, image_size, 1), stripes four pixels wide under noise."""
    place = torch.arange(image_size, dtype=torch.float64)
    angles = labels.double()[:, None, None] * math.pi / len(DIRECTIONS)
    phases = 2 * math.pi * torch.rand(labels.numel(), 1, 1, generator=source, dtype=torch.float64)
    across = place[None, :, None] * angles.cos() + place[None, None, :] * angles.sin()
    noise = torch.randn(labels.numel(), image_size, image_size, generator=source, dtype=torch.float64)
    grey = 128 + 60 * (math.pi / 4 * across + phases).sin() + 30 * noise
    return grey.clamp(0, 255).round().to(torch.uint8)[..., None]


def read(image_size: int) -> RawImages:
    """400 training and 100 test images, as many of each direction."""
    source = generator(0, "stripes")
    train, test = (torch.arange(count) % len(DIRECTIONS) for count in (400, 100))
    return RawImages(draw(train, image_size, source), train, draw(test, image_size, source), test, DIRECTIONS)


def stripes(request: DatasetRequest) -> Source:
    """Where the images come from; its identity names the file that they are kept in once they are decoded."""
    size = request.image_size
    return Source(f"stripes {size}", lambda: decoded(read(size)))
