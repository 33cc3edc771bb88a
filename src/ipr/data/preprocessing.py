"""How a picture becomes the pixels, and the numbers, that a network was trained on: what a claim records of it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from ipr.data.transform_steps import steps_of
from ipr.errors import InputError

INTERPOLATIONS = ("nearest", "nearest-exact", "bilinear", "bicubic", "box", "hamming", "lanczos")
"""As torchvision's `InterpolationMode` calls them; Pillow does them, with antialiasing where they have any."""

CHANNELS = {"RGB": 3, "BGR": 3, "L": 1, "LLL": 3}
"""What the channels may be, and how many: colours, grey, and grey three times."""

SIZE_LIMIT = 4096
"""Pixels of a side, at most."""

PICTURE_LIMIT = 2**26
"""Pixels of a picture that was resized, at most: a narrow one grows long."""

STD_LEAST = 0.001
"""The smallest deviation: smaller ones would make numbers of pixels that no training sees."""


@dataclass(frozen=True)
class Preprocessing:
    """From a picture to pixels as torchvision's `Resize`, `CenterCrop` and `Grayscale` make them of a PIL image, and
    from pixels to numbers as its `Normalize` does.

    Attributes:
        resize: of the shorter side, or (height, width), in pixels; None for pictures that are not resized, or where
            `crop` is None, too, straight to the size that is asked for, bilinear, as image folders are read.
        interpolation: of `INTERPOLATIONS`.
        crop: height and width of what is cut from the centre, in pixels; None for all of it.
        mean: of each channel, in [0, 1]; None for that of the training images.
        std: likewise, in [0.001, 1].
        channels: of `CHANNELS`.
        grey_resized: whether colours are taken away after the picture was resized, not before: the pixels differ.
        as_stored: whether a file is read as `torchvision.datasets.ImageFolder` does: not turned as its EXIF says, and
            what is transparent not laid on white.

    Raises:
        InputError: a field holds what it cannot.
    """

    resize: int | tuple[int, int] | None = None
    interpolation: str = "bilinear"
    crop: int | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None
    channels: str = "RGB"
    grey_resized: bool = False
    as_stored: bool = False

    def __post_init__(self) -> None:
        both = self.resize if isinstance(self.resize, tuple) else (self.resize,)
        if (isinstance(self.resize, tuple) and len(both) != 2) or not all(_is_size(side) for side in both):
            problem = f"is no size, or two of them, from 1 to {SIZE_LIMIT} pixels"
            raise _wrong("resize", self.resize, problem, "give the shorter side, or [height, width], or null")
        if not _is_size(self.crop):
            raise _wrong("crop", self.crop, f"is no size from 1 to {SIZE_LIMIT} pixels", "give one, or null")
        if self.crop is None and len(both) == 2 and both[0] != both[1]:
            raise _wrong("resize", self.resize, "is no square, as networks are given", "crop, or resize to a square")
        if self.interpolation not in INTERPOLATIONS:
            remedy = f"give one of {', '.join(INTERPOLATIONS)}"
            raise _wrong("interpolation", self.interpolation, "is not known", remedy)
        if not isinstance(self.channels, str) or self.channels not in CHANNELS:
            raise _wrong("channels", self.channels, "are not known", f"give one of {', '.join(CHANNELS)}")
        for name in ("grey_resized", "as_stored"):
            if not isinstance(value := getattr(self, name), bool):
                raise _wrong(name, value, "is neither true nor false", "give one of them")
        self._check_numbers("mean", 0.0)
        self._check_numbers("std", STD_LEAST)
        if (self.mean is None) is not (self.std is None):
            raise _wrong("mean", self.mean, "comes without its std, or that without it", "give both, or neither")

    def _check_numbers(self, name: str, least: float) -> None:
        values, count = getattr(self, name), CHANNELS[self.channels]
        if values is not None and not (
            isinstance(values, tuple)
            and len(values) == count
            and all(type(value) is float and math.isfinite(value) and least <= value <= 1 for value in values)
        ):
            what = "a number" if count == 1 else f"{count} numbers"
            raise _wrong(name, values, f"is not {what} from {least:g} to 1", "give one for each channel")

    @property
    def image_size(self) -> int | None:
        """Height and width of what comes out, in pixels; None where that is for the picture, or the caller, to say."""
        return self.crop or (self.resize[0] if isinstance(self.resize, tuple) else self.resize)

    def pixels(self, picture: Image.Image, image_size: int | None = None) -> Tensor:
        """The pixels of a picture, uint8, (H, W, channels).

        Args:
            picture: in any mode; it is not changed.
            image_size: height and width that are asked for; needed where `image_size` of this is None.

        Raises:
            InputError: they would be of another size, or the picture is far longer than wide.
        """
        grey = self.channels in ("L", "LLL")
        image = picture.convert("L" if grey and not self.grey_resized else "RGB")
        if self.resize is not None or self.crop is not None:
            image = self._resized(image)
        image = image.convert("L") if grey else image
        if self.resize is None and self.crop is None and image_size and image.size != (image_size, image_size):
            image = image.resize((image_size, image_size), Image.Resampling.BILINEAR)
        wanted = image_size or self.image_size or image.width
        if image.size != (wanted, wanted):
            problem = f"gives {image.height} x {image.width} pixels, not {wanted} x {wanted}"
            raise _wrong(
                "resize", self.resize, problem, "give a crop, or [height, width], for pictures of other shapes"
            )
        found = np.array(image).reshape(wanted, wanted, -1)
        if self.channels == "LLL":
            found = found.repeat(3, axis=2)
        return torch.from_numpy(found[..., ::-1].copy() if self.channels == "BGR" else found)

    def _resized(self, image: Image.Image) -> Image.Image:
        from torchvision.transforms import functional  # not where pictures are read plainly: it takes memory

        if self.resize is not None:
            self._check_length(image)
            side = self.resize if isinstance(self.resize, int) else list(self.resize)
            image = functional.resize(image, side, functional.InterpolationMode(self.interpolation))
        return image if self.crop is None else functional.center_crop(image, self.crop)

    def _check_length(self, image: Image.Image) -> None:
        if isinstance(self.resize, int):
            pixels = self.resize**2 * max(image.size) / min(image.size)
            if pixels > PICTURE_LIMIT:
                problem = f"makes more than {PICTURE_LIMIT} pixels of a picture of {image.height} x {image.width}"
                raise _wrong("resize", self.resize, problem, "remove the picture, or give a smaller size")

    @property
    def of_pixels(self) -> Preprocessing:
        """The same without mean and deviation: what decides the pixels."""
        return replace(self, mean=None, std=None)

    def numbers_of(self, mean: tuple[float, ...], std: tuple[float, ...]) -> Preprocessing:
        """The same, with the given mean and deviation where it has none of its own."""
        return self if self.mean is not None else replace(self, mean=tuple(mean), std=tuple(std))

    def stored(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    @classmethod
    def from_stored(cls, found: Any) -> Preprocessing:
        """What `stored` gave; somebody else may have written it.

        Raises:
            InputError: it is something else, or a field holds what it cannot.
        """
        names = {one.name for one in fields(cls)}
        if not isinstance(found, Mapping) or set(found) != names:
            raise _wrong("", ascii(found)[:80], f"is no mapping of {', '.join(sorted(names))}", "restore the claim")
        values: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in found.items()
        }
        for name in ("mean", "std"):
            if isinstance(values[name], tuple):  # 0 and 1 may be written as whole numbers
                values[name] = tuple(float(one) if type(one) is int and one in (0, 1) else one for one in values[name])
        return cls(**values)


