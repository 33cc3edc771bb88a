"""A stranger's JSON as a flat dataclass: each name once, numbers in their ranges, harmless texts."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable
from dataclasses import fields
from pathlib import Path
from typing import Any, TypeVar

from ipr.errors import InputError
from ipr.files import read_regular
from ipr.store.reading import Fitting
from ipr.suspects.checks import shown

ANEW = "write the entry anew: python docs/leaderboard.py add NAME RUN"

SAFE = re.compile(r"(?:(?!//|www\.)[A-Za-z0-9 _.,:;+()@=%/-]){0,200}", re.IGNORECASE)
"""Texts that mean nothing in Markdown, HTML or YAML where they stand in quotes, and that nothing makes a link of."""

SHARES = ("accuracy", "trigger_accuracy", "fidelity_threshold", "p_value", "dissimilarity")
"""How names of numbers begin that are fractions, in [0, 1]."""

RANGES = {"p_value_log10": (-1e9, 0.0), "correlation": (-1.0, 1.0), "width": (1e-3, 16.0), "energy": (0.0, 1e9)}
RANGES |= {"seed": (-(2.0**63), 2.0**63), "attack_seed": (-(2.0**63), 2.0**63), "step_energy": (0.0, 1e9)}
"""Other numbers: the smallest and the largest."""

USUAL = (0.0, 1e12)
"""Of all that are named nowhere: counts and seconds."""

Kind = TypeVar("Kind")

Renew = Callable[[dict[str, Any]], dict[str, Any]]


def refused(path: Path, problem: str, remedy: str = ANEW) -> InputError:
    """The error of an entry: it names the entry and the file in it, never where that lies on this machine."""
    return InputError("entry", f"{path.parent.name}/{path.name}", problem, remedy)


def content(path: Path, limit: int) -> bytes:
    """All bytes of a file of an entry, which is no link and not too large.

    Raises:
        InputError: it cannot be read, or is none such.
    """
    try:
        return read_regular(path, limit, follow=False)[0]
    except OSError as error:
        raise refused(path, f"cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise refused(
            path, str(error), "give a plain file below that, e.g. of a network with model.width=0.25"
        ) from error


def read_lines(path: Path, kind: type[Kind], limit: int, renew: Renew) -> list[Kind]:
    """The rows of a file of JSON lines, as `read_one` reads each.

    Args:
        path: the file.
        kind: what each line is.
        limit: bytes of the file.
        renew: see `read_one`.

    Raises:
        InputError: one does not fit; its number is named.
    """
    lines = _text(path, limit).splitlines()
    return [_fitted(line, kind, path, f"line {number}: ", renew) for number, line in enumerate(lines, 1)]


def read_one(path: Path, kind: type[Kind], limit: int, renew: Renew = lambda row: row) -> Kind:
    """A file that holds one flat object.

    Args:
        path: the file.
        kind: a dataclass of texts, numbers, truth values, None, and lists of them, all of whose fields must be there.
        limit: bytes of the file.
        renew: makes fields of an earlier version those of this one, so that an entry outlasts a new version.

    Raises:
        InputError: it is no JSON, has a name twice, other names, other types, numbers out of range, or odd characters.
    """
    return _fitted(_text(path, limit), kind, path, "", renew)


def _text(path: Path, limit: int) -> str:
    try:
        return content(path, limit).decode()
    except UnicodeDecodeError as error:
        raise refused(path, "is no text") from error


def _fitted(text: str, kind: type[Kind], path: Path, where: str, renew: Renew) -> Kind:
    try:
        row = json.loads(text, object_pairs_hook=_once, parse_constant=_no_number)
        if not isinstance(row, dict):
            raise TypeError("holds no fields")
        if type(row.get("schema_version")) is not int:
            raise TypeError("schema_version is missing, or no whole number")
        row = renew(row)
        missing = [one.name for one in fields(kind) if one.name not in row]  # type: ignore[arg-type]
        if missing:
            raise TypeError(f"{missing[0]} is missing")
        made: Kind = Fitting().value(kind, row, "")
        for name, value in vars(made).items():
            _check(name, value)
    except KeyError as error:
        raise refused(path, f"{where}{shown(str(error))} is missing") from error
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        why = "is too deep" if isinstance(error, RecursionError) else shown(str(error), 200)
        raise refused(path, f"{where}{why}") from error
    return made


def _once(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"{shown(name)} is there twice")
        found[name] = value
    return found


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is no number")


def _check(name: str, value: Any) -> None:
    """Raises ValueError where a text or a number may not stand in an entry."""
    if isinstance(value, list):
        for one in value:
            _check(name, one)
    elif isinstance(value, str) and not SAFE.fullmatch(value):
        raise ValueError(f"{name}={shown(ascii(value))} has other signs than A-Z a-z 0-9 _.,:;+()@=%/-, or is too long")
    elif isinstance(value, int | float) and not isinstance(value, bool):
        least, most = range_of(name)
        if not (math.isfinite(value) and least <= value <= most):
            raise ValueError(f"{name}={value:.12g} is no number from {least:g} to {most:g}")


def range_of(name: str) -> tuple[float, float]:
    """The smallest and the largest number that may stand under a name."""
    if name in RANGES:
        return RANGES[name]
    return (0.0, 1.0) if name.startswith(SHARES) else USUAL
