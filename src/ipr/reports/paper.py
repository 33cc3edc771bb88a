"""The paper's own numbers, found by what they are about."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ipr.studies.columns import LABELS
from ipr.studies.study import Paper


def paper_rows(paper: Paper, place: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The paper's rows for a place, as mappings: those that differ in no label that both have."""
    rows = [dict(zip(paper.columns, row, strict=True)) for row in paper.rows]
    return [r for r in rows if all(_same(r[name], place[name]) for name in r if name in LABELS and name in place)]


def _same(one_value: Any, other: Any) -> bool:
    if isinstance(one_value, int | float) and isinstance(other, int | float):
        return abs(one_value - other) < 1e-9
    return bool(one_value == other)


def paper_text(paper: Paper, place: Mapping[str, Any], column: str) -> str | None:
    """The one number that the paper has for a place, as printed; None where it has none, or several."""
    if column not in paper.columns:
        return None
    found = [row[column] for row in paper_rows(paper, place) if row[column] is not None]
    return str(found[0]) if len(found) == 1 else None
