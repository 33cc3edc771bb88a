"""safetensors: a header in JSON, and the tensors' bytes. The header is checked before anything is made of it."""

from __future__ import annotations

import json
import math
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

from ipr.suspects.checks import DAMAGED, MAX_DIMENSIONS, SAVE_AGAIN, Refusal, check_count, shown

MAX_HEADER_BYTES = 4 * 2**20
"""The longest header that is read."""

_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1}


def read_safetensors(content: bytes) -> dict[str, Tensor]:
    """The tensors of a safetensors file by name.

    Raises:
        Refusal: the header is too long, is no JSON, or does not describe the bytes behind it exactly.
    """
    length = int.from_bytes(content[:8], "little")
    if length > MAX_HEADER_BYTES:
        raise Refusal(f"has a header of {length} bytes, more than {MAX_HEADER_BYTES}", SAVE_AGAIN)
    if 8 + length > len(content):
        raise Refusal("is damaged (it ends within its header)", DAMAGED)
    try:
        header = json.loads(content[8 : 8 + length], object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise Refusal("is damaged (its header is no JSON)", DAMAGED) from error
    _check(header, len(content) - 8 - length)
    try:
        return load(content)
    except (SafetensorError, ValueError, RuntimeError) as error:
        raise Refusal(f"is damaged ({shown(str(error), 100)})", DAMAGED) from error


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(unique := dict(pairs)) < len(pairs):
        raise ValueError("a name stands there twice")
    return unique


def _check(header: Any, data_bytes: int) -> None:
    if not isinstance(header, dict):
        raise Refusal("is damaged (its header names no tensors)", DAMAGED)
    tensors = {name: entry for name, entry in header.items() if name != "__metadata__"}
    check_count(len(tensors))
    position = 0
    for begin, end, name in sorted((*_place(name, entry), name) for name, entry in tensors.items()):
        if begin != position:
            raise Refusal(f"is damaged ({shown(name)} does not begin where the tensor before it ends)", DAMAGED)
        position = end
    if position != data_bytes:
        raise Refusal(f"is damaged (its tensors take {position} bytes and it holds {data_bytes})", DAMAGED)


def _place(name: str, entry: Any) -> tuple[int, int]:
    """Where a tensor's bytes begin and end, if its entry is consistent."""
    if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
        raise Refusal(f"is damaged (the entry of {shown(name)} is not one of a tensor)", DAMAGED)
    kind, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(kind, str) or kind not in _BYTES:
        raise Refusal(f"{shown(name)} is of type {shown(kind)}", "save weights as float32")
    if not _counts(shape) or len(shape) > MAX_DIMENSIONS:
        raise Refusal(f"is damaged (the shape of {shown(name)} is none)", DAMAGED)
    if not _counts(offsets) or len(offsets) != 2:
        raise Refusal(f"is damaged (the offsets of {shown(name)} are none)", DAMAGED)
    begin, end = offsets
    if end - begin != math.prod(shape) * _BYTES[kind]:
        raise Refusal(f"is damaged ({shown(name)} has another size than its shape says)", DAMAGED)
    return begin, end


def _counts(values: Any) -> bool:
    return isinstance(values, list) and all(type(value) is int and 0 <= value < 2**63 for value in values)
