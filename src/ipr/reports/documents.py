"""Documents that a judge hands out: JSON that is the same for the same input, and never takes the place of another."""

from __future__ import annotations

import hashlib
import json
import math
import platform
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ipr.errors import InputError
from ipr.extras import own_version
from ipr.files import write_atomically


def write_document(
    facts: Mapping[str, Any], file: str, out: Path | None, below: Path, name: str
) -> tuple[Path, dict[str, Any]]:
    """Writes a document with the versions of the software and the time of writing, in a folder for its user alone
    (0700) where it has to be made.

    Args:
        facts: all else that it says.
        file: its name.
        out: its folder; None for one in `below`, which is called `name` and 12 digits of the SHA-256 of the document
            without its date.
        below: see `out`.
        name: see `out`.

    Returns:
        Where it is, and all that it says: with an older date where the same is there already, which is left as it is.

    Raises:
        InputError: another document is there, or the folder cannot be written.
    """
    facts = _stable({**facts, "versions": _versions()})
    path = (out or below / f"{name}-{hashlib.sha256(_text(facts).encode()).hexdigest()[:12]}") / file
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if path.exists():
            return path, _same(path, facts)
        dated = {"date": datetime.now(UTC).isoformat(timespec="seconds"), **facts}
        write_atomically(path, _text(dated))
    except OSError as error:
        remedy = "choose a folder that you can write to, and that has room"
        raise InputError("out", path.parent, f"cannot be written ({error.strerror or error})", remedy) from error
    return path, dated


def _stable(value: Any) -> Any:
    """Plain JSON values: floats to 12 significant digits, null for what is no finite number, lists for tuples."""
    if isinstance(value, float):
        return float(f"{value:.12g}") if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _stable(one) for key, one in value.items()}
    return [_stable(one) for one in value] if isinstance(value, list | tuple) else value


def _versions() -> dict[str, str]:
    """Of Python and of what computes the numbers."""
    others = {name: version(name) for name in ("torch", "torchvision")}
    return {"python": platform.python_version(), "ipr": own_version(), **others}


def _same(path: Path, facts: Mapping[str, Any]) -> dict[str, Any]:
    """The document that is there, if it differs from these facts by a date alone; InputError if not."""
    try:
        dated = {"date": json.loads(path.read_bytes())["date"], **facts}
        same = isinstance(dated["date"], str) and path.read_text(errors="replace") == _text(dated)
    except (ValueError, KeyError, TypeError, RecursionError):
        same = False
    if not same:
        raise InputError("out", path, "holds another document", "move it away or choose another folder")
    return dated


def _text(facts: Mapping[str, Any]) -> str:
    return json.dumps(facts, indent=2, allow_nan=False) + "\n"
