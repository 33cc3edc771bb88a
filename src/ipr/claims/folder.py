"""The folder that a claim is stored in: what may lie there, how much of it is read, and how it is written.

A claim comes from somebody whom a judge has no reason to trust. Nothing in it is executed; links, devices and pipes are
not followed; sizes are bounded before anything is read; and what is read is checked before anything is made of it.
"""

from __future__ import annotations

import json
import math
import os
import shutil
import stat
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from ipr.errors import InputError
from ipr.files import aside_of, write_atomically

SCHEMA_VERSION = 5
"""Of `claim.json` of a claim that records how its images are read."""

WITHOUT_IMAGES = 4
"""Of a claim with an origin that does not."""

WITHOUT_ORIGIN = 3
"""Of a claim with neither. It is written as it always was, so that its fingerprint stays and its commitment opens.
Version 2 had neither an owner nor a binding, and is read as what it would be in version 3.
"""

FACTS, SECRETS = "claim.json", "secrets.safetensors"

FACTS_LIMIT, SECRETS_LIMIT = 2**20, 2**30
"""Bytes of the two files at most: 1 MiB and 1 GiB."""

DEPTH_LIMIT = 8
"""Lists and mappings inside one another in a JSON file; a claim's own go to three."""

TYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.int8, torch.uint8, torch.int64)
"""What tensors of a claim can be made of."""

REMEDY = "restore it from your copy; it cannot be made again from the weights"


