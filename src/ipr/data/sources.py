"""Where images come from: scikit-learn's digits, local image folders, and torchvision's downloads."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from PIL import Image
from rich.markup import escape
from rich.progress import track
from torch import Tensor

from ipr.data.folders import FIELD, ImageFolder, PictureFile, find_images, has_folders, part_of_folder
from ipr.data.pictures import READER, read_picture
from ipr.errors import InputError
from ipr.files import expanded
from ipr.machine.threads import in_order
from ipr.randomness import generator
from ipr.terminal.console import Console

BLOCK = 64
"""So many decoded images are held at a time."""

T = TypeVar("T")

TORCHVISION = {"cifar10": "CIFAR10", "cifar100": "CIFAR100", "caltech101": "Caltech101"}


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


def find_source(name: str, root: str | None, image_size: int, download: bool, data_folder: Path) -> Source:
    """Decides where to read a data set from, without decoding anything.

    Args:
        name: `digits`, `digits_parity`, `digits_rgb`, `cifar10`, `cifar100`, `caltech101` or `image_folder`.
        root: an image folder that the user named, or None.
        image_size: height and width to resize to, in pixels.
        download: whether torchvision may fetch what is missing.
        data_folder: where image folders and downloads are looked for when `root` is None.

    Raises:
        InputError: there is nothing to read; it names the folder looked at and how to get the data.
    """
    if name == "digits":
        return Source(f"digits {image_size}", lambda: decoded(read_digits(image_size)))
    if name == "digits_parity":
        return Source(f"digits by parity {image_size}", lambda: decoded(by_parity(read_digits(image_size))))
    if name == "digits_rgb":
        return Source(f"digits in three channels {image_size}", lambda: decoded(in_colour(read_digits(image_size))))
    looked = expanded(root, "dataset.root") if root is not None else data_folder / name
    folder = next((f for f in (looked, looked / name) if part_of_folder(f, "train")), None)
    if folder is None and name == "image_folder" and has_folders(looked):
        folder = looked
    if folder is not None:
        return _folder_source(find_images(folder), image_size)
    remedy = (
        "point dataset.root at a folder <root>/train/<class>/<image> and <root>/test/<class>/<image>"
        if name == "image_folder"
        else f"unpack an image folder there (train/<class>/<image>, test/<class>/<image>), point dataset.root at one, "
        f"or fetch it with dataset.download=true (needs the internet; kept in {data_folder})"
    )
    if root is None and name in TORCHVISION:
        source = _torchvision_source(name, image_size, download, data_folder)
        if source is not None:
            return source
    raise InputError(FIELD, root, f"no images of {name} in {looked.absolute()}", remedy)


def _folder_source(found: ImageFolder, image_size: int) -> Source:
    identity = f"image folder by reader {READER} {image_size}"
    return Source(identity, lambda: read_image_folder(found, image_size), found)


def read_digits(image_size: int) -> RawImages:
    """scikit-learn's 1,797 handwritten digits, 8x8 with 17 grey levels; one in five is a test image, by class."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    digits: Any = load_digits()
    grey = np.rint(digits.images * (255 / 16)).astype(np.uint8)
    if image_size != 8:
        grey = np.stack([_resized(Image.fromarray(image), image_size) for image in grey])
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


def read_image_folder(found: ImageFolder, image_size: int) -> Decoding:
    """The images of a folder, in the parts that it has or split 80 / 20 by class.

    An image that cannot be read is refused where it would be decoded: `InputError`.
    """
    train, test = (found.train, found.test) if found.test is not None else _split(found.train, len(found.classes))

    def part(files: Sequence[PictureFile], what: str) -> Part:
        def pixels(file: PictureFile) -> np.ndarray:
            return _resized(read_picture(Path(file.path), FIELD), image_size)

        labels = torch.tensor([file.label for file in files])
        return Part(labels, lambda: _progress(_blocks(pixels, files), len(files), f"decoding {what}"))

    name, shape = found.root.name, (image_size, image_size, 3)
    return Decoding(part(train, f"{name}/train"), part(test, f"{name}/test"), found.classes, shape)


