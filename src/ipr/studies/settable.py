"""What a study or a scale may set: keys of a training, an attack or an exhibit, and none of Hydra's own."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import Any

from ipr.config import schema as schema
from ipr.config.recipe import Recipe
from ipr.errors import InputError

GROUPS: Mapping[str, type[Any]] = {
    "model": schema.ModelConfig,
    "passport": schema.PassportConfig,
    "trigger_set": schema.TriggerSetConfig,
    "dataset": schema.DatasetConfig,
    "transfer": schema.DatasetConfig,
    "optimizer": Recipe,
    "trainer": schema.TrainerConfig,
    "verification": schema.VerificationConfig,
}
"""Groups -> their fields; not `paths` and `logger`, which say where things go."""

OPEN = ("scheme", "attack", "rival", "exhibit")
"""Groups whose fields stand with each choice; see `check_open`, which needs them."""

ALONE = ("seed", "owner", "tags", "attack_seed", "attack_epochs", "skip_inapplicable", "init")
"""Keys of no group; and `init`, which may not name a file of one machine."""

CHOICES = (*GROUPS, "scheme", "attack", "exhibit", "dataset@transfer", "attack@rival")
"""Groups in which something may be chosen."""

SECRET = ("passport.key",)
"""Keys that nobody may read in a file."""

NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
"""How a choice is called: no path, no other package."""

FIELD = re.compile(r"[a-z][a-z0-9_]*")

REMEDY = "set keys of a training, an attack or an exhibit, e.g. scheme.layers; all others belong to the command line"


def check_set(where: str, values: Mapping[str, Any]) -> None:
    """Refuses keys and values that are more than settings.

    Args:
        where: what sets them, e.g. `mine sweeps`.
        values: dotted keys -> values.

    Raises:
        InputError: a key is no key of the schema, or secret; a value is no plain value, or would be resolved.
    """
    for key, value in values.items():
        if key in SECRET:
            raise InputError(where, key, "is secret, and a file is no place for it", "give it on the command line")
        if not _is_known(key):
            raise InputError(where, key, "is no key that can be set here", REMEDY)
        if key == "init" and value not in (None, "baseline"):
            raise InputError(where, key, f"is set to {value}, a file of one machine", "write baseline, or null")
        for one in _plain(value):
            if isinstance(one, str) and "${" in one:
                raise InputError(where, key, "is set to what would be resolved (${)", "write the value itself")
            if not (one is None or isinstance(one, str | bool | int | float)):
                raise InputError(
                    where, key, f"is set to a {type(one).__name__}", "write one value, or a list of values"
                )


def check_choices(where: str, choices: Mapping[str, Any]) -> None:
    """Refuses choices, by their groups, that are no names of one of our own files.

    Raises:
        InputError: a group is none of ours, or a choice is more than a name; it says where.
    """
    for group, choice in choices.items():
        if group not in CHOICES:
            raise InputError(where, group, "is no group to choose in", f"choose in {', '.join(CHOICES)}")
        if not (isinstance(choice, str) and NAME.fullmatch(choice)):
            raise InputError(
                where, f"{group}={choice}", "is no name", "write a choice as `ipr train --help` lists them"
            )


def check_open(values: Mapping[str, Any], chosen: Mapping[str, type[Any] | None]) -> None:
    """Refuses keys that a scheme, an attack or an exhibit does not have.

    Args:
        values: dotted keys -> values.
        chosen: each of `OPEN` -> the dataclass of its choice; None where nothing is chosen.

    Raises:
        InputError: naming the first.
    """
    for key in values:
        group, _, name = key.partition(".")
        if group not in OPEN:
            continue
        kind = chosen[group]
        known = sorted(_fields(kind) - {"name"}) if kind is not None else []
        if name not in known:
            remedy = f"known here: {', '.join(known)}" if known else "leave it out"
            raise InputError("cell", key, f"is no key of {getattr(kind, '__name__', 'this cell')}", remedy)


def _is_known(key: Any) -> bool:
    if not isinstance(key, str):
        return False
    group, dot, name = key.partition(".")
    if not dot:
        return key in ALONE
    if group in OPEN:
        return FIELD.fullmatch(name) is not None
    return group in GROUPS and name in _fields(GROUPS[group])


def _fields(kind: type[Any]) -> set[str]:
    """Of a dataclass and of those that add to it."""
    own = {field.name for field in fields(kind)}
    return own.union(*(_fields(more) for more in kind.__subclasses__()))


def _plain(value: Any) -> Iterator[Any]:
    if not isinstance(value, list | tuple):
        yield value
        return
    for one in value:
        yield from _plain(one)
