"""Data sets that torchvision can fetch; a folder of their pictures, where there is one, comes first."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from PIL import Image

from ipr.config.registry import register
from ipr.data.folders import Listing, find_images
from ipr.data.image_folder import folder_source, no_images, unpacked
from ipr.data.sources import BLOCK, DatasetRequest, Decoding, Part, Source, in_blocks_of, resized
from ipr.errors import InputError


@register("cifar10")
def cifar10(request: DatasetRequest) -> Source:
    """CIFAR-10: 32x32, 10 classes.

    Raises:
        InputError: it is not there, or cannot be fetched.
    """
    return _found(request, _cifar)


@register("cifar100")
def cifar100(request: DatasetRequest) -> Source:
    """CIFAR-100: 32x32, 100 classes.

    Raises:
        InputError: see `cifar10`.
    """
    return _found(request, _cifar)


@register("caltech101")
def caltech101(request: DatasetRequest) -> Source:
    """Caltech-101, without its class of backgrounds.

    Raises:
        InputError: see `cifar10`.
    """
    return _found(request, _caltech)


def _found(request: DatasetRequest, fetched: Callable[[DatasetRequest], Source | None]) -> Source:
    """A folder of the pictures, else what torchvision has fetched, or fetches now."""
    listing = Listing()
    if (folder := unpacked(request, listing)) is not None:
        return folder_source(find_images(folder, listing, judging=request.judging), request)
    if request.root is None and (source := fetched(request)) is not None:
        return source
    remedy = "unpack an image folder there (train/<class>/<image>, test/<class>/<image>), point dataset.root at one, "
    remedy += f"or fetch it with dataset.download=true (needs the internet; kept in {request.data_folder})"
    raise no_images(request, remedy)


def _opened(kind: type, request: DatasetRequest, **options: Any) -> Any:
    """A data set of torchvision, which checks its files itself but for Caltech-101."""
    folder = request.data_folder
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return kind(root=str(folder), download=request.download, **options)
    except OSError as error:  # no network, or the folder cannot be written
        problem = f"{request.name} could not be fetched to {folder} ({error})"
        remedy = "check the network, or point dataset.root at an image folder"
        raise InputError("dataset.download", request.download, problem, remedy) from error


def _cifar(request: DatasetRequest) -> Source | None:
    from torchvision import datasets

    size, kind = request.image_size, {"cifar10": datasets.CIFAR10, "cifar100": datasets.CIFAR100}[request.name]

    def read() -> Decoding:
        train, test = _opened(kind, request, train=True), _opened(kind, request, train=False)
        shape = (size, size, train.data.shape[3])
        return Decoding(_part(train, size), _part(test, size), tuple(train.classes), shape)

    try:
        if not request.download:
            kind(root=str(request.data_folder), download=False)
    except RuntimeError:
        return None
    return Source(f"torchvision {request.name} {size}", read)


def _caltech(request: DatasetRequest) -> Source | None:
    from torchvision import datasets

    if request.download:
        _opened(datasets.Caltech101, request)
    pictures = request.data_folder / "caltech101" / "101_ObjectCategories"
    found = find_images(pictures, Listing(), {"BACKGROUND_Google"}) if pictures.is_dir() else None
    return None if found is None else folder_source(found, request)


def _part(images: Any, image_size: int) -> Part:
    """One part of torchvision's: an array of pictures, and a list of labels."""
    pictures, labels = images.data, torch.tensor(images.targets)
    if pictures.shape[1:3] == (image_size, image_size):
        return Part(labels, lambda: (pictures[i : i + BLOCK] for i in range(0, len(pictures), BLOCK)))
    return Part(
        labels, lambda: in_blocks_of(lambda i: resized(Image.fromarray(pictures[i]), image_size), range(len(labels)))
    )
