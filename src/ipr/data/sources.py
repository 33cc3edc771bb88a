"""Where images come from: every data set is a function from a request to a source, registered by its name."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TypeVar

import numpy as np
from PIL import Image
from torch import Tensor

from ipr.config.registry import load
from ipr.data.folders import ImageFolder
from ipr.data.preprocessing import PLAIN, Preprocessing
from ipr.errors import InputError
from ipr.machine.threads import in_order

BLOCK = 64
"""So many decoded images are held at a time."""

T = TypeVar("T")


@dataclass(frozen=True)
class RawImages:
    """Decoded images before any choice of a part: uint8 (N, H, W, channels), int64 (N,), and class names."""

    train_pixels: Tensor
    train_labels: Tensor
    test_pixels: Tensor
    test_labels: Tensor
    classes: tuple[str, ...]


@dataclass(frozen=True)
class Part:
    """Training or test images that are decoded as they are asked for.

    Attributes:
        labels: int64, (N,).
        blocks: decodes them from the first to the last: uint8, (up to BLOCK, H, W, channels) at a time.
    """

    labels: Tensor
    blocks: Callable[[], Iterator[np.ndarray]]


@dataclass(frozen=True)
class Decoding:
    """A data set that is decoded block by block, so that it may be larger than the memory.

    Attributes:
        train: training images.
        test: test images.
        classes: their names, in the order of their labels.
        shape: height, width and channels of an image.
    """

    train: Part
    test: Part
    classes: tuple[str, ...]
    shape: tuple[int, int, int]


@dataclass(frozen=True)
class Source:
    """Where a data set will be read from.

    Attributes:
        identity: with the content of `folder`, changes whenever what would be read changes; keeps the cached file
            honest.
        read: opens it to be decoded.
        folder: the files that are read, where somebody may change them.
    """

    identity: str
    read: Callable[[], Decoding]
    folder: ImageFolder | None = None


@dataclass(frozen=True)
class DatasetRequest:
    """What is asked for of a data set.

    Attributes:
        name: `digits`, `cifar10`, ...: a registered data set, of ours or of an installed package.
        root: an image folder that the user named, or None.
        image_size: height and width to resize to, in pixels.
        download: whether what is missing may be fetched.
        data_folder: where image folders and downloads are looked for when `root` is None.
        preprocessing: what makes pixels of pictures in a folder.
        judging: whether nothing is trained on: a folder without parts then holds test images alone.
    """

    name: str
    root: str | None
    image_size: int
    download: bool
    data_folder: Path
    preprocessing: Preprocessing = PLAIN
    judging: bool = False


def find_source(request: DatasetRequest) -> Source:
    """Decides where to read a data set from, without decoding anything.

    Raises:
        InputError: there is no such data set, or nothing to read: where was looked, and how to get the data; or it is
            asked for in a way that only pictures in a folder can be read.
    """
    source: Source = load("dataset", request.name)(request)
    if source.folder is None and request.preprocessing.of_pixels != PLAIN.of_pixels:
        problem = "is read from no folder of pictures, so that they cannot be read otherwise"
        raise InputError("dataset", request.name, problem, "leave dataset.resize and the like out, or give a folder")
    return source


def decoded(images: RawImages) -> Decoding:
    """Images that are in memory, as if they were decoded."""
    _, *shape = images.train_pixels.shape

    def part(pixels: Tensor, labels: Tensor) -> Part:
        return Part(labels, lambda: (block.contiguous().numpy() for block in pixels.split(BLOCK)))

    train, test = part(images.train_pixels, images.train_labels), part(images.test_pixels, images.test_labels)
    return Decoding(train, test, images.classes, (shape[0], shape[1], shape[2]))


def in_blocks_of(pixels: Callable[[T], np.ndarray], items: Sequence[T]) -> Iterator[np.ndarray]:
    """What is made of each item, by threads that are less than two blocks ahead."""
    threads = os.cpu_count() or 1
    images = in_order(pixels, items, threads=threads, ahead=min(BLOCK + threads, 2 * BLOCK))
    while block := list(islice(images, BLOCK)):
        yield np.stack(block)


def resized(image: Image.Image, image_size: int) -> np.ndarray:
    """A picture of the size that was asked for, (image_size, image_size) and its channels: uint8."""
    if image.size != (image_size, image_size):
        image = image.resize((image_size, image_size), Image.Resampling.BILINEAR)
    return np.asarray(image)