def decoded(images: RawImages) -> Decoding:
    """Images that are in memory, as if they were decoded."""
    _, *shape = images.train_pixels.shape

    def part(pixels: Tensor, labels: Tensor) -> Part:
        return Part(labels, lambda: (block.contiguous().numpy() for block in pixels.split(BLOCK)))

    train, test = part(images.train_pixels, images.train_labels), part(images.test_pixels, images.test_labels)
    return Decoding(train, test, images.classes, (shape[0], shape[1], shape[2]))


def _blocks(pixels: Callable[[T], np.ndarray], items: Sequence[T]) -> Iterator[np.ndarray]:
    """What is made of each item, by threads that are less than two blocks ahead."""
    threads = os.cpu_count() or 1
    images = in_order(pixels, items, threads=threads, ahead=min(BLOCK + threads, 2 * BLOCK))
    while block := list(islice(images, BLOCK)):
        yield np.stack(block)


def _progress(blocks: Iterable[np.ndarray], images: int, what: str) -> Iterator[np.ndarray]:
    console = Console(stderr=True)
    quiet = images < 1000 or not console.is_terminal
    total = -(-images // BLOCK)
    yield from track(blocks, description=escape(what), total=total, transient=True, console=console, disable=quiet)


def _resized(image: Image.Image, image_size: int) -> np.ndarray:
    if image.size != (image_size, image_size):
        image = image.resize((image_size, image_size), Image.Resampling.BILINEAR)
    return np.asarray(image)


def _split(files: Sequence[PictureFile], classes: int) -> tuple[list[PictureFile], list[PictureFile]]:
    """Keeps a fixed fifth of each class (at least one image) for testing."""
    labels = torch.tensor([file.label for file in files])
    order = torch.randperm(labels.numel(), generator=generator(0, "test split"))
    test = torch.zeros(labels.numel(), dtype=torch.bool)
    for label in range(classes):
        members = order[labels[order] == label]
        test[members[: max(1, round(members.numel() / 5))]] = True
    parts: tuple[list[PictureFile], list[PictureFile]] = [], []
    for file, is_test in zip(files, test.tolist(), strict=True):
        parts[is_test].append(file)
    return parts


def _torchvision_source(name: str, image_size: int, download: bool, folder: Path) -> Source | None:
    """The files of torchvision, which checks them itself but for Caltech-101; None where they are neither there nor to
    be fetched.
    """
    from torchvision import datasets

    kind: Any = getattr(datasets, TORCHVISION[name])

    def opened(**options: Any) -> Any:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            return kind(root=str(folder), download=download, **options)
        except OSError as error:  # no network, or the folder cannot be written
            raise InputError(
                "dataset.download",
                download,
                f"{name} could not be fetched to {folder} ({error})",
                "check the network, or point dataset.root at an image folder",
            ) from error

    def read_cifar() -> Decoding:
        train, test = opened(train=True), opened(train=False)
        shape = (image_size, image_size, train.data.shape[3])
        return Decoding(_part(train, image_size), _part(test, image_size), tuple(train.classes), shape)

    if name == "caltech101":
        if download:
            opened()
        unpacked = folder / "caltech101" / "101_ObjectCategories"
        return _folder_source(find_images(unpacked, {"BACKGROUND_Google"}), image_size) if unpacked.is_dir() else None
    try:
        if not download:
            kind(root=str(folder), download=False)
    except RuntimeError:
        return None
    return Source(f"torchvision {name} {image_size}", read_cifar)


def _part(images: Any, image_size: int) -> Part:
    """One part of torchvision's: an array of pictures, and a list of labels."""
    pictures, labels = images.data, torch.tensor(images.targets)
    if pictures.shape[1:3] == (image_size, image_size):
        return Part(labels, lambda: (pictures[i : i + BLOCK] for i in range(0, len(pictures), BLOCK)))
    return Part(
        labels, lambda: _blocks(lambda i: _resized(Image.fromarray(pictures[i]), image_size), range(len(labels)))
    )
