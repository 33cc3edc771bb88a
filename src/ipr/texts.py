"""Texts: which fields of a schema hold one, that nothing else is taken for one, and how one is shown or names a file.

YAML and Hydra read `1.10` as a number and `no` as a truth value before any schema is asked. A field of type `str` then
gets the text of the number, 1.1, and nobody is told. Nothing here reads such a value: it says where a text belongs.
"""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections.abc import Iterator, Mapping
from functools import cache
from types import NoneType, UnionType
from typing import Any, ClassVar, Union, get_args, get_origin, get_type_hints

from ipr.errors import InputError

QUOTED = re.compile(r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"", re.DOTALL)
"""A text in the quotes of Hydra's grammar."""

SECRETIVE = re.compile(r"passport|key|signature|secret|token|password", re.IGNORECASE)
"""What somebody may call a secret who does not find the right key."""

LONGEST_NAME = 200
"""Bytes of a text that names a file; file systems take 255, and endings and numbers are added."""


def without_none(hint: Any) -> tuple[Any, bool]:
    """A type without None, and whether None was among it: `str | None` gives `str, True`."""
    if get_origin(hint) not in (Union, UnionType):
        return hint, False
    others = [one for one in get_args(hint) if one is not NoneType]
    return (others[0] if len(others) == 1 else hint), len(others) < len(get_args(hint))


def types_at(kind: Any, path: str) -> list[Any]:
    """The types that a dotted path may have in a schema: several where a group has several, as `scheme` does.

    Args:
        kind: the dataclass at the root.
        path: `scheme.signature`; "" for the root itself.

    Returns:
        One for each dataclass that has the path, None taken from it; [] where there is none.
    """
    kinds = [kind]
    for name in path.split(".") if path else []:
        found = [fields[name] for fields in map(_fields, kinds) if name in fields]
        kinds = list(dict.fromkeys(type_ for one in found for type_ in _with_kinds(one)))
    return kinds


def _with_kinds(hint: Any) -> Iterator[Any]:
    bare, _ = without_none(hint)
    if not (isinstance(bare, type) and dataclasses.is_dataclass(bare)):
        yield hint
        return
    yield bare
    for kind in bare.__subclasses__():
        yield from _with_kinds(kind)


@cache
def _fields(kind: Any) -> Mapping[str, Any]:
    if not (isinstance(kind, type) and dataclasses.is_dataclass(kind)):
        return {}
    hints = get_type_hints(kind)
    return {f.name: hints[f.name] for f in dataclasses.fields(kind) if get_origin(hints[f.name]) is not ClassVar}


def refuse_retyped(hint: Any, value: Any, place: str) -> None:
    """Refuses a number or a truth value where a type wants a text; what else is wrong is for others to find.

    Args:
        hint: the type: of a text, or what texts may be in: lists, mappings and dataclasses, one in the other.
        value: what was read.
        place: where from, to be told.

    Raises:
        InputError: naming the place.
    """
    hint, _ = without_none(hint)
    inner = get_args(hint)
    if hint is str:
        if isinstance(value, bool | int | float) or not isinstance(value, str | NoneType | list | dict):
            problem = f"a text belongs here, and this was read as {_called(value)}, which may not be what was written"
            raise InputError(place, "<hidden>" if SECRETIVE.search(place) else value, problem, "write it in quotes")
        if isinstance(value, str) and "\0" in value:
            raise InputError(place, "<text>", "holds the character 0, which no file's name can", "leave it out")
    elif isinstance(value, list) and get_origin(hint) is list and inner:
        for number, one in enumerate(value):
            refuse_retyped(inner[0], one, f"{place}[{number}]")
    elif isinstance(value, Mapping):
        for name, one in value.items():
            below = f"{place}.{name}" if place else str(name)
            if get_origin(hint) is dict and len(inner) == 2:
                refuse_retyped(inner[1], one, below)
            elif dataclasses.is_dataclass(hint):
                for type_ in _types_in(hint, str(name)):
                    refuse_retyped(type_, one, below)


def _types_in(kind: Any, name: str) -> list[Any]:
    """The types of a field in a dataclass and in those that are kinds of it."""
    return list(dict.fromkeys(type_ for one in _with_kinds(kind) for type_ in types_at(one, name)))


def _called(value: Any) -> str:
    return {bool: "a truth value", int: "a number", float: "a number"}.get(type(value), f"a {type(value).__name__}")


def printable(text: str, lines: bool = False) -> str:
    """A text that steers no terminal: whatever is neither visible nor a space becomes one; ends of `lines` may stay."""
    return "".join(c if c.isprintable() or (lines and c == "\n") else " " for c in text)


def written(value: Any) -> str:
    """A value as it would be typed: null, true, [a,b], or a text without quotes."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    return f"[{','.join(map(written, value))}]" if isinstance(value, list) else str(value)


def file_name(text: str) -> str:
    """A text as the name of one file or folder: itself where it can be, else what is left of it and a digest.

    Letters of any script, digits, blanks and `._-+=,@` stay, unless the first is a dot or a hyphen.
    """
    safe = re.sub(r"[^\w .+=,@-]+", "_", text).strip()
    safe = re.sub(r"^[.-]+", "_", safe)
    while len(safe.encode()) > LONGEST_NAME:
        safe = safe[:-1]
    if safe == text and safe:
        return safe
    return f"{safe or '_'}-{hashlib.sha256(text.encode(errors='surrogateescape')).hexdigest()[:8]}"


def check_name(field: str, value: str) -> None:
    """Refuses a text that is to name a file and cannot, or would name one elsewhere.

    Raises:
        InputError: it is empty, too long, begins with a dot or a hyphen, or holds a slash or what cannot be printed.
    """
    length = len(value.encode(errors="surrogateescape"))
    if not value or length > LONGEST_NAME or value[0] in ".-" or not value.isprintable() or {*"/\\"} & {*value}:
        shown = value if length <= LONGEST_NAME else f"<{len(value)} characters>"
        problem = f"cannot name a file: it is empty, longer than {LONGEST_NAME} bytes, or holds what a name must not"
        raise InputError(field, shown, problem, "use letters, digits, hyphens and underscores")


def unquoted(value: str) -> str:
    """What is between a user's quotes, as Hydra reads it."""
    mark = value[0]
    return re.sub(rf"(\\+)({mark}|\Z)", lambda found: "\\" * (len(found[1]) // 2) + found[2], value[1:-1])
