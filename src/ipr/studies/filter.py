"""Which runs a command is about: what people write behind `ipr list` and `ipr report`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ipr.config.registry import entries
from ipr.errors import InputError
from ipr.studies.config import CHOSEN_BY, FilterConfig
from ipr.terminal.spelling import choose_among


def chosen(where: FilterConfig) -> dict[str, list[str]]:
    """Column -> the values that are asked for; columns of which nothing is asked are left out.

    Raises:
        InputError: a scheme that there is not is asked for.
    """
    values_of("scheme", where.scheme, [*entries("scheme")])
    values_of("norm", where.norm, ("bn", "gn"))
    asked = {name: getattr(where, name) for name in CHOSEN_BY}
    return {name: between_commas(value) for name, value in asked.items() if value is not None}


def matches(facts: Mapping[str, Any], wanted: Mapping[str, Sequence[str]]) -> bool:
    """Whether facts agree with all that is wanted: each with one of its values."""
    return all(_is_one(facts.get(name), values) for name, values in wanted.items())


def values_of(field: str, asked: str | None, known: Sequence[str]) -> list[str]:
    """The values that are asked for, with commas between; [] for None.

    Raises:
        InputError: one is unknown.
    """
    values = between_commas(asked) if asked is not None else []
    for value in values:
        if value not in known:
            raise InputError(field, value, "is unknown", choose_among(value, known))
    return values


def between_commas(text: str) -> list[str]:
    """What stands between the commas of a text."""
    return [one.strip() for one in text.split(",")]


def _is_one(fact: Any, values: Sequence[str]) -> bool:
    if fact is None:
        return "null" in values
    if isinstance(fact, int | float) and not isinstance(fact, bool):
        return any(_as_number(value) == fact for value in values)
    return str(fact) in values


def _as_number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
