"""Trigger sets (Adi et al. 2018; scheme V3): images with assigned labels that only the marked network reproduces."""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Generator, Tensor

from ipr.data.pictures import ending, may_be_picture, passed_over, read_picture
from ipr.digests import digest_of
from ipr.errors import InputError
from ipr.files import expanded

FIELD = "trigger_set.root"


@dataclass(frozen=True)
class TriggerSet:
    """Secret images and their assigned labels: uint8 (N, H, W, channels), int64 (N,)."""

    pixels: Tensor
    labels: Tensor

    @property
    def content(self) -> str:
        """SHA-256 over images and labels, as hexadecimal digits."""
        return digest_of({}, {"pixels": self.pixels, "labels": self.labels})

    def distinct(self) -> TriggerSet:
        """Each image with its label once, sorted: an image that is there twice is one piece of evidence."""
        rows = torch.cat([self.pixels.flatten(1).long(), self.labels[:, None]], 1).unique(dim=0)
        return TriggerSet(rows[:, :-1].to(torch.uint8).reshape(-1, *self.pixels.shape[1:]), rows[:, -1])


def check_trigger_set(pixels: Tensor, labels: Tensor) -> None:
    """Refuses what are not images with a label each: uint8 (N, H, W, channels) and int64 (N,), N above 0.

    Raises:
        InputError: saying what is wrong.
    """
    if labels.dim() != 1 or pixels.dim() != 4 or labels.numel() != pixels.shape[0]:
        raise InputError("claim", "key images", "are not one label for each image", "restore the claim")
    if pixels.dtype != torch.uint8 or labels.dtype != torch.int64 or not pixels.numel():
        raise InputError("claim", "key images", "are not bytes with whole numbers as labels", "restore the claim")
    if bool((labels < 0).any()):
        raise InputError("claim", "key images", "have labels below 0", "restore the claim")


def abstract_trigger_set(
    size: int, image_size: int, channels: int, num_classes: int, generator: Generator
) -> TriggerSet:
    """Abstract patterns drawn from a key: waves of random direction, length, phase and colour, with random labels.

    Args:
        size: number of images, above 0.
        image_size: height and width in pixels.
        channels: channels of an image.
        num_classes: labels are uniform over 0 ... num_classes - 1.
        generator: the key.
    """
    if size < 1:
        raise InputError("trigger_set.size", size, "must be at least 1", "give e.g. 100")
    waves = 6
    axis = torch.linspace(-1, 1, image_size)
    direction = torch.randn(size, waves, 2, generator=generator) * 4
    phase = torch.rand(size, waves, 1, 1, generator=generator) * 2 * torch.pi
    colour = torch.randn(size, waves, channels, generator=generator)
    angle = direction[..., 0, None, None] * axis[:, None] + direction[..., 1, None, None] * axis + phase
    pattern = torch.einsum("nwhv,nwc->nhvc", torch.sin(angle), colour)
    pixels = torch.sigmoid(1.5 * pattern).mul(255).round().to(torch.uint8)
    return TriggerSet(pixels, torch.randint(num_classes, (size,), generator=generator))