def preprocessing_of(transform: Any, channels: int | None = None) -> Preprocessing:
    """What a transform of torchvision does to a picture that a network is tested on.

    Args:
        transform: a `Compose` (v1 or v2), one step, or a preset of weights, such as
            `ResNet18_Weights.DEFAULT.transforms()`. It is read, not called.
        channels: of the network's input, 1 or 3; None to take 3 unless a `Grayscale` says otherwise.

    Raises:
        InputError: a step cannot be told: it is random, unknown, or in another order. It is named.
    """
    found = steps_of(transform)
    kind = found.pop("channels", None) or ("L" if channels == 1 else "RGB")
    if channels is not None and CHANNELS[kind] != channels:
        problem = f"gives {CHANNELS[kind]} channels, and the network takes {channels}"
        raise InputError("transform", "Grayscale", problem, "give the transform that the network was trained with")
    for name in ("mean", "std"):
        values = found[name]
        found[name] = values * CHANNELS[kind] if len(values) == 1 else values
    return Preprocessing(channels=kind, as_stored=True, **found)


def _is_size(value: object) -> bool:
    return value is None or (type(value) is int and 1 <= value <= SIZE_LIMIT)


def _wrong(name: str, value: object, problem: str, remedy: str) -> InputError:
    return InputError(f"preprocessing.{name}".rstrip("."), ascii(value)[:80], problem, remedy)


PLAIN = Preprocessing()
"""As image folders are read where nobody says otherwise."""
