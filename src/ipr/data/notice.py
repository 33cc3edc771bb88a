"""What an image folder was taken for: said when it is opened, so that nobody trains on other classes than he means."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from itertools import chain

import numpy as np
from torch import Tensor

from ipr.data.folders import ImageFolder
from ipr.data.images import ImageData
from ipr.terminal.console import Console

FEW = 10
"""So many classes are told one by one."""

_TOLD: set[tuple[str, str]] = set()


def tell_of(data: ImageData, found: ImageFolder, content: str) -> None:
    """Says on stderr which classes there are, with how many images, and what was left out; once a process.

    Args:
        data: the images.
        found: their folder.
        content: changes with what they are.
    """
    told = (os.path.realpath(found.root), content)
    if told not in _TOLD:
        _TOLD.add(told)
        say([summary(data, found)])


def say(lines: Iterable[str]) -> None:
    """Writes lines to stderr, without what could steer a terminal."""
    console = Console(stderr=True)
    for line in lines:
        shown = "".join(c if c.isprintable() else " " for c in f"ipr: {line}")
        console.say(shown)


def summary(data: ImageData, found: ImageFolder) -> str:
    """One line: the classes, each with its numbers of training and test images."""
    parts = (data.train_labels, data.test_labels)
    train, test = (labels.bincount(minlength=len(data.classes)).tolist() for labels in parts)
    counts = [f"{name} {a} + {b}" for name, a, b in zip(data.classes[:FEW], train, test, strict=False)]
    if len(data.classes) > FEW:
        counts.append(f"... each {min(train)} to {max(train)} + {min(test)} to {max(test)}")
    how = ", a fifth of each class set aside" if found.test is None else ""
    left = f"; left out: {', '.join(found.left_out)}" if found.left_out else ""
    return (
        f"{found.root}: {len(data.classes)} classes, {sum(train)} training and {sum(test)} test images{how} "
        f"({', '.join(counts)}){left}"
    )


class Glance:
    """What is seen of images as they pass by, to doubt them by."""

    def __init__(self) -> None:
        self.seen: tuple[list[bytes], list[bytes]] = [], []

    def at(self, blocks: Iterable[np.ndarray], *, test: bool) -> Iterator[np.ndarray]:
        """Passes blocks of images on, and remembers SHA-256 of each: 32 bytes."""
        for block in blocks:
            self.seen[test].extend(hashlib.sha256(image).digest() for image in block)
            yield block

    def doubts(self, train_labels: Tensor, test_labels: Tensor, greys: tuple[int, int]) -> Iterator[str]:
        """What is no error, and what hardly anybody means: images in both parts or in two classes, nothing to see.

        Args:
            train_labels: of the images that were seen, (N,).
            test_labels: likewise.
            greys: the lowest and highest value of a training pixel, of 255.
        """
        train, test = self.seen
        known = set(train)
        if both := sum(image in known for image in test):
            yield f"{both} of {len(test)} test images are training images, too"
        label_of: dict[bytes, int] = {}
        labels = chain(train_labels.tolist(), test_labels.tolist())
        pairs = zip(chain(train, test), labels, strict=True)
        if torn := sum(label_of.setdefault(image, label) != label for image, label in pairs):
            yield f"images that are in another class, too: {torn}"
        if greys[1] - greys[0] < 2:
            yield f"all training images are of one grey, {greys[0]} of 255: there is nothing to see in them"
