"""What a data set's images are, told while they pass by once: their fingerprint, mean and deviation."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ipr.digests import elements

AT_ONCE = 2**24
"""Bytes of pixels that are looked at together, where all are at hand."""


class Census:
    """Sees the training images and then the test images of a data set, block by block.

    Args:
        classes: the names of the classes.
        shape: height, width and channels of an image.
    """

    def __init__(self, classes: Sequence[str], shape: Sequence[int]) -> None:
        self.shape = tuple(shape)
        self.counts = torch.zeros(self.shape[-1], 256, dtype=torch.int64)
        self._digest = hashlib.sha256(json.dumps(classes).encode())

    def of(self, blocks: Iterable[np.ndarray], labels: Tensor, *, counted: bool) -> Iterator[np.ndarray]:
        """Passes the blocks of a part on, having seen them.

        Args:
            blocks: uint8, contiguous, (N, H, W, 1 or 3).
            labels: of all its images, int64, (N,).
            counted: whether mean and deviation are taken over them: over the training images, or the test images where
                there are no others.
        """
        self._digest.update(str((labels.numel(), *self.shape)).encode())
        for block in blocks:
            self._digest.update(block.data)
            if counted:
                self.counts += value_counts(block)
            yield block
        self._digest.update(str(tuple(labels.shape)).encode())
        self._digest.update(elements(labels))

    @property
    def fingerprint(self) -> str:
        """SHA-256 of class names, and of shape and elements of all images and labels, as hexadecimal digits."""
        return self._digest.hexdigest()

    @property
    def statistics(self) -> tuple[list[float], list[float]]:
        """Mean and standard deviation of each channel, as fractions of 255: exact, from the count of each value."""
        values = torch.arange(256, dtype=torch.float64) / 255
        mean, std = [], []
        for channel in self.counts.double():
            share = channel / channel.sum()
            centre = float(share @ values)
            mean.append(centre)
            std.append(max(float(share @ (values - centre) ** 2) ** 0.5, 1 / 255))
        return mean, std

    @property
    def greys(self) -> tuple[int, int]:
        """The lowest and the highest value that was counted."""
        values = self.counts.sum(0).nonzero().flatten()
        return int(values[0]), int(values[-1])


def in_blocks(pixels: Tensor) -> Iterator[np.ndarray]:
    """uint8 pixels (N, H, W, channels) of the CPU, a few at a time and not copied."""
    for block in pixels.split(max(1, AT_ONCE // max(1, pixels[:1].nbytes))):
        if block.numel():
            yield block.contiguous().numpy()


def value_counts(block: np.ndarray) -> Tensor:
    """How often each channel of uint8 pixels (N, H, W, 1 or 3) has each value: int64, (channels, 256).

    By Pillow, in one thread: it is the fastest at hand, and decoding needs the others.
    """
    *_, width, channels = block.shape
    rows = block.reshape((-1, width) if channels == 1 else (-1, width, channels))
    return torch.tensor(Image.fromarray(rows).histogram()).view(channels, 256)
