"""Where images come from: scikit-learn's digits, local image folders, and torchvision's downloads."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from rich.markup import escape
from rich.progress import track
from torch import Tensor

from ipr.console import Console
from ipr.errors import InputError
from ipr.files import expanded
from ipr.randomness import generator

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
class Source:
    """Where a data set will be read from.

    Attributes:
        identity: changes whenever what would be read changes; keeps the cached file honest.
        read: decodes everything.
    """

    identity: str
    read: Callable[[], RawImages]


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
        return Source(f"digits {image_size}", lambda: read_digits(image_size))
    if name == "digits_parity":
        return Source(f"digits by parity {image_size}", lambda: by_parity(read_digits(image_size)))
    if name == "digits_rgb":
        return Source(f"digits in three channels {image_size}", lambda: in_colour(read_digits(image_size)))
    looked = expanded(root, "dataset.root") if root is not None else data_folder / name
    folder = next((f for f in (looked, looked / name) if (f / "train").is_dir()), None)
    if folder is None and name == "image_folder" and looked.is_dir() and any(p.is_dir() for p in looked.iterdir()):
        folder = looked
    if folder is not None:
        return Source(f"{_listing(folder)} {image_size}", lambda: read_image_folder(folder, image_size))
    remedy = (
        "point dataset.root at a folder <root>/train/<class>/<image> and <root>/test/<class>/<image>"
        if name == "image_folder"
        else f"unpack an image folder there (train/<class>/<image>, test/<class>/<image>), point dataset.root at one, "
        f"or fetch it with dataset.download=true (needs the internet; kept in {data_folder})"
    )
    if root is None and name in TORCHVISION:
        read = _torchvision_reader(name, image_size, download, data_folder)
        if read is not None:
            return Source(f"torchvision {name} {image_size}", read)
    raise InputError("dataset.root", root, f"no images of {name} in {looked.absolute()}", remedy)


def _listing(folder: Path) -> str:
    """Path, size and date of every file; walks 60,000 files in a fraction of a second."""
    lines, waiting = [], [str(folder)]
    while waiting:
        with os.scandir(waiting.pop()) as entries:
            for entry in entries:
                if entry.is_dir():
                    waiting.append(entry.path)
                else:
                    state = entry.stat()
                    lines.append(f"{entry.path} {state.st_size} {state.st_mtime_ns}")
    return "\n".join(sorted(lines))


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


def read_image_folder(folder: Path, image_size: int) -> RawImages:
    """An image folder: `train/` and `test/` with one folder a class, or one folder a class split 80 / 20 by class.

    Raises:
        InputError: a folder is empty, an image cannot be read, or the test classes are not the training classes.
    """
    from torchvision.datasets import ImageFolder

    def listed(part: Path) -> tuple[list[tuple[str, int]], tuple[str, ...]]:
        try:
            found = ImageFolder(str(part))
        except (FileNotFoundError, PermissionError, NotADirectoryError) as error:
            reason = str(error).replace("\n", " ")
            raise InputError(
                "dataset.root",
                part,
                f"is not a usable image folder ({reason})",
                "give it one folder a class with at least one image in each",
            ) from error
        return found.samples, tuple(found.classes)

    def decoded(samples: list[tuple[str, int]], what: str) -> tuple[Tensor, Tensor]:
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            images = pool.map(lambda sample: _decode(Path(sample[0]), image_size), samples)
            pixels = np.stack(list(_progress(images, len(samples), f"decoding {what}")))
        return torch.from_numpy(pixels), torch.tensor([label for _, label in samples])

    if not (folder / "train").is_dir():
        samples, classes = listed(folder)
        pixels, labels = decoded(samples, folder.name)
        return _split(pixels, labels, classes)
    if not (folder / "test").is_dir():
        raise InputError(
            "dataset.root", folder, "has a folder train but no folder test", "add <root>/test/<class>/<image>"
        )
    train, classes = listed(folder / "train")
    test, test_classes = listed(folder / "test")
    if classes != test_classes:
        differing = sorted(set(classes) ^ set(test_classes))[:5]
        raise InputError(
            "dataset.root",
            folder,
            f"train and test have different classes ({', '.join(differing)} ...)",
            "give both the same folders",
        )
    return RawImages(*decoded(train, f"{folder.name}/train"), *decoded(test, f"{folder.name}/test"), classes)


def _progress(images: Iterable[np.ndarray], total: int, what: str) -> Iterable[np.ndarray]:
    console = Console(stderr=True)
    quiet = total < 1000 or not console.is_terminal
    return track(images, description=escape(what), total=total, transient=True, console=console, disable=quiet)


def _decode(path: Path, image_size: int) -> np.ndarray:
    try:
        with Image.open(path) as image:
            return _resized(image.convert("RGB"), image_size)
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        raise InputError("dataset.root", path, "is not an image that can be read", "mend or remove the file") from error


def _resized(image: Image.Image, image_size: int) -> np.ndarray:
    if image.size != (image_size, image_size):
        image = image.resize((image_size, image_size), Image.Resampling.BILINEAR)
    return np.asarray(image)


def _split(pixels: Tensor, labels: Tensor, classes: tuple[str, ...]) -> RawImages:
    """Keeps a fixed fifth of each class (at least one image) for testing."""
    order = torch.randperm(labels.numel(), generator=generator(0, "test split"))
    test = torch.zeros(labels.numel(), dtype=torch.bool)
    for label in range(len(classes)):
        members = order[labels[order] == label]
        test[members[: max(1, round(members.numel() / 5))]] = True
    return RawImages(pixels[~test], labels[~test], pixels[test], labels[test], classes)


def _torchvision_reader(name: str, image_size: int, download: bool, folder: Path) -> Callable[[], RawImages] | None:
    """A reader of torchvision's files, or None where they are neither there nor to be fetched."""
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

    def read_cifar() -> RawImages:
        train, test = opened(train=True), opened(train=False)
        parts = [torch.from_numpy(_all_resized(part.data, image_size)) for part in (train, test)]
        return RawImages(
            parts[0], torch.tensor(train.targets), parts[1], torch.tensor(test.targets), tuple(train.classes)
        )

    def read_caltech() -> RawImages:
        every = opened()
        kept = [(image, label) for image, label in every if every.categories[label] != "BACKGROUND_Google"]
        names = [category for category in every.categories if category != "BACKGROUND_Google"]
        position = {every.categories.index(category): i for i, category in enumerate(names)}
        pixels = np.stack([_resized(image.convert("RGB"), image_size) for image, _ in kept])
        return _split(torch.from_numpy(pixels), torch.tensor([position[label] for _, label in kept]), tuple(names))

    try:
        if not download:
            kind(root=str(folder), download=False)
    except RuntimeError:
        return None
    return read_caltech if name == "caltech101" else read_cifar


def _all_resized(images: np.ndarray, image_size: int) -> np.ndarray:
    if images.shape[1:3] == (image_size, image_size):
        return images
    return np.stack([_resized(Image.fromarray(image), image_size) for image in images])