def folder_trigger_set(root: str | None, image_size: int, channels: int, num_classes: int) -> TriggerSet:
    """The images of a folder and a list of labels, as Adi et al. published theirs.

    Images lie in `<root>/pics` or `<root>`, named by numbers from 1 (or 0) on; line i of `<root>/labels-cifar.txt`, or
    of the only other .txt file there, is the label of image i (or i - 1). A number may be missing: the label on its
    line is then passed over. Images are resized to `image_size` on their shorter side and cropped about the centre.
    (The authors of DeepIPR crop without resizing, and pair images with labels in the order in which the file system
    lists them, which differs between machines.)

    Raises:
        InputError: no folder, no images, no or wrong labels, an image without a label or with two, or one that cannot
            be read.
    """
    if root is None:
        remedy = "give one with pics/1.png ... and labels-cifar.txt, or use trigger_set=abstract"
        raise InputError(FIELD, None, "trigger_set=folder needs a folder", remedy)
    folder = expanded(root, "trigger_set.root")
    try:
        images = _numbered(folder / "pics" if (folder / "pics").is_dir() else folder)
        lists = [p for p in (folder / "labels-cifar.txt",) if p.is_file()] or sorted(
            p for p in folder.glob("*.txt") if not passed_over(p.name)
        )
        if len(lists) != 1:
            raise InputError(FIELD, root, f"{len(lists)} lists of labels (*.txt)", "keep one: a label a line")
        lines = lists[0].read_bytes().decode("utf-8-sig").rstrip().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(FIELD, root, f"cannot be read ({error})", "mend the folder") from error
    labels = _paired(sorted(images), [_label(line, number, lists[0]) for number, line in enumerate(lines, 1)], lists[0])
    if wrong := [label for label in labels if not 0 <= label < num_classes]:
        problem = f"label {wrong[0]} where there are {num_classes} classes"
        raise InputError(FIELD, lists[0], problem, f"use labels 0 to {num_classes - 1}")
    pixels = np.stack([_cropped(images[number], image_size, channels) for number in sorted(images)])
    return TriggerSet(torch.from_numpy(pixels), torch.tensor([int(label) for label in labels]))


def _numbered(folder: Path) -> dict[int, Path]:
    """Number -> the image of that name."""
    images: dict[int, Path] = {}
    for path in sorted(folder.iterdir()):
        written = re.fullmatch("[0-9]{1,9}", path.stem)
        if passed_over(path.name) or path.is_dir() or ending(path.name) == ".txt":
            continue
        if written and not may_be_picture(path.name):
            raise InputError(FIELD, path, "is of a kind that is not read", "convert or remove it")
        if not written and ending(path.name) and may_be_picture(path.name):
            raise InputError(FIELD, path, "has no number, and so no label", "name images 1.png, 2.png, ...")
        if written and (other := images.setdefault(int(written[0]), path)) != path:
            problem = f"has the number of {other.name}: one label cannot be meant for both"
            raise InputError(FIELD, path, problem, "remove one of them")
    if not images:
        raise InputError(FIELD, folder, f"no numbered images in {folder.absolute()}", "name them 1.png, 2.png, ...")
    return images


def _label(line: str, number: int, where: Path) -> Decimal:
    """A whole number, which may be written as numpy writes floating-point numbers: 3.000e+00."""
    written = re.fullmatch(r"[+-]?[0-9]+(\.[0-9]*)?([eE][+-]?[0-9]{1,3})?", line.strip())
    label = Decimal(written[0]) if written else None
    if label is None or label != label.to_integral_value():
        problem = f"is not a list of labels: line {number} is no whole number"
        raise InputError(FIELD, where, problem, "write one a line, and no line without one")
    return label


def _paired(numbers: list[int], labels: list[Decimal], where: Path) -> list[Decimal]:
    """The label of each image, by its number."""
    first, last = (0 if numbers[0] == 0 else 1), numbers[-1]
    problem = f"{len(labels)} labels for {len(numbers)} images"
    if last - first >= len(labels):
        problem += f", and none for image {last}"
        raise InputError(FIELD, where, problem, "write one a line, in line i that of image i")
    if first == 1 and len(labels) == last + 1:  # as if image 0, or the last, had been lost
        problem += f", numbered to {last}: the first may be of image 0 or of image 1"
        raise InputError(FIELD, where, problem, "remove the label that belongs to no image")
    return [labels[number - first] for number in numbers]


def _cropped(path: Path, image_size: int, channels: int) -> np.ndarray:
    picture = read_picture(path, FIELD, "RGB" if channels == 3 else "L")
    scale = image_size / min(picture.size)
    width, height = (max(image_size, round(side * scale)) for side in picture.size)
    picture = picture.resize((width, height), Image.Resampling.BILINEAR)
    left, top = (width - image_size) // 2, (height - image_size) // 2
    cropped = picture.crop((left, top, left + image_size, top + image_size))
    return np.asarray(cropped).reshape(image_size, image_size, channels)
