"""What stands at the axes of figures and above their panels: words, with units."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from ipr.reports.units import PLAIN, POINTS, label

X = {
    "rate": "fraction",
    "dissimilarity": "part of the signature that is asked to differ (fraction)",
    "wrong": "part of the signature that is wrong (fraction)",
    "energy": "energy |S| of the passports",
    "seconds": "seconds",
}
"""What is drawn along the bottom; other columns are called by their names."""

RATES = {"prune": "weights removed (fraction)", "flip_signs": "signs flipped (fraction)"}
"""What a rate is, by the attack."""

NORMS = {"bn": "batch norm", "gn": "group norm"}


def x_label(column: str, frame: pd.DataFrame) -> str:
    """What the bottom of a panel says.

    Args:
        column: what is drawn along it.
        frame: of the results that are drawn.
    """
    attacks = set(frame["attack"].dropna()) if "attack" in frame else set()
    if column == "rate" and len(attacks) == 1:
        return RATES.get(str(attacks.pop()), X["rate"])
    return X.get(column, column.replace("_", " "))


def y_label(values: Mapping[str, str]) -> str:
    """What the side of a panel says.

    Args:
        values: what is drawn: how the legend calls it -> its column.
    """
    columns = list(values.values())
    if all(column.startswith("accuracy") for column in columns):
        return "test accuracy (%)"
    unit = "" if {*columns} & {*PLAIN} else "points" if {*columns} <= POINTS else "%"
    words = ", ".join(values)
    return f"{words} ({unit})" if unit else words


def panel_title(column: str, value: Any) -> str:
    """What a panel says of one label."""
    if column == "layers_count" and value is not None:
        return f"{value:g} layer{'' if value == 1 else 's'}"
    if column == "norm":
        return NORMS.get(str(value), label(column, value))
    if column == "energy":
        return f"energy {label(column, value)}" if value is not None else ""
    return label(column, value)
