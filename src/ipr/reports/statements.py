"""Whether what the paper claims holds for the results at hand."""

from __future__ import annotations

import pandas as pd

from ipr.reports.section import Checked
from ipr.reports.selection import chosen, grouped, with_energy
from ipr.reports.units import label, one
from ipr.studies.study import Statement


def check(statement: Statement, frame: pd.DataFrame, scale: str) -> Checked:
    """Compares every average, or every result, with the bounds.

    Args:
        statement: what must hold.
        frame: of results.
        scale: says which measured cause belongs to a failure.
    """
    found = chosen(frame, statement.where)
    found = found[found[statement.value].notna()]
    if found.empty:
        return Checked(statement.name, statement.says, None, "none of the runs that it is about is finished")
    if statement.by:
        groups = grouped(found, with_energy(frame, statement.by))
        values = [(key, float(part[statement.value].astype(float).mean())) for key, part in groups]
        names = with_energy(frame, statement.by)
    else:
        names = [
            name for name in ("model", "dataset", "scheme", "transfer", "attack", "seed") if found[name].notna().any()
        ]
        values = [
            (tuple(row[name] if row[name] == row[name] else None for name in names), float(row[statement.value]))
            for _, row in found.iterrows()
        ]
    outside = [pair for pair in values if not _within(pair[1], statement)]
    low, high = min(values, key=lambda pair: pair[1]), max(values, key=lambda pair: pair[1])
    worst = low if statement.at_least is not None else high
    if outside and not _within(high[1], statement) and _within(low[1], statement):
        worst = high
    bounds = [f"at least {one(statement.at_least, statement.value)}" if statement.at_least is not None else ""]
    bounds += [f"at most {one(statement.at_most, statement.value)}" if statement.at_most is not None else ""]
    where = ", ".join(text for n, v in zip(names, worst[0], strict=True) if (text := _named(n, v)))
    kind = "averages" if statement.by else "results"
    least, most = one(low[1], statement.value), one(high[1], statement.value)
    measured = (
        f"{least if least == most else f'{least} to {most}'} in {len(values)} {kind} of {len(found)} "
        f"(asked: {' and '.join(filter(None, bounds))})"
    )
    measured += f"; worst: {where or 'the only one'}" if least != most else ""
    if outside:
        measured += f"; {len(outside)} of {len(values)} outside"
    why = statement.why.get(scale, "") if outside else ""
    return Checked(statement.name, statement.says, not outside, measured, why)


def _named(name: str, value: object) -> str:
    if name == "seed":
        return f"seed {value}"
    text = label(name, value)
    return f"{name} {text}" if isinstance(value, float) else text


def _within(value: float, statement: Statement) -> bool:
    low = statement.at_least is None or value >= statement.at_least - 1e-9
    return low and (statement.at_most is None or value <= statement.at_most + 1e-9)
