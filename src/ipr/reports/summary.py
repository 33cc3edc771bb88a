"""Records to one row per setting: means and spread over seeds, and the difference to the baseline."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

import pandas as pd

from ipr.config.registry import entries
from ipr.store.record import Record, cut_of

SETTING = [
    *("dataset", "train_images", "test_images", "model", "width"),
    *("optimizer", "epochs", "precision", "memory_format", "compile", "cut"),
]
"""What one table holds fixed."""

ROW = ["norm", "scheme", "passport", "energy", "alternation"]
"""What tells its rows apart; seeds are averaged over."""


def setting_of(record: Record) -> tuple[Any, ...]:
    """What a run shares with the baseline that it is compared with."""
    row = asdict(record) | {"cut": cut_of(record.tags)}
    return tuple(row[name] for name in [*SETTING, "norm", "seed"])


def records_frame(records: Iterable[Record]) -> pd.DataFrame:
    """Records as a table, with `cut` (`runs.record.cut_of`), `accuracy_used` (what a legitimate user gets) and `gain`,
    its difference to the baseline of the same setting, norm and seed (as a fraction; NaN where that baseline is not
    among the records).
    """
    frame = pd.DataFrame([asdict(record) | {"cut": cut_of(record.tags)} for record in records])
    if frame.empty:
        return frame
    used = frame["accuracy_without"].where(frame["scheme"] != "passport_v1", frame["accuracy_genuine"])
    frame["accuracy_used"] = used.astype(float)
    same = [*SETTING, "norm", "seed"]
    baselines = frame[frame["scheme"] == "baseline"].drop_duplicates(same).set_index(same)["accuracy_used"]
    wanted = pd.MultiIndex.from_frame(frame[same])
    frame["gain"] = frame["accuracy_used"].to_numpy() - baselines.reindex(wanted).to_numpy()
    return frame


def tables(frame: pd.DataFrame) -> list[tuple[dict[str, Any], pd.DataFrame]]:
    """One table per setting: the setting, and its rows with the records of each."""
    return [
        (dict(zip(SETTING, keys, strict=True)), part) for keys, part in frame.groupby(SETTING, dropna=False, sort=True)
    ]


def rows(part: pd.DataFrame) -> list[tuple[dict[str, Any], pd.DataFrame]]:
    """The rows of a table: batch norm before group norm, the baseline before its schemes, those in their own order."""
    found = [
        ({k: None if v != v else v for k, v in zip(ROW, keys, strict=True)}, seeds)
        for keys, seeds in part.groupby(ROW, dropna=False, sort=True)
    ]
    return sorted(found, key=lambda row: (row[0]["norm"], place_of(row[0]["scheme"], entries("scheme"))))


def mean_and_spread(values: Sequence[float] | pd.Series, digits: int = 1, signed: bool = False) -> str:
    """Fractions as a percentage: mean and, from two values on, sample standard deviation; a dash for none."""
    numbers = pd.Series(values, dtype=float).dropna() * 100
    if numbers.empty:
        return "-"
    mean = f"{numbers.mean():{'+' if signed else ''}.{digits}f}"
    return mean if len(numbers) < 2 else f"{mean} ± {numbers.std():.{digits}f}"


def ordered(names: Iterable[str], known: Iterable[str]) -> list[str]:
    """Names in the order of those known; behind them, sorted, what a package that is no longer here has brought."""
    order = list(known)
    return sorted(names, key=lambda name: (place_of(name, order), name))


def place_of(name: str, known: Iterable[str]) -> int:
    """Where a name stands among those known; behind them all where a record of somebody else has another."""
    order = list(known)
    return order.index(name) if name in order else len(order)
