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
from ipr.files import write_atomically


def stable(value: Any) -> Any:
    """Plain JSON values: floats to 12 significant digits, null for what is no finite number, lists for tuples."""
    if isinstance(value, float):
        return float(f"{value:.12g}") if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): stable(one) for key, one in value.items()}
    return [stable(one) for one in value] if isinstance(value, list | tuple) else value


def versions() -> dict[str, str]:
    """Of Python and of what computes the numbers."""
    return {"python": platform.python_version(), **{name: version(name) for name in ("ipr", "torch", "torchvision")}}


def content_name(facts: Mapping[str, Any]) -> str:
    """12 digits of the SHA-256 of a document without its date."""
    return hashlib.sha256(_text(facts, None).encode()).hexdigest()[:12]


def keep(path: Path, facts: Mapping[str, Any]) -> dict[str, Any]:
    """Writes a document with the time of writing, in a folder for its user alone (0700) where it has to be made.

    Args:
        path: the file.
        facts: all of it, as `stable` gives it, without a date.

    Returns:
        The document with its date: an older one where the same is there already, which is left as it is.

    Raises:
        InputError: another document is there, or the folder cannot be written.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if path.exists():
            return _same(path, facts)
        date = datetime.now(UTC).isoformat(timespec="seconds")
        write_atomically(path, _text(facts, date))
    except OSError as error:
        remedy = "choose a folder that you can write to, and that has room"
        raise InputError("out", path.parent, f"cannot be written ({error.strerror or error})", remedy) from error
    return {"date": date, **facts}


def _same(path: Path, facts: Mapping[str, Any]) -> dict[str, Any]:
    try:
        there = json.loads(path.read_bytes())
        date = there["date"]
    except (ValueError, KeyError, TypeError, RecursionError):
        there, date = {}, None
    if not isinstance(date, str) or path.read_text(errors="replace") != _text(facts, date):
        raise InputError("out", path, "holds another document", "move it away or choose another folder")
    return {"date": date, **facts}


def _text(facts: Mapping[str, Any], date: str | None) -> str:
    dated = {"date": date, **facts} if date is not None else facts
    return json.dumps(dated, indent=2, allow_nan=False) + "\n"
