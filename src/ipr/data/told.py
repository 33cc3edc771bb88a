"""What an image folder turned out to be, told once: when it is decoded."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from rich.console import Console
from torch import Tensor

from ipr.data.folders import ImageFolder

if TYPE_CHECKING:
    from ipr.data.sources import RawImages

FEW = 10
"""So many classes are told one by one."""


def tell_of(raw: RawImages, found: ImageFolder) -> None:
    """Says on stderr which classes there are with how many images, what was left out, and what looks wrong."""
    console = Console(stderr=True)
    for line in (summary(raw, found), *(f"warning: {doubt}" for doubt in doubts(raw))):
        shown = "".join(c if c.isprintable() else " " for c in f"ipr: {line}")
        console.print(shown, markup=False, emoji=False, highlight=False, soft_wrap=True)


def summary(raw: RawImages, found: ImageFolder) -> str:
    """One line: the classes, each with its numbers of training and test images."""
    parts = (raw.train_labels, raw.test_labels)
    train, test = (labels.bincount(minlength=len(raw.classes)).tolist() for labels in parts)
    counts = [f"{name} {a} + {b}" for name, a, b in zip(raw.classes[:FEW], train, test, strict=False)]
    if len(raw.classes) > FEW:
        counts.append(f"... each {min(train)} to {max(train)} + {min(test)} to {max(test)}")
    how = ", a fifth of each class set aside" if found.test is None else ""
    left = f"; left out: {', '.join(found.left_out)}" if found.left_out else ""
    return (
        f"{found.root}: {len(raw.classes)} classes, {sum(train)} training and {sum(test)} test images{how} "
        f"({', '.join(counts)}){left}"
    )


def doubts(raw: RawImages) -> Iterator[str]:
    """What is no error, and what hardly anybody means: images in both parts or in two classes, nothing to see."""
    train, test = _digests(raw.train_pixels), _digests(raw.test_pixels)
    if both := sum(map(set(train).__contains__, test)):
        yield f"{both} of {len(test)} test images are training images, too"
    label_of: dict[bytes, int] = {}
    labels = [*raw.train_labels.tolist(), *raw.test_labels.tolist()]
    pairs = zip([*train, *test], labels, strict=True)
    if torn := sum(label_of.setdefault(image, label) != label for image, label in pairs):
        yield f"images that are in another class, too: {torn}"
    low, high = (int(pixel) for pixel in raw.train_pixels.aminmax())
    if high - low < 2:
        yield f"all training images are of one grey, {low} of 255: there is nothing to see in them"


def _digests(pixels: Tensor) -> list[bytes]:
    return [hashlib.sha256(image).digest() for image in pixels.flatten(1).numpy()]
