"""The Open Inference Protocol v2: what a model says of its input, a request, and the answer, checked before use."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ipr.errors import InputError
from ipr.suspects.served.server import clean

FLOATS = ("FP16", "FP32", "FP64")
INTEGERS = tuple(f"{sign}INT{bits}" for sign in ("", "U") for bits in (8, 16, 32, 64))


@dataclass(frozen=True)
class ModelInput:
    """What a model takes: the input's name, and its shape [batch, channels, height, width], -1 for any number."""

    name: str
    shape: tuple[int, ...]

    def takes(self, shape: tuple[int, ...]) -> bool:
        """Whether images (B, C, H, W) fit."""
        return len(shape) == len(self.shape) and all(own in (-1, n) for own, n in zip(self.shape, shape, strict=True))


def model_input(metadata: Any, wanted: str | None, where: str) -> ModelInput:
    """The input that a model's metadata declares.

    Args:
        metadata: what the server says, any JSON value.
        wanted: the input's name; None for the only one. Where the model declares none, it is believed.
        where: what is asked, for messages.

    Raises:
        InputError: there is no such input, or it takes no images of float32.
    """

    def refuse(problem: str, remedy: str) -> InputError:
        return InputError("suspect", where, problem, remedy)

    declared = metadata.get("inputs") if isinstance(metadata, dict) else None
    if not declared:
        if wanted is None:
            raise refuse("the model does not say what it takes", "give endpoint.input=NAME")
        return ModelInput(wanted, (-1, -1, -1, -1))
    if not isinstance(declared, list) or not all(
        isinstance(one, dict) and isinstance(one.get("name"), str) for one in declared
    ):
        raise refuse("its metadata does not list inputs by name", "give an endpoint of the Open Inference Protocol v2")
    names = [one["name"] for one in declared]
    chosen = [one for one in declared if wanted in (None, one["name"])]
    if len(chosen) != 1:
        remedy = f"give endpoint.input=NAME of one that takes images{'' if wanted is None else f', not {wanted}'}"
        raise refuse(f"the model has {len(names)} inputs: {clean(', '.join(names))}", remedy)
    name, datatype, shape = chosen[0]["name"], chosen[0].get("datatype"), chosen[0].get("shape")
    if datatype != "FP32":
        raise refuse(f"its input {clean(name)} takes {clean(datatype)}", "serve a model that takes FP32")
    if not (isinstance(shape, list) and len(shape) == 4 and all(type(n) is int for n in shape)):
        remedy = "serve one that takes [batch, channels, height, width]"
        raise refuse(f"its input {clean(name)} has shape {clean(shape)}", remedy)
    return ModelInput(name, tuple(shape))


def request(name: str, images: NDArray[np.float32]) -> dict[str, Any]:
    """What is sent for images (B, C, H, W): one tensor, flat, in row-major order."""
    tensor = {"name": name, "shape": list(images.shape), "datatype": "FP32", "data": images.ravel().tolist()}
    return {"inputs": [tensor]}


def output_tensor(answer: Any, wanted: str | None, model: str, version: str | None, where: str) -> NDArray[Any]:
    """The tensor of an answer: float64 scores, or int64 or uint64 classes.

    Args:
        answer: what the server says, any JSON value.
        wanted: the output's name; None for the only one.
        model: the name of the model that was asked.
        version: its version; None if none was asked for.
        where: what is asked, for messages.

    Raises:
        InputError: another model answers, there is no such output, its data is not what its shape and datatype say, or
            it does not hold finite numbers.
    """

    def refuse(problem: str, remedy: str = "ask an endpoint that keeps to the protocol") -> InputError:
        return InputError("suspect", where, problem, remedy)

    if not isinstance(answer, dict) or not isinstance(answer.get("outputs"), list):
        raise refuse("its answer has no outputs")
    for key, asked in (("model_name", model), ("model_version", version)):
        if asked is not None and answer.get(key) not in (None, asked):
            raise refuse(f"{key} {clean(answer[key])} answers instead of {asked}")
    outputs = [one for one in answer["outputs"] if isinstance(one, dict)]
    chosen = [one for one in outputs if wanted in (None, one.get("name"))]
    if len(chosen) != 1:
        names = clean(", ".join(clean(one.get("name"), 30) for one in outputs[:10]))
        raise refuse(f"its answer has {len(outputs)} outputs: {names}", "give endpoint.output=NAME of one")
    shape, datatype, data = (chosen[0].get(key) for key in ("shape", "datatype", "data"))
    if not isinstance(shape, list) or len(shape) > 8 or not all(type(n) is int and n >= 0 for n in shape):
        raise refuse(f"its output has shape {clean(shape)}")
    if datatype not in FLOATS + INTEGERS:
        raise refuse(f"its output has datatype {clean(datatype)}", "choose an output of scores or class numbers")
    numbers = _numbers(data)
    if numbers is None or (datatype in INTEGERS and numbers.dtype.kind == "f"):
        raise refuse(f"its output is not numbers of datatype {datatype}")
    if numbers.size != math.prod(shape) or (numbers.ndim != 1 and list(numbers.shape) != shape):
        raise refuse(f"its output holds {numbers.size} numbers for a shape of {clean(shape)}")
    if not np.isfinite(numbers).all():
        raise refuse("its output holds NaN or infinity")
    tensor = numbers.reshape(shape)
    if datatype in FLOATS:
        return tensor.astype(np.float64)
    return tensor[:, 0] if len(shape) == 2 and shape[1] == 1 else tensor  # mlserver's own codec writes (B,) as (B, 1)


def _numbers(data: Any) -> NDArray[Any] | None:
    """JSON as an array, if it is a list, nested evenly or flat, of numbers only."""
    if not isinstance(data, list):
        return None
    try:
        array = np.array(data)
    except (ValueError, OverflowError, RecursionError):
        return None
    return array if array.dtype.kind in "iuf" else None
