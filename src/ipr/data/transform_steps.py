"""Reads the steps of a torchvision transform, without a call of any: names and attributes alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch

from ipr.errors import InputError

NOTHING = ("Identity", "ToPureTensor")
"""Steps that change no number."""

KNOWN = "Resize, CenterCrop, Grayscale, ToTensor, PILToTensor, ToImage, ToDtype, ConvertImageDtype and Normalize"

FOR_TESTS = "give the transform that test images go through, without what is random"


def steps_of(transform: Any) -> dict[str, Any]:
    """The fields of a `Preprocessing` that the steps of a transform amount to; mean and std are always among them.

    Raises:
        InputError: naming the step that cannot be told, and what to do.
    """
    reader = _Reader()
    for step in _flat(transform):
        reader.take(step)
    if reader.state != "fractions" and reader.state != "of 255":
        remedy = "end it with ToTensor(), or with ToImage() and ToDtype(torch.float32, scale=True)"
        raise InputError("transform", _name(transform), f"ends with {reader.state}, not with numbers", remedy)
    return reader.found | reader.numbers()


class _Reader:
    """What the steps did so far.

    `state` says what an image is between two steps: `pictures`, `bytes`, `fractions` in [0, 1], or numbers `of 255`.
    """

    def __init__(self) -> None:
        self.state = "pictures"
        self.found: dict[str, Any] = {}
        self.mean: list[float] | None = None
        self.std: list[float] | None = None

    def take(self, step: Any) -> None:
        name = _name(step)
        take = STEPS.get(name) if _is_torchvision(step) else None
        if name in NOTHING and (_is_torchvision(step) or isinstance(step, torch.nn.Identity)):
            return
        if take is None:
            raise _untold(step)
        take(self, step)

    def numbers(self) -> dict[str, tuple[float, ...]]:
        """Mean and deviation of pixels as fractions."""
        scale = 255 if self.state == "of 255" else 1
        mean, std = self.mean or [0.0], self.std or [1.0]
        return {"mean": tuple(m / scale for m in mean), "std": tuple(s / scale for s in std)}

    def _of_pictures(self, step: Any, *before: str) -> None:
        """Refuses a step on what is a tensor already, and one after which `before` ones came."""
        if self.state != "pictures":
            remedy = f"put {_name(step)} before the step that makes a tensor: Pillow's pixels are others than torch's"
            raise InputError("transform", _name(step), f"comes after pictures became {self.state}", remedy)
        for field in before:
            if field in self.found:
                remedy = "give one Resize, then one CenterCrop"
                raise InputError("transform", _name(step), f"comes after another step that sets {field}", remedy)

    def _resize(self, step: Any) -> None:
        self._of_pictures(step, "resize", "crop")
        if getattr(step, "max_size", None) is not None:
            raise InputError("transform", "Resize", "has a max_size, which is not known here", "leave max_size out")
        size = _sizes(step.size)
        self.found["resize"] = size[0] if len(size) == 1 else size
        self.found["interpolation"] = _interpolation(step.interpolation)

    def _center_crop(self, step: Any) -> None:
        self._of_pictures(step, "crop")
        size = _sizes(step.size)
        if len(set(size)) != 1:
            raise InputError("transform", "CenterCrop", f"cuts {size}, no square", "networks are given squares here")
        self.found["crop"] = size[0]

    def _grayscale(self, step: Any) -> None:
        self._of_pictures(step, "channels")
        self.found["channels"] = "L" if step.num_output_channels == 1 else "LLL"
        self.found["grey_resized"] = "resize" in self.found

    def _rgb(self, step: Any) -> None:
        self._of_pictures(step, "channels")

    def _to_tensor(self, step: Any) -> None:
        self._of_pictures(step)
        self.state = "fractions"

    def _to_bytes(self, step: Any) -> None:
        self._of_pictures(step)
        self.state = "bytes"

    def _convert(self, step: Any) -> None:
        self._to(step, step.dtype, scale=True)

    def _to_dtype(self, step: Any) -> None:
        self._to(step, step.dtype, scale=step.scale)

    def _to(self, step: Any, dtype: Any, *, scale: bool) -> None:
        if self.state == "bytes" and dtype == torch.float32:
            self.state = "fractions" if scale else "of 255"
        elif dtype != {"bytes": torch.uint8, "pictures": None}.get(self.state, torch.float32):
            problem = f"makes {dtype} of {self.state}"
            raise InputError("transform", _name(step), problem, "convert bytes to torch.float32, once")

    def _normalize(self, step: Any) -> None:
        if self.state not in ("fractions", "of 255") or self.mean is not None:
            problem = "is given twice" if self.mean is not None else f"is given {self.state}"
            raise InputError("transform", "Normalize", problem, "give one, after what makes numbers")
        self.mean, self.std = ([float(value) for value in _list(values)] for values in (step.mean, step.std))

    def _image_classification(self, step: Any) -> None:
        """The preset of a classifier's weights: all of it, at once."""
        self._resize(_Preset(size=step.resize_size, interpolation=step.interpolation))
        self._center_crop(_Preset(size=step.crop_size))
        self._to_tensor(step)
        self._normalize(step)


STEPS: dict[str, Callable[[_Reader, Any], None]] = {
    "Resize": _Reader._resize,
    "CenterCrop": _Reader._center_crop,
    "Grayscale": _Reader._grayscale,
    "RGB": _Reader._rgb,
    "ToTensor": _Reader._to_tensor,
    "PILToTensor": _Reader._to_bytes,
    "ToImage": _Reader._to_bytes,
    "ConvertImageDtype": _Reader._convert,
    "ToDtype": _Reader._to_dtype,
    "Normalize": _Reader._normalize,
    "ImageClassification": _Reader._image_classification,
}


class _Preset:
    """One step of a preset."""

    def __init__(self, **attributes: Any) -> None:
        self.__dict__.update(attributes)


def _flat(transform: Any) -> Iterator[Any]:
    if isinstance(transform, torch.nn.Sequential):
        inner = list(transform)
    elif _name(transform) == "Compose" and _is_torchvision(transform):
        inner = list(transform.transforms)
    else:
        yield transform
        return
    for step in inner:
        yield from _flat(step)


def _name(step: Any) -> str:
    return type(step).__name__


def _is_torchvision(step: Any) -> bool:
    return type(step).__module__.startswith("torchvision.transforms.")


def _untold(step: Any) -> InputError:
    name = _name(step)
    if step is None:
        problem = "there is none, so that nothing says what was done to the pictures"
    elif name == "partial" or isinstance(step, type):
        problem, remedy = f"is not a transform but makes one ({step!r:.60})", "call it: WEIGHTS.transforms()"
        return InputError("transform", name, problem, remedy)
    elif name.startswith(("Random", "ColorJitter", "AutoAugment", "RandAugment", "TrivialAugment", "AugMix")):
        return InputError("transform", name, "is random: a judge could not do the same", FOR_TESTS)
    else:
        problem = f"is not known here; known are {KNOWN}"
    return InputError("transform", name, problem, f"{FOR_TESTS}, made of these, or a Preprocessing of your own")


def _sizes(size: Any) -> tuple[int, ...]:
    return tuple(size) if isinstance(size, list | tuple) else (size,)


def _list(values: Any) -> list[Any]:
    if isinstance(values, torch.Tensor):
        return list(values.flatten().tolist())
    return list(values) if isinstance(values, list | tuple) else [values]


def _interpolation(mode: Any) -> str:
    return str(getattr(mode, "value", mode))
