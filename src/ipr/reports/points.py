"""Every point of every attack with its mean, spread and range over seeds: what a sentence about an attack may quote."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ipr.config.registry import entries
from ipr.judging.outcome import mark
from ipr.reports.summary import mean_and_spread, place_of
from ipr.workflows.attack import AttackRow

HEADER = ("attack", "scheme", "point", "n", "accuracy", "points lost", "least; most lost", "mark read", "succeeded")


def point_lines(rows: Sequence[AttackRow]) -> Iterator[tuple[AttackRow, list[str]]]:
    """A line for each attack, scheme and point of one setting; the forged passports of `fake1` are one line.

    Accuracies in %; `points lost` is the accuracy before less that after; `mark read` is the least and the most of the
    claimed bits, or trigger images, that was read.

    Yields:
        A row that stands for the line, and its cells under `HEADER`.
    """
    groups: dict[tuple[int, str, int, str, str], list[AttackRow]] = {}
    for row in rows:
        point = "all" if row.attack == "fake1" else row.point
        order = place_of(row.attack, entries("attack")), row.attack, place_of(row.scheme, entries("scheme")), row.scheme
        groups.setdefault((*order, point), []).append(row)
    for (*_, point), same in sorted(groups.items(), key=lambda group: group[0]):
        lost = [row.accuracy_before - row.accuracy_after for row in same]
        marks = [mark(row) for row in same]
        cells = [
            same[0].attack,
            same[0].scheme,
            point + (f" ({same[0].transfer})" if same[0].transfer else ""),
            str(len(same)),
            mean_and_spread([row.accuracy_after for row in same]),
            mean_and_spread(lost),
            f"{100 * min(lost):.1f}; {100 * max(lost):.1f}",
            _counted(same, min(marks), max(marks)),
            f"{sum(row.attack_succeeded for row in same)}",
        ]
        yield same[0], cells


def _counted(rows: Sequence[AttackRow], least: float, most: float) -> str:
    total = rows[0].bits_total
    if total:
        return f"{round(least * total)} to {round(most * total)} of {total}"
    return f"{100 * least:.0f} to {100 * most:.0f} %"
