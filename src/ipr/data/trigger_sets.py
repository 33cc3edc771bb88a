"""Trigger sets (Adi et al. 2018; scheme V3): images with assigned labels that only the marked network reproduces."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Generator, Tensor

from ipr.errors import InputError
from ipr.files import expanded


@dataclass(frozen=True)
class TriggerSet:
    """Secret images and their assigned labels: uint8 (N, H, W, channels), int64 (N,)."""

    pixels: Tensor
    labels: Tensor


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

    Images lie in `<root>/pics` or `<root>`, sorted by number (1, 2, ..., 100); line i of `<root>/labels-cifar.txt`,
    or of the only other .txt file there, is the label of image i. Images are resized to `image_size` on their
    shorter side and cropped about the centre. (The authors of DeepIPR crop without resizing, and pair images with
    labels in the order in which the file system lists them, which differs between machines.)

    Raises:
        InputError: no folder, no images, no or wrong labels, or an image that cannot be read.
    """
    if root is None:
        raise InputError(
            "trigger_set.root",
            None,
            "trigger_set=folder needs a folder",
            "give one with pics/1.png ... and labels-cifar.txt, or use trigger_set=abstract",
        )
    folder = expanded(root, "trigger_set.root")
    pictures = folder / "pics" if (folder / "pics").is_dir() else folder
    images = [p for p in pictures.glob("*") if p.stem.isdigit() and p.suffix.lower() != ".txt"]
    images.sort(key=lambda path: int(path.stem))
    if not images:
        raise InputError(
            "trigger_set.root", root, f"no numbered images in {pictures.absolute()}", "name them 1.png, 2.png, ..."
        )
    lists = [p for p in (folder / "labels-cifar.txt",) if p.is_file()] or sorted(folder.glob("*.txt"))
    if len(lists) != 1:
        raise InputError("trigger_set.root", root, f"{len(lists)} lists of labels (*.txt)", "keep one: a label a line")
    try:
        labels = [int(float(line)) for line in lists[0].read_text().split()]
    except (ValueError, OSError) as error:
        raise InputError(
            "trigger_set.root", lists[0], f"is not a list of labels ({error})", "write a number a line"
        ) from error
    if len(labels) < len(images):
        raise InputError(
            "trigger_set.root", lists[0], f"{len(labels)} labels for {len(images)} images", "write one a line"
        )
    labels = labels[: len(images)]
    if wrong := [label for label in labels if not 0 <= label < num_classes]:
        raise InputError(
            "trigger_set.root",
            lists[0],
            f"label {wrong[0]} where there are {num_classes} classes",
            f"use labels 0 to {num_classes - 1}",
        )
    pixels = np.stack([_read(path, image_size, channels) for path in images])
    return TriggerSet(torch.from_numpy(pixels), torch.tensor(labels))


def _read(path: Path, image_size: int, channels: int) -> np.ndarray:
    try:
        with Image.open(path) as image:
            picture = image.convert("RGB" if channels == 3 else "L")
    except (OSError, UnidentifiedImageError) as error:
        raise InputError(
            "trigger_set.root", path, "is not an image that can be read", "mend or remove the file"
        ) from error
    scale = image_size / min(picture.size)
    width, height = (max(image_size, round(side * scale)) for side in picture.size)
    picture = picture.resize((width, height), Image.Resampling.BILINEAR)
    left, top = (width - image_size) // 2, (height - image_size) // 2
    cropped = picture.crop((left, top, left + image_size, top + image_size))
    return np.asarray(cropped).reshape(image_size, image_size, channels)
