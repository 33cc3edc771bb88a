"""What a claim records of its owner's images, so that a judge reads his own in the same way."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from ipr.claims.stored_part import StoredPart
from ipr.data.images import ImageData
from ipr.data.preprocessing import CHANNELS, PLAIN, Preprocessing
from ipr.errors import InputError

CLASS_LIMIT, NAME_LIMIT, TEXT_LIMIT = 100_000, 200, 2**19
"""Classes, characters of a name, and bytes of all names as JSON, at most: `claim.json` has room for twice as many."""

COUNT_LIMIT = 10**9
"""Test images at most."""

AT_ONCE = 64
"""Images that are looked at together."""


@dataclass(frozen=True)
class RecordedImages(StoredPart):
    """How pictures become what the network is given, which classes it tells apart, and which test images its owner has.

    Preprocessing and classes are the claimant's choice. A judge applies them to whatever he presents to the network
    alike. Which images the owner has decides nothing.

    Attributes:
        preprocessing: with a mean and a deviation.
        classes: their names, in the order of the network's answers.
        test_images: how many the owner had.
        fingerprint: of these, as of `images_fingerprint`.

    Raises:
        InputError: a part is not what it should be.
    """

    key: ClassVar[str] = "images"

    preprocessing: Preprocessing
    classes: tuple[str, ...]
    test_images: int
    fingerprint: str

    def __post_init__(self) -> None:
        if self.preprocessing.mean is None:
            raise _refused("do not say by which mean and deviation they are normalised")
        if problem := problem_of_names(self.classes):
            raise _refused(problem)
        if type(self.test_images) is not int or not 0 <= self.test_images <= COUNT_LIMIT:
            raise _refused("are no number of test images")
        print_ = self.fingerprint
        if not isinstance(print_, str) or len(print_) != 64 or not {*print_} <= {*"0123456789abcdef"}:
            raise _refused("have a fingerprint that is no SHA-256")

    def check_fits(self, architecture: Mapping[str, Any]) -> None:
        """Refuses what is not for the network of a claim.

        Raises:
            InputError: it has another number of classes or channels, or takes another size.
        """
        mine = {
            "num_classes": len(self.classes),
            "channels_in": CHANNELS[self.preprocessing.channels],
            "image_size": self.preprocessing.image_size,
        }
        for name, value in mine.items():
            if value is not None and architecture.get(name) != value:
                raise _refused(f"are of {name} {value}, and its network of {ascii(architecture.get(name))[:20]}")

    @property
    def says(self) -> str:
        """How pictures are read, in a line; no secret."""
        how = self.preprocessing
        size = f"resized to {how.resize} ({how.interpolation})" if how.resize is not None else "resized straight"
        if how.crop is not None:
            size = f"{size if how.resize is not None else 'not resized'}, cropped to {how.crop}"
        mean, std = (", ".join(f"{value:.3g}" for value in values or ()) for values in (how.mean, how.std))
        return f"{how.channels}, {size}, mean {mean}, std {std}; {len(self.classes)} classes"

    def stored(self) -> dict[str, Any]:
        """See `StoredPart.stored`."""
        own = {"preprocessing": self.preprocessing.stored(), "classes": list(self.classes)}
        return own | {"test_images": self.test_images, "fingerprint": self.fingerprint}

    @classmethod
    def of_mapping(cls, value: Mapping[str, Any]) -> Self:
        """See `StoredPart.read`."""
        if not isinstance(value["classes"], list):
            raise TypeError("images has no list of classes")
        how = Preprocessing.from_stored(value["preprocessing"])
        return cls(how, tuple(value["classes"]), value["test_images"], value["fingerprint"])


def recorded_of(data: ImageData, how: Preprocessing = PLAIN) -> RecordedImages | None:
    """What a claim records of images; None where names of classes are such that no claim can hold them.

    Args:
        data: the images.
        how: what made their pixels.
    """
    if problem_of_names(data.classes):
        return None
    grey = {1: "L", 3: how.channels}.get(data.channels)
    if grey is None:
        return None
    told = replace(how, channels=grey, mean=tuple(data.mean), std=tuple(data.std))
    found = images_fingerprint(data.test_pixels, data.test_labels, data.classes)
    return RecordedImages(told, data.classes, data.test_labels.numel(), found)


def problem_of_names(classes: Sequence[str]) -> str:
    """Why no claim holds these names of classes, in words; "" where it can."""
    if not 2 <= len(classes) <= CLASS_LIMIT:
        return f"are of {len(classes)} classes, not 2 to {CLASS_LIMIT}"
    if not all(isinstance(name, str) and name.isprintable() and len(name) <= NAME_LIMIT for name in classes):
        return f"have a class whose name is not one line of at most {NAME_LIMIT} characters"
    if len({*classes}) < len(classes):
        return "have two classes of one name"
    return "have names of classes that are too long" if len(json.dumps(classes)) > TEXT_LIMIT else ""


def images_fingerprint(pixels: Tensor, labels: Tensor, classes: Sequence[str]) -> str:
    """SHA-256 of labelled images in whatever order, as hexadecimal digits: over the sorted SHA-256 of each one's shape,
    pixels and name of its class.

    Args:
        pixels: uint8, (N, H, W, channels).
        labels: int64, (N,).
        classes: the names of the classes.
    """
    shape = json.dumps(list(pixels.shape[1:])).encode()
    names = [json.dumps(name).encode() for name in classes]
    digests = []
    for positions in torch.arange(labels.numel()).split(AT_ONCE):
        block = pixels[positions].cpu().numpy()  # by positions: they may be rows of others
        for image, label in zip(block, labels[positions].tolist(), strict=True):
            digests.append(hashlib.sha256(shape + image.tobytes() + names[label]).digest())
    return hashlib.sha256(b"".join(sorted(digests))).hexdigest()


def _refused(problem: str) -> InputError:
    return InputError("claim", "images", problem, "restore the claim")
