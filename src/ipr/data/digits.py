"""scikit-learn's handwritten digits, as three data sets, and its photographs: nothing to download."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ipr.config.registry import register
from ipr.data.sources import DatasetRequest, RawImages, Source, decoded, resized


@register("digits")
def digits(request: DatasetRequest) -> Source:
    """The digits as they are: one channel, ten classes."""
    size = request.image_size
    return Source(f"digits {size}", lambda: decoded(read_digits(size)))


@register("digits_parity")
def digits_parity(request: DatasetRequest) -> Source:
    """The digits by another question: even or odd."""
    size = request.image_size
    return Source(f"digits by parity {size}", lambda: decoded(by_parity(read_digits(size))))


@register("digits_rgb")
def digits_rgb(request: DatasetRequest) -> Source:
    """The digits with their one channel three times."""
    size = request.image_size
    return Source(f"digits in three channels {size}", lambda: decoded(in_colour(read_digits(size))))


def read_digits(image_size: int) -> RawImages:
    """scikit-learn's 1,797 handwritten digits, 8x8 with 17 grey levels; one in five is a test image, by class."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    digits: Any = load_digits()
    grey = np.rint(digits.images * (255 / 16)).astype(np.uint8)
    if image_size != 8:
        grey = np.stack([resized(Image.fromarray(image), image_size) for image in grey])
    chosen = train_test_split(np.arange(len(grey)), test_size=0.2, stratify=digits.target, random_state=0)
    train, test = (torch.from_numpy(np.sort(part)) for part in chosen)
    pixels, labels = torch.from_numpy(grey)[..., None], torch.from_numpy(digits.target).long()
    return RawImages(pixels[train], labels[train], pixels[test], labels[test], tuple("0123456789"))


def by_parity(digits: RawImages) -> RawImages:
    """The same images by another question: is the digit even, or odd? A second task that needs no download."""
    return replace(
        digits, train_labels=digits.train_labels % 2, test_labels=digits.test_labels % 2, classes=("even", "odd")
    )


def in_colour(grey: RawImages) -> RawImages:
    """The same images with their one channel three times, for networks that take colour images alone."""
    train, test = (pixels.expand(-1, -1, -1, 3).contiguous() for pixels in (grey.train_pixels, grey.test_pixels))
    return replace(grey, train_pixels=train, test_pixels=test)


def read_photographs(image_size: int) -> Tensor:
    """Crops of scikit-learn's two sample photographs, side by side: uint8 (N, image_size, image_size, 3)."""
    from sklearn.datasets import load_sample_images

    crops = []
    for photograph in load_sample_images().images:
        rows = torch.from_numpy(photograph.copy()).unfold(0, image_size, image_size).unfold(1, image_size, image_size)
        crops.append(rows.permute(0, 1, 3, 4, 2).flatten(0, 1))
    return torch.cat(crops)
