"""SHA-256 over facts and tensors, the same in whatever file format they were stored."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor


def digest_of(facts: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 over facts and tensors, as hexadecimal digits.

    Args:
        facts: plain JSON values; their order does not matter.
        tensors: by name, in any order; names, dtypes, shapes and bytes count, not how they lie in memory.
    """
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        flat = tensor.detach().cpu().contiguous().reshape(-1)
        digest.update(flat.view(torch.uint8).numpy().data)  # numpy knows no bfloat16
    return digest.hexdigest()


def weights_digest(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 over a network's weights, as hexadecimal digits."""
    return digest_of({}, tensors)
