"""Curves and bars of a study's results, with the paper's numbers as open marks, chance as a line, and epsilon_f, the
accuracy that may be lost, as a band.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ipr.config.rule import Rule
from ipr.reports.axes import panel_title, x_label, y_label
from ipr.reports.colours import DARK, PALETTE, colour_of
from ipr.reports.section import Picture
from ipr.reports.selection import chosen, grouped, paper_rows, with_energy, with_norm
from ipr.reports.subjects import subject_of_results
from ipr.reports.units import PLAIN, POINTS, label
from ipr.studies.study import FigureDrawing, Paper

STYLES = ("-", "--", ":", "-.")
MARKERS = "os^vPX*"  # D is the paper's

EPSILON = Rule().fidelity
"""How much accuracy may be lost where fidelity is kept, as a fraction."""

PAPERS, CHANCE, BAND = BESIDE = ("the paper", "chance", f"within epsilon_f ({100 * EPSILON:g} points)")
"""What a legend says, at its end, of what is drawn beside the results."""

CLAIMED = ("accuracy", "accuracy_with_claim")
"""Columns that fidelity is about."""


def picture_of(drawing: FigureDrawing, frame: pd.DataFrame, paper: Paper | None = None) -> Picture | None:
    """A figure with what it is about, and the same for a phone, with its panels below one another."""
    if (figure := figure_of(drawing, frame, paper)) is None:
        return None
    about = subject_of_results(_shown(drawing, frame))
    narrow = figure_of(drawing, frame, paper, narrow=True)
    return Picture(drawing.name, drawing.caption, figure, about, narrow)


def figure_of(
    drawing: FigureDrawing, frame: pd.DataFrame, paper: Paper | None = None, *, narrow: bool = False
) -> Figure | None:
    """Curves or bars of what is there; None where nothing is.

    Args:
        drawing: what is drawn.
        frame: of results.
        paper: the paper's numbers; None for none.
        narrow: whether it is to be as wide as a phone, with one panel below the other.
    """
    found = _shown(drawing, frame)
    if found.empty:
        return None
    panels = grouped(found, drawing.panels)
    figure, places = _panels(len(panels), narrow)
    for axes, (panel, part) in zip(places, panels, strict=True):
        place = dict(zip(drawing.panels, panel, strict=True))
        if drawing.kind == "curves":
            series = with_norm(found, with_energy(found, [drawing.series]), place)
            _curves(axes, drawing, part, paper or Paper(), place, series)
        else:
            _bars(axes, drawing, part, paper or Paper(), place)
        _chance(axes, drawing, part)
        _finish(axes, drawing, panel)
        axes.set_xlabel(_as_text(x_label(drawing.x, part)), fontsize=8)
    _legend(figure, places)
    return figure


def _shown(drawing: FigureDrawing, frame: pd.DataFrame) -> pd.DataFrame:
    """The results that a figure shows."""
    found = chosen(frame, drawing.where)
    found = found[found[list(drawing.values.values())].notna().any(axis=1)]
    return found[found[drawing.x].notna()] if drawing.kind == "curves" else found


def _curves(
    axes: Axes,
    drawing: FigureDrawing,
    frame: pd.DataFrame,
    paper: Paper,
    place: Mapping[str, Any],
    series: Sequence[str],
) -> None:
    """Means over seeds against `x`, whiskers one standard deviation, one colour for each series."""
    for number, (key, line) in enumerate(grouped(frame, series)):
        colour = colour_of(key[0], number)
        if before := _before(drawing, line):
            axes.axhspan(100 * (before - EPSILON), 100 * before, color=colour, alpha=0.12, lw=0, label=BAND)
        for style, (legend, column) in zip(STYLES, drawing.values.items(), strict=False):
            points = [(float(x), same) for (x,), same in grouped(line[line[column].notna()], [drawing.x])]
            if not points:
                continue
            means, spreads = zip(*(_mean_and_spread(same, column) for _, same in points), strict=True)
            name = _name(series, key, legend if len(drawing.values) > 1 else "")
            x = [x for x, _ in points]
            fmt = MARKERS[number % len(MARKERS)] + style
            axes.errorbar(x, means, spreads, fmt=fmt, color=colour, ms=3.5, lw=1.2, capsize=2, label=name)
            _papers_points(axes, drawing, paper, {**place, drawing.series: key[0]}, column, colour)


def _before(drawing: FigureDrawing, frame: pd.DataFrame) -> float | None:
    """The mean accuracy that attacks began with, where a figure shows what they left of it; a fraction."""
    if not {*CLAIMED} & {*drawing.values.values()} or "lost" not in frame:
        return None
    before = (frame["accuracy"].astype(float) + frame["lost"].astype(float)).dropna()
    return None if before.empty else float(before.mean())


def _chance(axes: Axes, drawing: FigureDrawing, frame: pd.DataFrame) -> None:
    """A line at the accuracy of a guess, where one is known and accuracies are shown."""
    if "by_chance" in frame and any(column.startswith("accuracy") for column in drawing.values.values()):
        for value in frame["by_chance"].dropna().unique():
            axes.axhline(100 * value, color=DARK, lw=0.9, ls=(0, (1, 2)), zorder=1, label=CHANCE)


def _bars(axes: Axes, drawing: FigureDrawing, frame: pd.DataFrame, paper: Paper, place: Mapping[str, Any]) -> None:
    """Means over seeds in groups by `x`, whiskers one standard deviation, one colour for each value and series."""
    groups = grouped(frame, columns := with_norm(frame, [drawing.x], [*place, drawing.series]))
    shown = [
        (key, legend, column)
        for (key,), same in grouped(frame, [drawing.series])
        for legend, column in drawing.values.items()
        if same[column].notna().any()
    ]
    width = 0.8 / max(len(shown), 1)
    there = [  # of each group, so that it stands in the middle of what it has
        [number for number, (key, _, column) in enumerate(shown) if _has(group, drawing.series, key, column)]
        for _, group in groups
    ]
    for number, (key, legend, column) in enumerate(shown):
        heights, spreads, xs = [], [], []
        colour = PALETTE[number % len(PALETTE)] if len(drawing.values) > 1 else colour_of(key, number)
        for at, (place_of, group) in enumerate(groups):
            if number not in there[at]:
                continue
            same = chosen(group, {drawing.series: key})
            xs.append(at + (there[at].index(number) - (len(there[at]) - 1) / 2) * width)
            height, spread = _mean_and_spread(same, column)
            heights.append(height)
            spreads.append(spread)
            here = {**place, drawing.series: key, **dict(zip(columns, place_of, strict=True))}
            for value in _paper_numbers(paper, here, column):
                axes.plot(xs[-1], value, "D", mfc="white", mec=DARK, ms=5, label=PAPERS, ls="none")
        names = [label(drawing.series, key) if drawing.series != drawing.x else "", legend]
        name = ", ".join(filter(None, names if len(drawing.values) > 1 else names[:1] or names))
        axes.bar(xs, heights, width * 0.95, yerr=spreads, color=colour, ecolor=DARK, capsize=2, label=_as_text(name))
    for at, (_, group) in enumerate(groups):
        if before := _before(drawing, group):
            low, high = 100 * (before - EPSILON), 100 * before
            axes.fill_between([at - 0.45, at + 0.45], low, high, color=DARK, alpha=0.2, lw=0, zorder=0.5, label=BAND)
    axes.set_xticks(range(len(groups)), [_group_name(columns, key, groups) for key, _ in groups], fontsize=7)


def _has(group: pd.DataFrame, series: str, key: Any, column: str) -> bool:
    return bool(chosen(group, {series: key})[column].notna().any())


def _group_name(columns: Sequence[str], key: Sequence[Any], groups: Sequence[tuple[Sequence[Any], Any]]) -> str:
    """What stands below a group of bars; its norm where another group differs in that alone."""
    alike = [other for other, _ in groups if other[0] == key[0]]
    told = list(zip(columns, key, strict=True))[: None if len(alike) > 1 else 1]
    return _as_text("\n".join([label(*told[0]), *(panel_title(*one) for one in told[1:])]).replace(" ", "\n"))


def _mean_and_spread(frame: pd.DataFrame, column: str) -> tuple[float, float]:
    """Mean and sample standard deviation of a column, in the unit in which it is drawn; 0 of a single value."""
    values, factor = frame[column].dropna().astype(float), 1.0 if column in PLAIN else 100.0
    return factor * float(values.mean()), factor * float(values.std()) if len(values) > 1 else 0.0


def _panels(count: int, narrow: bool) -> tuple[Figure, list[Axes]]:
    across = 1 if narrow else min(count, 3)
    down = -(-count // across)
    width = 3.6 if narrow or count > 1 else 5.4  # inches of 96 CSS pixels
    figure = Figure(figsize=(width * across, 2.7 * down), layout="constrained")
    places = list(np.atleast_1d(figure.subplots(down, across, squeeze=False)).flat)
    for spare in places[count:]:
        spare.set_axis_off()
    return figure, places[:count]


def _finish(axes: Axes, drawing: FigureDrawing, panel: Sequence[Any]) -> None:
    percent = all(column not in PLAIN for column in drawing.values.values())
    axes.set_ylabel(_as_text(y_label(drawing.values)), fontsize=8)
    if percent and not POINTS & {*drawing.values.values()}:
        axes.set_ylim(0, 105)
    title = ", ".join(filter(None, (panel_title(c, v) for c, v in zip(drawing.panels, panel, strict=True))))
    axes.set_title(_as_text(title), fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)


def _legend(figure: Figure, places: Sequence[Axes]) -> None:
    handles: dict[str, Any] = {}
    for axes in places:
        for handle, name in zip(*axes.get_legend_handles_labels(), strict=True):
            handles.setdefault(name, handle)
    names = sorted(handles, key=lambda name: BESIDE.index(name) if name in BESIDE else -1)
    if len(names) > 1:
        width, height = figure.get_size_inches()
        columns = max(1, min(4, int(18 * width / (max(map(len, names)) + 5))))  # 18 letters an inch
        rows = -(-len(names) // columns)
        figure.set_size_inches(width, height + 0.15 * rows)
        shown = [handles[name] for name in names]
        figure.legend(shown, names, ncols=columns, fontsize=7, frameon=False, loc="outside lower center")


def _name(columns: Sequence[str], key: Sequence[Any], legend: str) -> str:
    labels = [label(column, value) for column, value in zip(columns, key, strict=True)]
    return _as_text(", ".join(filter(None, [*labels, legend])))


def _as_text(name: str) -> str:
    """A name that matplotlib shows as it is: between two dollars it would read a formula."""
    return name.replace("$", r"\$")


def _paper_numbers(paper: Paper, place: Mapping[str, Any], column: str) -> list[float]:
    if column not in paper.columns:
        return []
    return [float(row[column]) for row in paper_rows(paper, place) if _is_number(row[column])]


def _is_number(cell: object) -> bool:
    """Whether it can be drawn: what the paper prints, or somebody's study has, may be a word."""
    return isinstance(cell, int | float) and not isinstance(cell, bool)


def _papers_points(
    axes: Axes, drawing: FigureDrawing, paper: Paper, place: Mapping[str, Any], column: str, colour: str
) -> None:
    if column not in paper.columns or drawing.x not in paper.columns:
        return
    for row in paper_rows(paper, place):
        if _is_number(row[drawing.x]) and _is_number(row[column]):
            axes.plot(row[drawing.x], row[column], "D", mfc="none", mec=colour, ms=6, label=PAPERS, ls="none")
