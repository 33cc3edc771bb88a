"""Weights files: a `state_dict` of plain tensors as bytes, and back. The same tensors give the same bytes."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Callable, Mapping
from io import BytesIO
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from ipr.errors import InputError


def as_safetensors(weights: Mapping[str, Tensor]) -> bytes:
    """As safetensors."""
    return save(_plain(weights))


def as_torch(weights: Mapping[str, Tensor]) -> bytes:
    """As `torch.save` writes them; `torch.load(..., weights_only=True)` reads them."""
    file = BytesIO()  # to a named file, torch would write that name into it
    torch.save(_plain(weights), file)
    return file.getvalue()


WRITERS: dict[str, Callable[[Mapping[str, Tensor]], bytes]] = {"safetensors": as_safetensors, "torch": as_torch}
"""Formats of weights, and how each is written."""


def _plain(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    # Strides are written too: `contiguous()` leaves those of a 1x1 filter as they happen to be.
    return {n: tensor.detach().cpu().clone(memory_format=torch.contiguous_format) for n, tensor in weights.items()}


def format_of(path: Path) -> str:
    """Which of `WRITERS` wrote a file, by its content."""
    return "torch" if zipfile.is_zipfile(path) else "safetensors"


def read_weights(path: Path) -> dict[str, Tensor]:
    """A `state_dict` from a file of safetensors or of `torch.save`; nothing in it is executed.

    Raises:
        InputError: the file is missing, damaged, or holds anything but tensors by name.
    """
    try:
        read = torch.load(path, "cpu", weights_only=True) if format_of(path) == "torch" else load_file(path)
    except (OSError, SafetensorError, RuntimeError, pickle.UnpicklingError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError("weights", path, f"cannot be read ({reason})", "give safetensors or a state_dict") from error
    if not isinstance(read, dict) or not all(isinstance(tensor, Tensor) for tensor in read.values()):
        raise InputError("weights", path, "holds more than tensors by name", "give a state_dict")
    return read
