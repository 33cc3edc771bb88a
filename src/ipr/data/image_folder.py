"""Folders of pictures as data sets: `image_folder`, and where the pictures of any other data set were unpacked."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from rich.markup import escape
from rich.progress import track

from ipr.config.registry import register
from ipr.data.folders import FIELD, ImageFolder, Listing, PictureFile, find_images, part_of_folder
from ipr.data.pictures import READER, read_picture
from ipr.data.preprocessing import CHANNELS, PLAIN, Preprocessing
from ipr.data.sources import BLOCK, DatasetRequest, Decoding, Part, Source, in_blocks_of
from ipr.errors import InputError
from ipr.files import expanded
from ipr.randomness import generator
from ipr.terminal.console import Console


@register("image_folder")
def image_folder(request: DatasetRequest) -> Source:
    """A local folder of pictures: train/<class>/<image> and test/<class>/<image>, or <class>/<image> alone.

    Raises:
        InputError: there is none.
    """
    listing = Listing()
    folder = unpacked(request, listing)
    if folder is None and listing.folders(looked := looked_at(request)):
        folder = looked
    if folder is None:
        remedy = "point dataset.root at a folder <root>/train/<class>/<image> and <root>/test/<class>/<image>"
        raise no_images(request, remedy)
    return folder_source(find_images(folder, listing, judging=request.judging), request)


def looked_at(request: DatasetRequest) -> Path:
    """Where the pictures of a data set are looked for: `dataset.root`, else the folder of its name."""
    return request.data_folder / request.name if request.root is None else expanded(request.root, "dataset.root")


def unpacked(request: DatasetRequest, listing: Listing) -> Path | None:
    """The folder that holds the pictures of a data set, or a folder of its name in it; None where there is none."""
    looked = looked_at(request)
    both = (looked, looked / request.name)
    return next((folder for folder in both if part_of_folder(folder, "train", listing)), None)


def no_images(request: DatasetRequest, remedy: str) -> InputError:
    """The error that says where no images were found."""
    return InputError(FIELD, request.root, f"no images of {request.name} in {looked_at(request).absolute()}", remedy)


def folder_source(found: ImageFolder, request: DatasetRequest) -> Source:
    """The source that reads a folder of pictures."""
    size, how = request.image_size, request.preprocessing.of_pixels
    identity = f"image folder by reader {READER} {size}"
    if how != PLAIN:
        identity += f" {json.dumps(how.stored(), sort_keys=True)}"
    if not found.train:
        identity += " judging"
    return Source(identity, lambda: read_image_folder(found, size, how), found)


def read_image_folder(found: ImageFolder, image_size: int, how: Preprocessing = PLAIN) -> Decoding:
    """The images of a folder, in the parts that it has or split 80 / 20 by class.

    An image that cannot be read is refused where it would be decoded: `InputError`.

    Args:
        found: the folder.
        image_size: height and width of what comes out, in pixels.
        how: what makes pixels of a picture.
    """
    train, test = (found.train, found.test) if found.test is not None else _split(found.train, len(found.classes))

    def part(files: Sequence[PictureFile], what: str) -> Part:
        def pixels(file: PictureFile) -> np.ndarray:
            picture = read_picture(Path(file.path), FIELD, as_stored=how.as_stored)
            return how.pixels(picture, image_size).numpy()

        labels = torch.tensor([file.label for file in files], dtype=torch.int64)
        return Part(labels, lambda: _progress(in_blocks_of(pixels, files), len(files), f"decoding {what}"))

    name, shape = found.root.name, (image_size, image_size, CHANNELS[how.channels])
    return Decoding(part(train, f"{name}/train"), part(test, f"{name}/test"), found.classes, shape)


def _progress(blocks: Iterable[np.ndarray], images: int, what: str) -> Iterator[np.ndarray]:
    console = Console(stderr=True)
    quiet = images < 1000 or not console.is_terminal
    total = -(-images // BLOCK)
    yield from track(blocks, description=escape(what), total=total, transient=True, console=console, disable=quiet)


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
