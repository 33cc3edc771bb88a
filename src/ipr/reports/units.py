"""How a measured column, and a label, is written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pandas as pd

from ipr.judging.binomial import lower_limit, upper_limit

PLAIN = {
    "seconds": 1,
    "iterations": 0,
    "bits": 0,
    "chance": 0,
    "ratio": 3,
    "seconds_per_1000": 2,
    "distance": 3,
    "mean": 3,
    "std": 3,
    "gamma": 4,
    "change": 3,
    "value": 3,
    "index": 0,
}
"""Columns that are not fractions, with their digits; all others are written in %, with one."""

POINTS = {"gain", "lost", "lost_without"}
"""Columns that are differences of accuracies, and are written in points."""

NAMES = {
    "passport_v1": "V1",
    "passport_v2": "V2",
    "passport_v3": "V3",
    "alexnet": "AlexNet",
    "resnet18": "ResNet-18",
    "resnet50": "ResNet-50",
    "cifar10": "CIFAR-10",
    "cifar100": "CIFAR-100",
    "caltech101": "Caltech-101",
    "trigger_set": "trigger set",
    "uchida": "Uchida",
}
"""How a label is written for a reader."""


def mean_and_spread(values: Sequence[float] | pd.Series, digits: int = 1, factor: float = 100, sign: str = "") -> str:
    """Mean and, from two values on, sample standard deviation; "" for none.

    Args:
        values: the numbers; NaN and None are none.
        digits: after the point.
        factor: 100 writes fractions in %.
        sign: `+` shows that of a positive mean, too.
    """
    numbers = pd.Series(values, dtype=float).dropna()
    if numbers.empty:
        return ""
    mean = f"{factor * numbers.mean():{sign}.{digits}f}"
    return mean if len(numbers) < 2 else f"{mean} ± {factor * numbers.std():.{digits}f}"


def written(values: Sequence[float] | pd.Series, column: str) -> str:
    """The mean and spread of a measured column in its unit."""
    return mean_and_spread(values, PLAIN[column], 1) if column in PLAIN else mean_and_spread(values)


def counted(successes: int, trials: int, risk: float = 0.05) -> str:
    """How many of so many, with the exact two-sided interval of the rate (Clopper and Pearson), in %.

    Args:
        successes: at most `trials`.
        trials: at least 1.
        risk: that the interval misses the rate.
    """
    low, high = (limit(successes, trials, risk / 2) for limit in (lower_limit, upper_limit))
    return f"{successes} of {trials} ({100 * low:.1f} to {100 * high:.1f} %)"


def one(value: float, column: str) -> str:
    """A single value with its unit."""
    if column in PLAIN:
        return f"{value:.{PLAIN[column]}f}"
    return f"{100 * value:.1f} {'points' if column in POINTS else '%'}"


def label(column: str, value: Any) -> str:
    """A label for a reader."""
    if value is None:
        return {"transfer": "own task", "attack": "trained"}.get(column, "")
    if isinstance(value, float):
        return f"{value:g}"
    return NAMES.get(str(value), str(value).replace("_", " "))
