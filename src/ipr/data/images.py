"""A data set as a few tensors, fixed, class-balanced parts of it, and images to judge on."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import lru_cache

import numpy as np
import torch
from numpy.lib.stride_tricks import as_strided
from torch import Tensor

from ipr.config.schema import DatasetConfig
from ipr.data.rows import chosen
from ipr.data.share import WHOLE, Share
from ipr.errors import InputError
from ipr.randomness import generator


@dataclass(frozen=True)
class ImageData:
    """Decoded images and their labels, training and test apart.

    Pixels may be mapped from a file, which nobody can write to, or be `Rows` of others: index before you compute.

    Attributes:
        train_pixels, test_pixels: uint8, shape (N, H, W, channels).
        train_labels, test_labels: int64, shape (N,).
        classes: the names of the classes, in the order of their labels.
        mean, std: of each channel over the training images, in [0, 1], or over the test images where there are no
            others; or what a request, or a claim, asks for instead.
        fingerprint: SHA-256 of the content, as hexadecimal digits.
        held_out: positions of the training images that nothing is trained on, (M,), int64, sorted; None for none.
        opened_for: the part of a request that these are the images of (`open_images`); None where nobody says.
    """

    train_pixels: Tensor
    train_labels: Tensor
    test_pixels: Tensor
    test_labels: Tensor
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    fingerprint: str
    held_out: Tensor | None = None
    opened_for: DatasetConfig | None = field(default=None, compare=False, repr=False)

    @property
    def image_size(self) -> int:
        """Height and width in pixels."""
        return self.train_pixels.shape[1]

    @property
    def channels(self) -> int:
        """Channels of an image: 1 or 3."""
        return self.train_pixels.shape[3]

    @property
    def trained_on(self) -> Tensor:
        """Positions of the training images that are trained on, (N - M,), int64, sorted."""
        kept = torch.ones(self.train_labels.numel(), dtype=torch.bool)
        if self.held_out is not None:
            kept[self.held_out] = False
        return kept.nonzero().flatten()

    @property
    def test_images(self) -> LabelledImages:
        """The test images, to judge on."""
        return LabelledImages(self.test_pixels, self.test_labels, self.mean, self.std)

    def validation(self) -> LabelledImages | None:
        """The training images that are held out, to judge on; None where there are none."""
        if self.held_out is None:
            return None
        pixels = chosen(self.train_pixels, self.held_out)
        return LabelledImages(pixels, self.train_labels[self.held_out], self.mean, self.std)

    def holding_out(self, share: float) -> ImageData:
        """The same images, of which a share of the training images is held out: of every class alike, and the same
        images at each call. They stay where they are, so that secrets are drawn from what they were drawn from; 0
        holds none out.

        Raises:
            InputError: that is no image, or all of them.
        """
        if share == 0:
            return self
        total = self.train_labels.numel()
        count = round(share * total)
        if not 0 < count < total:
            problem = f"is {count} of {total} training images"
            raise InputError("dataset.validation", share, problem, "give e.g. 0.1, or 0 for none")
        order = torch.randperm(total, generator=generator(0, "dataset.validation"))
        dealt = order[torch.argsort(self.train_labels[order], stable=True)]  # class by class
        every = ((torch.arange(count, dtype=torch.float64) + 0.5) * total / count).long()
        return replace(self, held_out=dealt[every].sort().values)

    def without(self, places: Tensor) -> ImageData:
        """The same images, of which those at some positions, (M,), are held out besides."""
        held = places if self.held_out is None else torch.cat([self.held_out, places])
        return replace(self, held_out=held.unique())

    def limited(self, train: int | None, test: int | None) -> ImageData:
        """A fixed, class-balanced part: the same images whatever the seed of the run; None keeps all."""
        data = self
        if train is not None:
            data = self._training_on(balanced_subset(self.train_labels, train, "dataset.limit_train"))
        if test is not None:
            kept = balanced_subset(self.test_labels, test, "dataset.limit_test")
            data = replace(data, test_pixels=chosen(self.test_pixels, kept), test_labels=self.test_labels[kept])
        return data

    def share(self, count: int) -> ImageData:
        """`count` training images of `limited`, repeated until there are as many as before: epochs stay as long."""
        repeated = torch.arange(self.train_labels.numel()) % count
        return self.limited(count, None)._training_on(repeated)

    def part(self, which: str | None) -> ImageData:
        """One of the disjoint, class-balanced parts of the training images, e.g. the first of two for `1/2`; the same
        images at each call. Test images, mean, deviation and fingerprint stay those of the whole. None keeps all.

        Raises:
            InputError: see `part_of` and `read_part`.
        """
        return self if which is None else self._training_on(part_of(self.train_labels, which))

    def _training_on(self, kept: Tensor) -> ImageData:
        pixels, labels = chosen(self.train_pixels, kept), self.train_labels[kept]
        return replace(self, train_pixels=pixels, train_labels=labels, held_out=None)


@dataclass(frozen=True)
class LabelledImages:
    """Images to judge on: uint8 pixels (N, H, W, channels), labels (N,), and the normalisation used in training."""

    pixels: Tensor
    labels: Tensor
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def batches(self, size: int, device: torch.device) -> Iterator[tuple[Tensor, Tensor]]:
        """Normalised float32 batches (B, channels, H, W) and labels (B,) on a device."""
        for pixels, labels in zip(self.pixels.split(size), self.labels.split(size), strict=True):
            yield normalise(pixels.to(device), self.mean, self.std), labels.to(device)


def balanced_subset(labels: Tensor, limit: int, field: str) -> Tensor:
    """Positions of `limit` samples, spread over the classes as evenly as the data allows; the same at each call.

    Raises:
        InputError: `limit` is below 1 or above the number of samples; `field` names the setting in the message.
    """
    if not 1 <= limit <= labels.numel():
        remedy = f"give 1 to {labels.numel()}, or null for all"
        raise InputError(field, limit, f"there are {labels.numel()} samples", remedy)
    order = torch.randperm(labels.numel(), generator=generator(0, field))
    rank = torch.empty_like(order)
    for label in labels.unique():
        members = order[labels[order] == label]
        rank[members] = torch.arange(members.numel())
    return order[torch.argsort(rank[order], stable=True)][:limit].sort().values


def read_part(which: str) -> tuple[int, int]:
    """I and N of a part that is written I/N: the I-th of N.

    Raises:
        InputError: it is written otherwise, or there is no such part.
    """
    written = re.fullmatch(r"([1-9]\d{0,8})/([1-9]\d{0,8})", which)
    number, parts = (int(written[1]), int(written[2])) if written else (0, 0)
    if not number <= parts or parts < 2:
        problem, remedy = "is no part of the training images", "give e.g. 1/2, the first of two; or null for all"
        raise InputError("dataset.part", ascii(which)[1:-1], problem, remedy)
    return number, parts


def part_of(labels: Tensor, which: str) -> Tensor:
    """Positions of one part's samples: each class is dealt out over the parts, evenly to one sample.

    Raises:
        InputError: see `read_part`; or there are fewer samples than parts.
    """
    number, parts = read_part(which)
    if parts > labels.numel():
        remedy = f"give at most {labels.numel()} parts"
        raise InputError("dataset.part", which, f"there are {labels.numel()} training images", remedy)
    order = torch.randperm(labels.numel(), generator=generator(0, "dataset.part"))
    dealt = order[torch.argsort(labels[order], stable=True)]  # class by class, so that parts are of equal size, too
    return dealt[number - 1 :: parts].sort().values


def normalise(pixels: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """uint8 pixels (B, H, W, channels) as float32 (B, channels, H, W) with the given mean and deviation removed.

    The result keeps the pixels' order in memory (channels last), in which convolutions run faster.
    """
    if pixels.device.type == "cpu" and not pixels.requires_grad:
        return _normalised_by_one_thread(pixels, mean, std).permute(0, 3, 1, 2)
    scale, shift = _scale_and_shift(tuple(mean), tuple(std), pixels.device)
    return torch.addcmul(shift, pixels.float(), scale).permute(0, 3, 1, 2)


def extremes(mean: tuple[float, ...], std: tuple[float, ...]) -> tuple[Tensor, Tensor]:
    """Black and white as `normalise` makes them, each (channels, 1, 1), on the CPU."""
    pixels = torch.tensor([0, 255], dtype=torch.uint8).view(2, 1, 1, 1).expand(2, 1, 1, len(mean))
    black, white = normalise(pixels, mean, std)
    return black, white


@lru_cache(maxsize=64)
def _scale_and_shift(
    mean: tuple[float, ...], std: tuple[float, ...], device: torch.device, width: int = 1
) -> tuple[Tensor, Tensor]:
    """For a row of `width` pixels. Made once for a device: a copy to a GPU would wait for it at every step."""
    with torch.inference_mode(False):
        both = [1 / (255 * s) for s in std], [-m / s for m, s in zip(mean, std, strict=True)]
        scale, shift = torch.tensor(both, dtype=torch.float32, device=device).repeat(1, width)
        return scale, shift


ALONE = 2**15 - 1
"""Of so many elements at most torch does an operation in the thread that asks for it (at::internal::GRAIN_SIZE)."""


def _normalised_by_one_thread(pixels: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """The same numbers, in pieces so small that torch shares none of them with a second thread: one that other
    processes keep from a core would be waited for longer than all of it takes.
    """
    count, height, width, channels = pixels.shape
    scale, shift = _scale_and_shift(tuple(mean), tuple(std), pixels.device, width)
    rows = pixels.reshape(count * height, width * channels)
    found = torch.empty(rows.shape, dtype=torch.float32, device="cpu")
    at_once = max(1, ALONE // max(1, width * channels))
    for piece, place in zip(rows.split(at_once), found.split(at_once), strict=True):
        torch.addcmul(shift, piece.float(), scale, out=place)
    return found.view(pixels.shape)


def augment(pixels: Tensor, crop_padding: int, flip: bool, source: torch.Generator, share: Share = WHOLE) -> Tensor:
    """A random crop and flip of every image, drawn per sample and taken in one gather.

    Equal to torchvision's `RandomCrop(size, padding=crop_padding)` followed by `RandomHorizontalFlip`, on black ground.

    Args:
        pixels: uint8, shape (B, H, W, channels).
        crop_padding: pixels added on each side before the crop; 0 for no crop.
        flip: mirror half of the images, left to right.
        source: where the draws come from; on the pixels' device.
        share: which part of a batch the pixels are; draws are made for the whole of it.
    """
    count, height, width, _ = pixels.shape
    whole = count * share.processes
    device = pixels.device
    top, left = map(
        share.of,
        torch.randint(0, 2 * crop_padding + 1, (2, whole, 1), generator=source, device=device)
        if crop_padding
        else torch.zeros(2, whole, 1, dtype=torch.int64, device=device),
    )
    mirrored = share.of(torch.rand(whole, 1, generator=source, device=device)) < 0.5 if flip else None
    if device.type == "cpu":
        return _cut_by_one_thread(pixels, crop_padding, top, left, mirrored)
    rows = top + _numbers(height, device)
    columns = left + _numbers(width, device)
    if mirrored is not None:
        columns = torch.where(mirrored, columns.flip(1), columns)
    padded = torch.nn.functional.pad(pixels, (0, 0) + (crop_padding,) * 4)
    return padded[_numbers(count, device)[:, None, None], rows[:, :, None], columns[:, None, :]]


@lru_cache(maxsize=64)
def _numbers(count: int, device: torch.device) -> Tensor:
    """0 to count - 1, made once for a device."""
    with torch.inference_mode(False):
        return torch.arange(count, device=device)


def _cut_by_one_thread(pixels: Tensor, padding: int, top: Tensor, left: Tensor, mirrored: Tensor | None) -> Tensor:
    """The same pixels by NumPy, which has no second thread to wait for: a crop is `height` runs of bytes.

    Args:
        pixels: (B, H, W, channels).
        padding: black pixels on each side.
        top: where the crops begin, (B, 1).
        left: likewise.
        mirrored: which are turned left to right, (B, 1); None for none.
    """
    count, height, width, channels = pixels.shape
    high, wide = height + 2 * padding, width + 2 * padding
    padded = np.zeros((count, high, wide, channels), np.uint8)
    padded[:, padding : padding + height, padding : padding + width] = pixels.numpy()
    # every run of `width` pixels, one for each pixel that it may begin with: they overlap, and none is copied
    run = padded.reshape(-1)[: width * channels].view(f"V{width * channels}")
    runs = as_strided(run, (count * high * wide - width + 1,), (channels,))
    first = (np.arange(count)[:, None] * high + top.numpy()) * wide + left.numpy()
    cut = runs[first + np.arange(height) * wide].view(np.uint8).reshape(count, height, width, channels)
    if mirrored is not None:
        whole_pixels, turned = cut.view(f"V{channels}")[..., 0], mirrored.numpy()[:, 0]
        whole_pixels[turned] = whole_pixels[turned, :, ::-1]
    return torch.from_numpy(cut)
