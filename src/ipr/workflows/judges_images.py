"""A judge's own pictures, read as the claim that he judges records it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ipr.claims.base import Claim
from ipr.claims.recorded_images import images_fingerprint
from ipr.config.schema import DatasetConfig, PathsConfig
from ipr.data.images import ImageData, LabelledImages
from ipr.data.opening import open_images, preprocessing_for
from ipr.data.preprocessing import CHANNELS, Preprocessing
from ipr.errors import InputError
from ipr.terminal.console import Console

FIELD = "images"

NEAR = 0.02
"""How far means and deviations of two samples of the same images may be apart."""


def judged_dataset(images: str | None, claim: Claim, dataset: DatasetConfig) -> DatasetConfig:
    """What is judged on: the data set that is asked for, or pictures in a folder.

    Args:
        images: the folder; None for the data set.
        claim: says how they are read.
        dataset: what is asked for.

    Raises:
        InputError: both are given, or the claim does not say how pictures are read.
    """
    if images is None:
        return dataset
    if dataset.root is not None:
        raise InputError(FIELD, images, "is given, and so is dataset.root", "give one of them")
    if claim.images is None:
        problem = "the claim does not record how its images are read"
        raise InputError(FIELD, images, problem, "give the data set that it was made for: dataset=NAME, dataset.root=")
    how = claim.images.preprocessing
    recorded = {"preprocessing": how.stored(), "classes": list(claim.images.classes)}
    size = claim.architecture["image_size"]
    ours = replace(dataset, name="image_folder", root=images, download=False, image_size=size, recorded=recorded)
    return replace(ours, resize=None, interpolation=None, mean=None, std=None)


def plain_images(dataset: DatasetConfig, paths: PathsConfig) -> LabelledImages | None:
    """The test images as if no claim said how to read them: resized straight, normalised by their own mean and
    deviation. None where they are read so anyway.

    Args:
        dataset: what `judged_dataset` gave, with its limits.
        paths: where they, and their cached file, lie.
    """
    if dataset.recorded is None:
        return None
    claimed: Preprocessing = preprocessing_for(dataset)
    plain = Preprocessing(channels="RGB" if CHANNELS[claimed.channels] == 3 else "L")
    recorded: dict[str, Any] = dataset.recorded | {"preprocessing": plain.stored()}
    data = open_images(replace(dataset, recorded=recorded), paths, checked=True, told=False, judging=True)
    return data.test_images


def are_owners(claim: Claim, data: ImageData) -> bool:
    """Whether these are the very test images that the claim's owner had. It decides nothing: whoever brings the claim
    may write down any.
    """
    recorded = claim.images
    if recorded is None or recorded.test_images != data.test_labels.numel():
        return False
    return images_fingerprint(data.test_pixels, data.test_labels, data.classes) == recorded.fingerprint


def tell_of_reading(claim: Claim, dataset: DatasetConfig, data: ImageData) -> None:
    """Says on stderr that the claim's owner read his images otherwise than they are read now, where he did."""
    if claim.images is None or dataset.recorded is not None:
        return
    claimed, here = claim.images.preprocessing, preprocessing_for(dataset)
    numbers = zip((*(claimed.mean or ()), *(claimed.std or ())), (*data.mean, *data.std), strict=True)
    shape = {name: getattr(claimed, name) != getattr(here, name) for name in ("resize", "crop", "interpolation")}
    if any(shape.values()) or any(abs(one - other) > NEAR for one, other in numbers):
        says = "ipr: the claim records another way to resize or to normalise its images than they are read with here: "
        Console(stderr=True).say(f"{says}images=FOLDER reads a folder of pictures in that way")
