"""The images that a configuration names: found, decoded once, normalised as is asked for, and cut to size."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from ipr.config.schema import DatasetConfig, PathsConfig
from ipr.data.cache import load_images
from ipr.data.images import ImageData
from ipr.data.preprocessing import PLAIN, Preprocessing
from ipr.data.sources import DatasetRequest
from ipr.errors import InputError
from ipr.files import expanded
from ipr.texts import written

FEW = 5
"""So many classes are named in an error."""


def open_images(
    dataset: DatasetConfig, paths: PathsConfig, *, checked: bool = False, told: bool = True, judging: bool = False
) -> ImageData:
    """The images that a configuration names.

    Args:
        dataset: which.
        paths: where they, and their cached file, lie.
        checked: whether a judge is to rely on them: their fingerprint is then computed, not read.
        told: whether to say on stderr what a folder was taken for.
        judging: whether nothing is trained on: a folder may then hold test images alone.

    Raises:
        InputError: they cannot be read, the cached file was changed, or a class gets no training image.
    """
    how, place = preprocessing_for(dataset), Path(paths.data)
    request = DatasetRequest(dataset.name, dataset.root, dataset.image_size, dataset.download, place, how, judging)
    data = load_images(request, expanded(paths.cache, "paths.cache"), checked=checked, told=told)
    data = normalised_by(data, how.mean or dataset.mean, how.std or dataset.std)
    if dataset.recorded is not None:
        data = in_order_of(data, _recorded(dataset)[1], dataset.root)
    data = data.part(dataset.part).limited(dataset.limit_train, dataset.limit_test)
    if not judging:
        check_every_class(data, dataset)
    return replace(data.holding_out(dataset.validation), opened_for=replace(dataset))


def preprocessing_for(dataset: DatasetConfig) -> Preprocessing:
    """How pictures become pixels, and maybe numbers: as a claim recorded it, or as the settings say.

    Raises:
        InputError: a setting holds what it cannot, or means nothing beside the others.
    """
    if dataset.recorded is not None:
        return Preprocessing.from_stored(_recorded(dataset)[0])
    resize, kind = dataset.resize, dataset.interpolation
    if resize is None:
        if kind is not None:
            raise InputError("dataset.interpolation", kind, "is of no resize", "give dataset.resize, too")
        return PLAIN
    size = tuple(resize) if isinstance(resize, list | tuple) else resize
    try:
        return Preprocessing(size, kind or "bilinear", crop=dataset.image_size)
    except InputError as error:
        field = error.field.replace("preprocessing", "dataset")
        raise InputError(field, error.value, error.problem, error.remedy) from error


def _recorded(dataset: DatasetConfig) -> tuple[Any, list[str]]:
    """What a claim recorded: a preprocessing as it is stored, and the classes."""
    found = dataset.recorded
    classes = found.get("classes") if isinstance(found, Mapping) else None
    if isinstance(classes, list) and all(isinstance(name, str) for name in classes):
        return found.get("preprocessing"), classes
    raise InputError("dataset.recorded", ascii(found)[:80], "is none of a claim's", "leave it out; give images=FOLDER")


def normalised_by(data: ImageData, mean: Sequence[float] | None, std: Sequence[float] | None) -> ImageData:
    """The same images with the mean and deviation that are asked for; their own where none are.

    Raises:
        InputError: one comes without the other, or they are for another number of channels.
    """
    if mean is None and std is None:
        return data
    for name, values in (("mean", mean), ("std", std)):
        if values is None or len(values) != data.channels:
            given = "nothing" if values is None else f"{len(values)} numbers"
            problem = f"is {given}, and there are {data.channels} channels"
            remedy = "give mean and std, a number for each channel"
            raise InputError(f"dataset.{name}", written(values), problem, remedy)
    return replace(data, mean=tuple(map(float, mean or ())), std=tuple(map(float, std or ())))


def in_order_of(data: ImageData, classes: Sequence[str], root: str | None) -> ImageData:
    """The same images with the classes in the order of a claim, by their names.

    All of them must be there and no other: an accuracy over some of them is none that a claim declares.

    Raises:
        InputError: saying which are missing, and which are more.
    """
    wanted, there = ([unicodedata.normalize("NFC", name) for name in names] for names in (classes, data.classes))
    missing, more = (sorted({*one} - {*other}) for one, other in ((wanted, there), (there, wanted)))
    if missing or more or len(there) != len(wanted):
        said = [f"without {_few(missing)}"] * bool(missing) + [f"with {_few(more)}"] * bool(more)
        problem = f"has other classes than the claim: {' and '.join(said) or 'names that are one'}"
        raise InputError("images", root, problem, "give one folder for each class of the claim, of its name")
    number = {name: label for label, name in enumerate(wanted)}
    order = torch.tensor([number[name] for name in there])
    train, test = order[data.train_labels], order[data.test_labels]
    return replace(data, train_labels=train, test_labels=test, classes=tuple(classes))


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:FEW]) + (f" and {len(names) - FEW} more" if len(names) > FEW else "")


def check_every_class(data: ImageData, dataset: DatasetConfig) -> None:
    """Refuses classes that would be tested and not trained.

    Args:
        data: the images that are left.
        dataset: what was asked for.

    Raises:
        InputError: naming the setting that leaves a class without a training image.
    """
    missing = (data.train_labels.bincount(minlength=len(data.classes)) == 0).nonzero()[:, 0].tolist()
    if missing:
        limited = dataset.limit_train is not None
        field, value = ("limit_train", dataset.limit_train) if limited else ("part", dataset.part)
        problem = f"leaves {len(missing)} of {len(data.classes)} classes without a training image"
        remedy = f"give at least {len(data.classes)}" if limited else "give a larger part, or more images"
        raise InputError(f"dataset.{field}", value, problem, remedy)
