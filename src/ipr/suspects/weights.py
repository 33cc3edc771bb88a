"""`read_weights`: the weights of a file of somebody whom one cannot trust, as clean tensors or not at all."""

from __future__ import annotations

import hashlib
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from ipr.errors import InputError
from ipr.suspects.checks import MAX_FILE_BYTES, Refusal, checked
from ipr.suspects.formats import format_of
from ipr.suspects.layer import Layer
from ipr.suspects.safetensors_file import read_safetensors
from ipr.suspects.sharded import ENDING, index_in, read_sharded
from ipr.suspects.torch_file import read_torch, without_prefixes


@dataclass(frozen=True)
class WeightsFile:
    """What a file holds.

    Attributes:
        format: `safetensors`, `torch`, `onnx`, or `sharded` for several of the first two with an index.
        digest: SHA-256 of its bytes, as hexadecimal digits; of several files see `read_sharded`.
        tensors: by their names in the network, as far as the file kept them.
        layers: of ONNX, the layers in the order in which the graph runs them; else empty.
    """

    format: str
    digest: str
    tensors: dict[str, Tensor]
    layers: tuple[Layer, ...] = ()


def read_weights(path: Path, field: str = "suspect") -> dict[str, Tensor]:
    """The tensors of a weights file by name: dense, finite, of ordinary types, on the CPU. Nothing in it is executed.

    Args:
        path: safetensors, a file of `torch.save` (a state_dict, or a checkpoint with one), or ONNX, told apart by their
            content. A symbolic link is followed to a regular file. Or a folder with an index (`*.index.json`) and the
            files that it names, or that index.
        field: what an error calls it.

    Raises:
        InputError: it is missing, no such file, too large, damaged, or holds something else than weights.
    """
    return read_file(path, field).tensors


def read_file(path: Path, field: str = "suspect") -> WeightsFile:
    """The same, with what else a file tells."""
    try:
        if path.is_dir() or path.name.endswith(ENDING):
            tensors, digest, size = read_sharded(index_in(path) if path.is_dir() else path, _tensors)
            return WeightsFile("sharded", digest, checked(without_prefixes(tensors), size))
        content = _content(path)
        kind = format_of(content)
        layers: tuple[Layer, ...] = ()
        if kind == "onnx":
            from ipr.suspects.onnx_file import read_onnx  # onnx takes long to import, and few need it

            tensors, layers = read_onnx(content)
        else:
            tensors = without_prefixes(read_safetensors(content) if kind == "safetensors" else read_torch(content))
        return WeightsFile(kind, hashlib.sha256(content).hexdigest(), checked(tensors, len(content)), layers)
    except OSError as error:
        remedy = "give a weights file, such as public.safetensors"
        raise InputError(field, path, f"cannot be read ({error.strerror or error})", remedy) from error
    except Refusal as refusal:
        raise InputError(field, path, refusal.problem, refusal.remedy) from refusal


def _tensors(content: bytes) -> dict[str, Tensor]:
    """Of a file that is one of several."""
    kind = format_of(content)
    if kind == "onnx":
        raise Refusal("is ONNX in several files", "give safetensors, or a torch file of a state_dict")
    return read_safetensors(content) if kind == "safetensors" else read_torch(content)


def _content(path: Path) -> bytes:
    """All bytes of a regular file, read once: what is checked is what is used, whatever becomes of the file."""
    with open(path, "rb", opener=_without_waiting) as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise Refusal("is not a file", "give a weights file, such as public.safetensors")
        if status.st_size > MAX_FILE_BYTES:
            raise Refusal(f"is larger than {MAX_FILE_BYTES} bytes", "give the weights alone")
        content = file.read(status.st_size + 1)
    if len(content) != status.st_size:
        raise Refusal("changed while it was read", "give a file that nobody writes to")
    return content


def _without_waiting(path: str, flags: int) -> int:
    """Opens a file; a FIFO to which nobody writes would wait, and a terminal must not become this process's."""
    return os.open(path, flags | os.O_NONBLOCK | os.O_NOCTTY)
