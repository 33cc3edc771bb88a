"""A file of tensors that is written as its content is made, and read without being taken into memory.

It is safetensors, of which the header is written last.
"""

from __future__ import annotations

import json
import math
import mmap
import os
import warnings
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from torch import Tensor

from ipr.files import aside_of, naming

KINDS: dict[str, type[np.generic]] = {"U8": np.uint8, "I64": np.int64}
"""How safetensors calls the types of elements."""


@dataclass(frozen=True)
class Written:
    """A tensor to be written.

    Attributes:
        kind: of `KINDS`.
        shape: of all of it.
        blocks: its elements in row-major order, one contiguous array after the other.
    """

    kind: str
    shape: Sequence[int]
    blocks: Iterable[np.ndarray]

    @property
    def nbytes(self) -> int:
        """How many bytes it takes."""
        return math.prod(self.shape) * np.dtype(KINDS[self.kind]).itemsize


def write_stored(path: Path, tensors: Mapping[str, Written], longest: str, about: Callable[[], str]) -> None:
    """Writes tensors aside, and renames the file into place when all of it is on the disk.

    Args:
        path: the file.
        tensors: by name; those of more bytes an element first.
        longest: a text that is at least as long as what `about` will say.
        about: what the file is to say of its content; called once all of that is written. If it raises, nothing is
            kept.

    Raises:
        OSError: it cannot be written.
        ValueError: a tensor has other than its elements.
    """
    entries: dict[str, Any] = {}
    end = 0
    for name, tensor in tensors.items():
        begin, end = end, end + tensor.nbytes
        entries[name] = {"dtype": tensor.kind, "shape": list(tensor.shape), "data_offsets": [begin, end]}
    room = -(-len(_header(entries, longest)) // 8) * 8
    aside = aside_of(path)
    try:
        # images may be somebody's secret: nobody else may read them
        with naming(path), open(aside, "xb", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
            file.seek(8 + room)
            for name, tensor in tensors.items():
                for block in tensor.blocks:
                    file.write(block.data)
                if file.tell() != 8 + room + entries[name]["data_offsets"][1]:
                    raise ValueError(f"{name} has another number of elements than its shape says")
            header = _header(entries, about()).ljust(room)
            if len(header) > room:
                raise ValueError("what the file is to say of its content is longer than was said")
            file.seek(0)
            file.write(room.to_bytes(8, "little") + header)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    finally:
        for tensor in tensors.values():
            if isinstance(tensor.blocks, Generator):
                tensor.blocks.close()  # threads and a progress bar end now, not when an error has been told
        aside.unlink(missing_ok=True)


def _header(entries: Mapping[str, Any], about: str) -> bytes:
    return json.dumps({"__metadata__": {"facts": about}, **entries}).encode()


def read_stored(path: Path) -> tuple[dict[str, Tensor], str]:
    """The tensors of a file by name, mapped into memory, and what it says of them.

    Nobody can write to them: the process would be ended. The system reads what is looked at, and takes the memory back
    when it needs it; so they count as nobody's own.

    Args:
        path: the file. As long as a tensor is in use it must not be written to, only replaced.

    Raises:
        SafetensorError: it is no such file, or not all of one.
        KeyError: it says nothing of its content, or has tensors of another type.
    """
    with safe_open(path, framework="np") as checked:  # that the header describes the bytes behind it
        about = (checked.metadata() or {})["facts"]
    with open(path, "rb") as file:
        start = 8 + int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(start - 8))
        content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    tensors = {}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")
        for name, entry in header.items():
            if name != "__metadata__":
                shape, kind = entry["shape"], KINDS[entry["dtype"]]
                array = np.frombuffer(content, kind, math.prod(shape), start + entry["data_offsets"][0])
                tensors[name] = torch.from_numpy(array.reshape(shape))
    return tensors, about
