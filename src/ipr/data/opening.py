"""The images that a configuration names: found, decoded once, and cut to what is asked for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from ipr.config.schema import DatasetConfig, PathsConfig
from ipr.data.cache import load_images
from ipr.data.images import ImageData
from ipr.data.sources import DatasetRequest
from ipr.errors import InputError
from ipr.files import expanded


def open_images(dataset: DatasetConfig, paths: PathsConfig, *, checked: bool = False, told: bool = True) -> ImageData:
    """The images that a configuration names.

    Args:
        dataset: which.
        paths: where they, and their cached file, lie.
        checked: whether a judge is to rely on them: their fingerprint is then computed, not read.
        told: whether to say on stderr what a folder was taken for.

    Raises:
        InputError: they cannot be read, the cached file was changed, or a class gets no training image.
    """
    request = DatasetRequest(dataset.name, dataset.root, dataset.image_size, dataset.download, Path(paths.data))
    data = load_images(request, expanded(paths.cache, "paths.cache"), checked=checked, told=told)
    data = data.part(dataset.part).limited(dataset.limit_train, dataset.limit_test)
    check_every_class(data, dataset)
    return replace(data.holding_out(dataset.validation), opened_for=replace(dataset))


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
