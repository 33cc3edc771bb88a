"""What a row, a figure or a run is about, so that a page can be filtered by it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

FILTERS = ("scheme", "model", "dataset", "attack")
"""What a page can be filtered by."""

About = Mapping[str, frozenset[str]]
"""For each of `FILTERS` the values that something is about. It fits a choice that is among them, and no other."""

NO_ATTACK = "none"
"""The attack of what was trained and not attacked."""


def subject_of(facts: Iterable[Mapping[str, Any]]) -> dict[str, frozenset[str]]:
    """What things are about that say so under the names in `FILTERS`; what has no attack is about `NO_ATTACK`."""
    found: dict[str, set[str]] = {}
    for one in facts:
        for name in FILTERS:
            value = one.get(name) or (NO_ATTACK if name == "attack" else None)
            if value is not None:
                found.setdefault(name, set()).add(str(value))
    return {name: frozenset(values) for name, values in found.items()}


def subject_of_results(frame: pd.DataFrame) -> dict[str, frozenset[str]]:
    """The same of a frame of results, where NaN is nothing."""
    names = frame[list(FILTERS)].astype(object).where(frame[list(FILTERS)].notna(), None)
    rows = names.drop_duplicates().itertuples(index=False, name=None)
    return subject_of(dict(zip(FILTERS, row, strict=True)) for row in rows)