def read_parts(folder: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The parts of a stored claim: each is sound by itself, and nothing is made of them yet.

    Raises:
        InputError: it is not there, cannot be read, is damaged, too large, or of another version.
    """
    for place in (folder, folder / FACTS, folder / SECRETS):
        check_place(folder, place, directory=place is folder)
    facts = _read_facts(folder)
    return facts, _read_secrets(folder)


def check_place(claim: Path, place: Path, *, directory: bool) -> None:
    """Refuses what is neither a folder nor a regular file, as is asked; looks and does not open.

    Raises:
        InputError: it is not there, or is a link, a pipe, a device, or the other of the two.
    """
    wanted = "folder" if directory else "regular file"
    try:
        mode = place.lstat().st_mode
    except OSError as error:
        problem = f"cannot be read ({place.name}: {error.strerror})"
        raise InputError("claim", claim, problem, _where(claim)) from error
    except ValueError as error:  # a path with a zero byte
        raise InputError("claim", claim, f"cannot be read ({error})", "give a claim's folder") from error
    if not (stat.S_ISDIR(mode) if directory else stat.S_ISREG(mode)):
        kind = "a link" if stat.S_ISLNK(mode) else f"no {wanted}"
        raise InputError("claim", claim, f"{place.name} is {kind}", f"give the claim's own {wanted}")


def _where(claim: Path) -> str:
    """What to do where a claim is not: it may be asked for in the wrong place, or be lost."""
    inside = claim / "claim"
    with suppress(OSError):
        if not (claim / FACTS).exists() and (inside / FACTS).exists():
            return f"give {inside}"
        if not any((claim / name).exists() for name in (FACTS, SECRETS)):
            return "give the folder of a claim, such as runs/train/KEY/claim"
    return REMEDY


def read_beside(claim: Path, name: str, limit: int, remedy: str = REMEDY) -> bytes | None:
    """What a file in a claim's folder holds; None where there is none.

    Args:
        claim: the folder.
        name: of the file.
        limit: bytes that it may have.
        remedy: what to do where it cannot be read.

    Raises:
        InputError: it cannot be read, is no regular file, or is larger.
    """
    path = claim / name
    if not os.path.lexists(path):
        return None
    check_place(claim, path, directory=False)
    try:
        with path.open("rb") as file:
            content = file.read(limit + 1)
    except OSError as error:
        raise InputError("claim", claim, f"cannot be read ({name}: {error.strerror})", remedy) from error
    if len(content) > limit:
        raise InputError("claim", claim, f"{name} is larger than {limit} bytes", remedy)
    return content


def read_json(claim: Path, name: str, limit: int) -> dict[str, Any] | None:
    """A mapping from a JSON file in a claim's folder, read strictly (`strict_json`); None where there is none.

    Raises:
        InputError: as of `read_beside`, or it is damaged.
    """
    content = read_beside(claim, name, limit)
    if content is None:
        return None
    try:
        found = strict_json(content)
    except ValueError as error:
        raise InputError("claim", claim, f"is damaged ({name}: {error})", REMEDY) from error
    if not isinstance(found, dict):
        raise InputError("claim", claim, f"is damaged ({name} is no mapping)", REMEDY)
    return found


def strict_json(content: bytes) -> Any:
    """What a JSON text says, where it says it plainly.

    Raises:
        ValueError: it is no JSON in UTF-8, says a key twice, holds a number that is not finite or a character that
            cannot be seen (it could steer a terminal), or is nested deeper than `DEPTH_LIMIT`.
    """

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            raise ValueError("a key is given twice")
        return found

    def finite(text: str) -> float:
        if not math.isfinite(number := float(text)):
            raise ValueError("a number is not finite")
        return number

    def never(text: str) -> NoReturn:
        raise ValueError("a number is not finite")

    try:
        found = json.loads(content.decode(), object_pairs_hook=once, parse_float=finite, parse_constant=never)
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error
    for depth, text in _texts(found, 0):
        if depth > DEPTH_LIMIT:
            raise ValueError("it is nested too deep")
        if not text.isprintable():
            raise ValueError("a character cannot be seen")
    return found


def _texts(value: Any, depth: int) -> Iterator[tuple[int, str]]:
    """Every text in a JSON value, keys included, and "" for what is no text, with its depth."""
    inner = [*value, *value.values()] if isinstance(value, dict) else value if isinstance(value, list) else []
    yield depth, value if isinstance(value, str) else ""
    for part in inner:
        yield from _texts(part, depth + 1)


def _read_facts(folder: Path) -> dict[str, Any]:
    facts = read_json(folder, FACTS, FACTS_LIMIT) or {}
    version = facts.get("schema_version")
    if type(version) is not int:
        raise InputError("claim", folder, f"is damaged ({FACTS} has no schema version)", REMEDY)
    if version == 2:
        new = {"owner": ""} | ({"binding": None} if facts.get("kind") == "passport" else {})
        return new | facts | {"schema_version": WITHOUT_ORIGIN}
    if version not in (WITHOUT_ORIGIN, WITHOUT_IMAGES, SCHEMA_VERSION):
        remedy = "read it with the version of ipr that wrote it"
        raise InputError("claim", folder, f"has schema version {version}, not 2 to {SCHEMA_VERSION}", remedy)
    return facts


def _read_secrets(folder: Path) -> dict[str, Tensor]:
    path = folder / SECRETS
    if (size := path.stat().st_size) > SECRETS_LIMIT:
        raise InputError("claim", folder, f"{SECRETS} has {size} bytes, more than {SECRETS_LIMIT}", REMEDY)
    try:
        tensors = load_file(path)
    except OSError as error:
        raise InputError("claim", folder, f"cannot be read ({SECRETS}: {error.strerror or error})", REMEDY) from error
    except (SafetensorError, KeyError, ValueError, RuntimeError, OverflowError) as error:  # all that a header can break
        raise InputError("claim", folder, f"is damaged ({SECRETS}: {error})", REMEDY) from error
    for name, tensor in tensors.items():
        if problem := "has no name" if not name.isprintable() else _problem(tensor):
            raise InputError("claim", folder, f"is damaged ({SECRETS}: {name!a} {problem})", REMEDY)
    return tensors


def _problem(tensor: Tensor) -> str | None:
    if tensor.dtype not in TYPES:
        return f"is made of {tensor.dtype}"
    if not tensor.numel():
        return "is empty"
    if tensor.is_floating_point() and not bool(tensor.isfinite().all()):
        return "holds numbers that are not finite"
    return None


def write_parts(folder: Path, facts: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """Writes a new claim aside and renames it into place, readable by its owner alone."""
    aside = aside_of(folder)
    aside.mkdir(mode=0o700, parents=True)
    try:
        write_facts(aside, facts)
        write_secrets(aside, tensors)
        aside.rename(folder)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise


def write_facts(folder: Path, facts: Mapping[str, Any]) -> None:
    """Writes `claim.json` alone."""
    write_atomically(folder / FACTS, json.dumps(facts, indent=2) + "\n", 0o600)


def write_secrets(folder: Path, tensors: Mapping[str, Tensor]) -> None:
    """Writes `secrets.safetensors` alone."""
    stored = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    write_atomically(folder / SECRETS, save(stored), 0o600)
