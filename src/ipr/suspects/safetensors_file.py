"""safetensors: a header in JSON and the tensors' bytes. The library checks that one describes the other exactly."""

from __future__ import annotations

import json

from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

from ipr.suspects.checks import DAMAGED, SAVE_AGAIN, Refusal, shown

MAX_HEADER_BYTES = 4 * 2**20
"""The longest header that is read; the library takes one of 100 MB, which takes it a gibibyte of memory."""


def read_safetensors(content: bytes) -> dict[str, Tensor]:
    """The tensors of a safetensors file by name.

    Raises:
        Refusal: the header is too long, names a tensor twice (which the library allows), is no JSON, or does not
            describe the bytes behind it exactly.
    """
    length = int.from_bytes(content[:8], "little")
    if length > MAX_HEADER_BYTES:
        raise Refusal(f"has a header of {length} bytes, more than {MAX_HEADER_BYTES}", SAVE_AGAIN)
    try:
        tensors = load(content)
    except KeyError as error:  # a type that the library knows and torch does not
        raise Refusal(f"holds a tensor of type {shown(error.args[0])}", "save weights as float32") from error
    except (SafetensorError, ValueError, TypeError, RuntimeError) as error:
        problem = str(error).removeprefix("Error while deserializing: ")
        raise Refusal(f"is damaged ({shown(problem, 100)})", DAMAGED) from error
    names = [name for name, _ in json.loads(content[8 : 8 + length], object_pairs_hook=list)]
    if len(set(names)) < len(names):
        raise Refusal("is damaged (its header names a tensor twice)", DAMAGED)
    return tensors
