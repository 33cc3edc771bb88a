"""Curves and bars of a study's results, with the paper's numbers as open marks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ipr.reports.colours import DARK, PALETTE, colour_of
from ipr.reports.selection import chosen, grouped, paper_rows, with_energy
from ipr.reports.units import PLAIN, label
from ipr.studies.study import FigureDrawing, Paper

STYLES = ("-", "--", ":", "-.")


def figure_of(drawing: FigureDrawing, frame: pd.DataFrame, paper: Paper | None = None) -> Figure | None:
    """Curves or bars of what is there; None where nothing is.

    Args:
        drawing: what is drawn.
        frame: of results.
        paper: the paper's numbers; None for none.
    """
    found = chosen(frame, drawing.where)
    found = found[found[list(drawing.values.values())].notna().any(axis=1)]
    if drawing.kind == "curves":
        found = found[found[drawing.x].notna()]
    if found.empty:
        return None
    panels = grouped(found, drawing.panels)
    figure, places = _panels(len(panels))
    for axes, (panel, part) in zip(places, panels, strict=True):
        place = dict(zip(drawing.panels, panel, strict=True))
        if drawing.kind == "curves":
            _curves(axes, drawing, part, paper or Paper(), place, with_energy(found, [drawing.series]))
        else:
            _bars(axes, drawing, part, paper or Paper(), place)
        _finish(axes, drawing, panel)
    _legend(figure, places)
    return figure


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
        for style, (legend, column) in zip(STYLES, drawing.values.items(), strict=False):
            points = [(float(x), same) for (x,), same in grouped(line[line[column].notna()], [drawing.x])]
            if not points:
                continue
            means, spreads = zip(*(_mean_and_spread(same, column) for _, same in points), strict=True)
            name = _name(series, key, legend if len(drawing.values) > 1 else "")
            x = [x for x, _ in points]
            axes.errorbar(x, means, spreads, fmt="o" + style, color=colour, ms=3, lw=1.2, capsize=2, label=name)
            _papers_points(axes, drawing, paper, {**place, drawing.series: key[0]}, column, colour)
    axes.set_xlabel(drawing.x.replace("_", " "))


def _bars(axes: Axes, drawing: FigureDrawing, frame: pd.DataFrame, paper: Paper, place: Mapping[str, Any]) -> None:
    """Means over seeds in groups by `x`, whiskers one standard deviation, one colour for each value and series."""
    groups = grouped(frame, [drawing.x])
    shown = [
        (key, legend, column)
        for (key,), same in grouped(frame, [drawing.series])
        for legend, column in drawing.values.items()
        if same[column].notna().any()
    ]
    width = 0.8 / max(len(shown), 1)
    for number, (key, legend, column) in enumerate(shown):
        heights, spreads, xs = [], [], []
        colour = PALETTE[number % len(PALETTE)] if len(drawing.values) > 1 else colour_of(key, number)
        for at, ((x,), group) in enumerate(groups):
            same = chosen(group, {drawing.series: key})
            if not same[column].notna().any():
                continue
            xs.append(at + (number - (len(shown) - 1) / 2) * width)
            height, spread = _mean_and_spread(same, column)
            heights.append(height)
            spreads.append(spread)
            for value in _paper_numbers(paper, {**place, drawing.series: key, drawing.x: x}, column):
                axes.plot(xs[-1], value, "D", mfc="none", mec=DARK, ms=5)
        names = [label(drawing.series, key) if drawing.series != drawing.x else "", legend]
        name = ", ".join(filter(None, names if len(drawing.values) > 1 else names[:1] or names))
        axes.bar(xs, heights, width * 0.95, yerr=spreads, color=colour, ecolor=DARK, capsize=2, label=_as_text(name))
    axes.set_xticks(range(len(groups)), [label(drawing.x, x) for (x,), _ in groups], fontsize=8)


def _mean_and_spread(frame: pd.DataFrame, column: str) -> tuple[float, float]:
    """Mean and sample standard deviation of a column, in the unit in which it is drawn; 0 of a single value."""
    values, factor = frame[column].dropna().astype(float), 1.0 if column in PLAIN else 100.0
    return factor * float(values.mean()), factor * float(values.std()) if len(values) > 1 else 0.0


def _panels(count: int) -> tuple[Figure, list[Axes]]:
    across = min(count, 3)
    down = -(-count // across)
    figure = Figure(figsize=(4.2 * across + 0.4, 3.1 * down + 0.5), layout="constrained")
    places = list(np.atleast_1d(figure.subplots(down, across, squeeze=False)).flat)
    for spare in places[count:]:
        spare.set_axis_off()
    return figure, places[:count]


def _finish(axes: Axes, drawing: FigureDrawing, panel: Sequence[Any]) -> None:
    percent = all(column not in PLAIN for column in drawing.values.values())
    axes.set_ylabel("%" if percent else "")
    if percent and not any(column in ("gain", "lost", "lost_without") for column in drawing.values.values()):
        axes.set_ylim(0, 105)
    title = ", ".join(filter(None, (label(c, v) for c, v in zip(drawing.panels, panel, strict=True))))
    axes.set_title(title, fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=8)


def _legend(figure: Figure, places: Sequence[Axes]) -> None:
    handles: dict[str, Any] = {}
    for axes in places:
        for handle, name in zip(*axes.get_legend_handles_labels(), strict=True):
            handles.setdefault(name, handle)
    if len(handles) > 1:
        figure.legend(
            list(handles.values()), list(handles), ncols=3, fontsize=7, frameon=False, loc="outside lower center"
        )


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
            axes.plot(row[drawing.x], row[column], "D", mfc="none", mec=colour, ms=6)
