"""Choosing results, and the paper's own numbers, by what they are about: what tables, figures and statements share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import pandas as pd

from ipr.config.registry import entries
from ipr.studies.columns import LABELS
from ipr.studies.study import Paper

ORDER: Mapping[str, Sequence[str]] = {
    "scheme": tuple(entries("scheme")),
    "model": ("alexnet", "resnet18", "resnet50"),
    "dataset": ("cifar10", "cifar100", "caltech101"),
    "transfer": ("cifar10", "cifar100", "caltech101"),
    "norm": ("bn", "gn"),
    "whose": ("genuine", "forged"),
    "phase": ("training", "inference"),
}
"""Labels that have an order of their own; others are sorted."""

Key = tuple[Any, ...]


def chosen(frame: pd.DataFrame, where: Mapping[str, Any]) -> pd.DataFrame:
    """The results that a condition names.

    Args:
        frame: of results.
        where: column -> a value, a list of values, None for none, or bounds `{at_least: 0.5, at_most: 0.9}`.
    """
    kept = pd.Series(True, index=frame.index)
    for column, wanted in where.items():
        values = frame[column]
        if isinstance(wanted, Mapping):
            numbers = values.astype(float)
            kept &= numbers.ge(wanted.get("at_least", float("-inf")) - 1e-9)
            kept &= numbers.le(wanted.get("at_most", float("inf")) + 1e-9)
        elif isinstance(wanted, list):
            kept &= values.isin([w for w in wanted if w is not None]) | (values.isna() if None in wanted else False)
        elif wanted is None:
            kept &= values.isna()
        else:
            kept &= values.eq(wanted)
    return frame[kept]


def grouped(frame: pd.DataFrame, columns: Sequence[str]) -> list[tuple[Key, pd.DataFrame]]:
    """The results by the values of columns, None for none, in an order that a reader expects."""
    if not columns:
        return [((), frame)]
    groups: dict[Key, list[Any]] = {}
    labels = frame[list(columns)].astype(object).where(frame[list(columns)].notna(), None)
    for index, key in zip(frame.index, labels.itertuples(index=False, name=None), strict=True):
        groups.setdefault(key, []).append(index)

    def place(key: Key) -> list[tuple[int, Any]]:
        return [rank(column, value) for column, value in zip(columns, key, strict=True)]

    return [(key, frame.loc[groups[key]]) for key in sorted(groups, key=place)]


def rank(column: str, value: Any) -> tuple[int, Any]:
    """What labels are sorted by: none, those of `ORDER`, then numbers, then names; also of other packages."""
    order = list(ORDER.get(column, ()))
    if value is None:
        return -1, ""  # an own task before others
    if value in order:
        return order.index(value), ""
    return len(order), (0, value, "") if isinstance(value, int | float) else (1, 0, str(value))


def attacks_in(names: Iterable[str]) -> list[str]:
    """Attacks, each once, in the order in which a reader meets them; those of other packages last."""
    known = list(entries("attack"))
    return sorted(set(names), key=lambda name: (known.index(name) if name in known else len(known), name))


def baseline_of(frame: pd.DataFrame, same: Sequence[str], value: str, plain: pd.Series) -> pd.Series:
    """For each row the value of the baseline that agrees with it in some columns; NaN where there is none.

    Args:
        frame: of results, or of records.
        same: what a row and its baseline have in common; none counts as a value.
        value: the column.
        plain: which rows are baselines; of several alike the first counts.
    """
    keys = pd.MultiIndex.from_frame(frame[list(same)].astype(object).where(frame[list(same)].notna(), None))
    known: dict[Any, float] = {}
    for key, found in zip(keys[plain], frame.loc[plain, value], strict=True):
        known.setdefault(key, found)
    return pd.Series([known.get(key) for key in keys], index=frame.index, dtype=float)


def with_energy(frame: pd.DataFrame, columns: Sequence[str]) -> list[str]:
    """The columns, and the passports' energy where the results hold more than one."""
    several = frame["energy"].nunique() > 1
    return [*columns, "energy"] if several and "energy" not in columns else list(columns)


def with_norm(frame: pd.DataFrame, columns: Sequence[str], others: Iterable[str] = ()) -> list[str]:
    """The columns, and the norm where one of their values has results of several, so that these are not averaged.

    Args:
        frame: of results.
        columns: what tells groups apart.
        others: what tells them apart besides; where the norm is among them it is told already.
    """
    if "norm" in {*columns, *others} or "norm" not in frame or frame.empty:
        return list(columns)
    several = frame.groupby(list(columns), dropna=False)["norm"].nunique().max() > 1
    return [*columns, "norm"] if several else list(columns)


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
