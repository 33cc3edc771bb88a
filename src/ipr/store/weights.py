"""Weights files: a `state_dict` of plain tensors as bytes. The same tensors give the same bytes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from io import BytesIO

import torch
from safetensors.torch import save
from torch import Tensor


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
