"""Weights in several files, and the index that says which holds what: `*.index.json`, as Hugging Face writes them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path

from torch import Tensor

from ipr.files import read_regular
from ipr.suspects.checks import DAMAGED, MAX_FILE_BYTES, MAX_TENSORS, Refusal, check_count, shown

ENDING = ".index.json"

MAX_INDEX_BYTES = 4 * 2**20
MAX_SHARDS = 1000

WEIGHTS = (".safetensors", ".pt", ".pth", ".bin", ".ckpt", ".onnx")
"""How weights files are called, so that one can be pointed at."""


def index_in(folder: Path) -> Path:
    """The one index in a folder.

    Raises:
        Refusal: there is none, or several; the weights file to give instead is named where there is one.
    """
    names = sorted(path.name for path in folder.iterdir())
    found = [name for name in names if name.endswith(ENDING)]
    if len(found) == 1:
        return folder / found[0]
    if found:
        raise Refusal(f"is a folder with several indices ({', '.join(map(shown, found[:3]))})", "give one of them")
    weights = [name for name in names if name.endswith(WEIGHTS)]
    remedy = f"give {folder / shown(weights[0])}" if weights else "give a weights file, such as public.safetensors"
    raise Refusal(f"is a folder, and no {ENDING.lstrip('.')} in it says what belongs together", remedy)


def read_sharded(index: Path, read: Callable[[bytes], Mapping[str, Tensor]]) -> tuple[dict[str, Tensor], str, int]:
    """The tensors of all files that an index names.

    Args:
        index: the index; the files lie beside it, and are no links.
        read: reads the content of one.

    Returns:
        The tensors by name; SHA-256 of what `sha256sum` prints for the index and the files, sorted by name; and the
        bytes of all files.

    Raises:
        Refusal: the index is none, names files elsewhere, or does not say what they hold.
    """
    content = _content(index, index.name, MAX_INDEX_BYTES)
    places = _weight_map(content)
    files = sorted(set(places.values()))
    lines = {index.name: hashlib.sha256(content).hexdigest()}
    tensors: dict[str, Tensor] = {}
    left = MAX_FILE_BYTES
    for name in files:
        shard = _content(index.parent / name, name, left)
        left -= len(shard)
        lines[name] = hashlib.sha256(shard).hexdigest()
        held = read(shard)
        wanted = {tensor for tensor, file in places.items() if file == name}
        if wrong := sorted(held.keys() ^ wanted):
            raise Refusal(f"is damaged ({shown(wrong[0])} is not where the index says: {shown(name)})", DAMAGED)
        tensors |= held
    listing = "".join(f"{digest}  {name}\n" for name, digest in sorted(lines.items()))
    return tensors, hashlib.sha256(listing.encode()).hexdigest(), MAX_FILE_BYTES - left


def _content(path: Path, name: str, limit: int) -> bytes:
    try:
        return read_regular(path, limit, follow=False)[0]
    except ValueError as error:
        raise Refusal(f"{shown(name)} {error}", "give the files as they were written") from error
    except OSError as error:
        problem = f"names {shown(name)}, which cannot be read ({error.strerror or error})"
        raise Refusal(problem, "put all files beside the index") from error


def _weight_map(content: bytes) -> dict[str, str]:
    try:
        found = json.loads(content)["weight_map"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise Refusal("is no index of weights (it has no weight_map)", DAMAGED) from error
    if not isinstance(found, dict) or not all(isinstance(file, str) for file in found.values()):
        raise Refusal("is no index of weights (its weight_map names no files)", DAMAGED)
    check_count(len(found))
    for file in set(found.values()):
        if not file.isprintable() or Path(file).name != file or file in ("", ".", ".."):
            raise Refusal(f"names a file elsewhere ({shown(file)})", "put all files beside the index")
    if len(set(found.values())) > min(MAX_SHARDS, MAX_TENSORS):
        raise Refusal(f"names more than {MAX_SHARDS} files", "save the weights as one file")
    return dict(found)
