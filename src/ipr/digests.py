"""SHA-256 over named values and tensors: the same for the same content, in whatever file it is stored."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor


def digest_of(facts: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 of plain values and tensors, as 64 hexadecimal digits.

    Hashed are the facts as JSON and then, for each tensor in the order of the names, its name, type and shape as JSON
    and its elements. Each JSON text ends with a line feed and holds no other, and type and shape say how many bytes
    of elements follow, so that no two contents give the same text.

    Args:
        facts: plain JSON values.
        tensors: of any type, shape and place.
    """
    digest = hashlib.sha256(_line(facts))
    for name, tensor in sorted(tensors.items()):
        digest.update(_line([name, type_name(tensor), list(tensor.shape)]))
        digest.update(elements(tensor))
    return digest.hexdigest()


def weights_digest(tensors: Mapping[str, Tensor]) -> str:
    """`digest_of` a network's weights, by their names in its `state_dict`."""
    return digest_of({}, tensors)


def type_name(tensor: Tensor) -> str:
    """A tensor's type without the name of the library: `float32`."""
    return str(tensor.dtype).removeprefix("torch.")


def elements(tensor: Tensor) -> memoryview:
    """A tensor's elements in row-major order, as they lie in memory (little-endian on all machines torch runs on)."""
    flat = tensor.detach().cpu().contiguous().reshape(-1)  # bfloat16 is unknown to numpy: its bytes are not
    return flat.view(torch.uint8).numpy().data


def _line(value: object) -> bytes:
    return json.dumps(value, sort_keys=True).encode() + b"\n"
