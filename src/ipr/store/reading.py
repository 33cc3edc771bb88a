"""Files of studies and plans, which others may have written: data that fits a dataclass, and nothing else.

Nothing in them is resolved: what looks like an interpolation (`${...}`) is a text like any other.
"""

from __future__ import annotations

import json
import typing
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from ipr.errors import InputError
from ipr.files import read_regular
from ipr.texts import refuse_retyped, without_none

LARGEST = 2**24
"""Bytes of a file."""

MOST = 500_000
"""Values of a file; a name that stands for another's list (`*name`) counts as what it stands for."""


def read_as(path: Path, kind: type[Any], given: Mapping[str, Any], remedy: str, name: str | None = None) -> Any:
    """A YAML or JSON file as a dataclass; nothing in it is executed or resolved.

    Args:
        path: the file.
        kind: the dataclass.
        given: fields that the file does not give.
        remedy: what to do about a file that does not fit.
        name: what it is, in a word; by default the dataclass's name.

    Raises:
        InputError: it cannot be read, or does not fit.
    """
    try:
        text = read_regular(path, LARGEST)[0].decode()
        written = json.loads(text) if path.suffix == ".json" else yaml.safe_load(text)
        if not isinstance(written, dict):
            raise TypeError("no mapping of fields")
        refuse_retyped(kind, written, path.name)
        return Fitting().value(kind, {**written, **given}, "")
    except InputError:
        raise
    except (OSError, ValueError, TypeError, OverflowError, RecursionError, yaml.YAMLError) as error:
        why = "it is too deep" if isinstance(error, RecursionError) else _without_content(error)
        raise InputError(name or kind.__name__.lower(), path, f"cannot be read ({why})", remedy) from error


def _without_content(error: Exception) -> str:
    """Why a file cannot be read, without lines of it: it may be another file than was meant."""
    if isinstance(error, yaml.MarkedYAMLError):
        line = f" in line {error.problem_mark.line + 1}" if error.problem_mark else ""
        return f"{error.problem}{line}"
    return " ".join(str(error).split())


@cache
def _fields_of(kind: Any) -> tuple[Mapping[str, Any], Sequence[str]]:
    """The types of a dataclass's fields, and those that have no default."""
    hints = typing.get_type_hints(kind)
    own = {field.name: hints[field.name] for field in fields(kind)}
    return own, [f.name for f in fields(kind) if f.default is MISSING and f.default_factory is MISSING]


class Fitting:
    """Turns what a file holds into what a dataclass asks for; counts what it has seen."""

    def __init__(self) -> None:
        self.seen = 0

    def value(self, kind: Any, written: Any, where: str) -> Any:
        """What was written at some place, as the type that is wanted.

        Raises:
            TypeError: it does not fit; it names the place.
        """
        self.seen += 1
        if self.seen > MOST:
            raise TypeError(f"more than {MOST} values")
        kind, optional = without_none(kind)
        if written is None and optional:
            return None
        origin, arguments = typing.get_origin(kind), typing.get_args(kind)
        if isinstance(kind, type) and is_dataclass(kind):
            return self._dataclass(kind, written, where)
        if origin is list and isinstance(written, list):
            return [self.value(arguments[0], one, f"{where}[{n}]") for n, one in enumerate(written)]
        if origin is dict and isinstance(written, dict):
            return {
                self._key(key, where): self.value(arguments[1], one, f"{where}.{key}") for key, one in written.items()
            }
        if kind is Any:
            return self._anything(written, where)
        if isinstance(written, PLAIN.get(kind, ())) and isinstance(written, bool) == (kind is bool):
            return kind(written)
        raise TypeError(f"{where or 'the file'} is {_called(written)}, not {_named(kind)}")

    def _anything(self, written: Any, where: str) -> Any:
        if isinstance(written, list):
            return self.value(list[Any], written, where)
        if isinstance(written, dict):
            return self.value(dict[str, Any], written, where)
        if written is None or isinstance(written, str | bool | int | float):
            return written
        raise TypeError(f"{where} is {_called(written)}")

    def _key(self, key: Any, where: str) -> str:
        if not isinstance(key, str | bool | int | float):
            raise TypeError(f"{where} has a key that is {_called(key)}")
        return str(key)

    def _dataclass(self, kind: Any, written: Any, where: str) -> Any:
        if not isinstance(written, dict):
            raise TypeError(f"{where or 'the file'} is {_called(written)}, not fields")
        hints, needed = _fields_of(kind)
        prefix = f"{where}." if where else ""
        for key in written:
            if key not in hints:
                raise TypeError(f"there is no field {prefix}{key}")
        for name in needed:
            if name not in written:
                raise TypeError(f"{prefix}{name} is missing")
        return kind(**{key: self.value(hints[key], one, f"{prefix}{key}") for key, one in written.items()})


PLAIN: Mapping[Any, tuple[type, ...]] = {bool: (bool,), int: (int,), float: (int, float), str: (str,)}
"""Types -> those that a file may have instead of each; a truth value is no number."""


def _called(written: Any) -> str:
    return {type(None): "nothing", list: "a list", dict: "a mapping"}.get(type(written), f"a {type(written).__name__}")


def _named(kind: Any) -> str:
    return getattr(kind, "__name__", str(kind))
