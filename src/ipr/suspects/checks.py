"""What every weights file must keep to, whatever its format."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

MAX_FILE_BYTES = 4 * 2**30
"""The largest file that is opened."""

MAX_TENSORS = 10_000
"""The most tensors of one file."""

MAX_DIMENSIONS = 8
"""The most dimensions of one tensor."""

FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
INTEGERS = (torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64)


class Refusal(Exception):  # noqa: N818 (a decision about a file, which whoever knows its path makes an InputError of)
    """A file that is not used: what is wrong with it, and what to do about it."""

    def __init__(self, problem: str, remedy: str) -> None:
        self.problem, self.remedy = problem, remedy
        super().__init__(problem, remedy)


DAMAGED = "give the file as it was written"
SAVE_AGAIN = "save the network's state_dict alone, as safetensors"


def shown(name: object, length: int = 60) -> str:
    """A text of a stranger's file as it may stand in a message: short, and without control characters."""
    text = str(name)[: length + 1] if isinstance(name, str) else type(name).__name__
    text = text if text.isascii() and text.isprintable() else ascii(text)
    return text if len(text) <= length else f"{text[:length]}..."


def check_count(count: int) -> None:
    """Refuses a file without tensors, or with too many."""
    if count == 0:
        raise Refusal("holds no weights", SAVE_AGAIN)
    if count > MAX_TENSORS:
        raise Refusal(f"holds {count} tensors, more than {MAX_TENSORS}", SAVE_AGAIN)


def checked(tensors: Mapping[str, Tensor], file_bytes: int) -> dict[str, Tensor]:
    """Tensors that are dense, of an ordinary type, of few dimensions, no larger than their file, and finite.

    Args:
        tensors: by name.
        file_bytes: what the file holds; tensors that share memory may together come to twice as much.

    Raises:
        Refusal: naming the first that is not.
    """
    check_count(len(tensors))
    total = 0
    for name, tensor in tensors.items():
        if type(tensor) is not Tensor or tensor.layout is not torch.strided or tensor.device.type != "cpu":
            raise Refusal(f"{shown(name)} is no dense tensor", SAVE_AGAIN)
        if tensor.dtype not in (*FLOATS, *INTEGERS):
            raise Refusal(f"{shown(name)} is of type {tensor.dtype}", "save weights as float32")
        if tensor.dim() > MAX_DIMENSIONS:
            raise Refusal(f"{shown(name)} has {tensor.dim()} dimensions, more than {MAX_DIMENSIONS}", SAVE_AGAIN)
        size = tensor.numel() * tensor.element_size()
        total += size
        if size > tensor.untyped_storage().nbytes() or total > 2 * file_bytes:
            raise Refusal(f"{shown(name)} is larger than its data", SAVE_AGAIN)
    for name, tensor in tensors.items():  # only now: it reads them
        check_finite(name, tensor)
    return {name: tensor.detach().contiguous() for name, tensor in tensors.items()}


def check_finite(name: str, tensor: Tensor) -> None:
    """Refuses NaN and infinity."""
    if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
        raise Refusal(f"{shown(name)} holds NaN or infinity", "give weights that are numbers")
