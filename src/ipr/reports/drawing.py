"""Curves and bars of a study's results, with the paper's numbers as open marks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ipr.reports.colours import DARK, PALETTE, colour_of
from ipr.reports.paper import paper_rows
from ipr.reports.selection import chosen, grouped, with_energy
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
    return (curves if drawing.kind == "curves" else bars)(drawing, found, paper or Paper())


def curves(drawing: FigureDrawing, frame: pd.DataFrame, paper: Paper) -> Figure:
    """Means over seeds against `x`, whiskers one standard deviation; each panel one setting, each colour one series."""
    panels = grouped(frame, drawing.panels)
    figure, places = _panels(len(panels))
    for axes, (panel, part) in zip(places, panels, strict=True):
        series = with_energy(frame, [drawing.series])
        for number, (key, line) in enumerate(grouped(part, series)):
            colour = colour_of(key[0], number)
            for style, (legend, column) in zip(STYLES, drawing.values.items(), strict=False):
                points = [(float(x[0]), same[column].dropna().astype(float)) for x, same in grouped(line, [drawing.x])]
                points = [(x, values) for x, values in points if len(values)]
                if not points:
                    continue
                scale = _factor(column)
                means = [scale * float(values.mean()) for _, values in points]
                spread = [scale * float(values.std()) if len(values) > 1 else 0.0 for _, values in points]
                name = _name(series, key, legend if len(drawing.values) > 1 else "")
                x = [x for x, _ in points]
                axes.errorbar(x, means, spread, fmt="o" + style, color=colour, ms=3, lw=1.2, capsize=2, label=name)
                _papers_points(
                    axes, drawing, paper, _place(drawing.panels, panel) | {drawing.series: key[0]}, column, colour
                )
        axes.set_xlabel(drawing.x.replace("_", " "))
        _finish(axes, drawing, panel)
    _legend(figure, places)
    return figure


def bars(drawing: FigureDrawing, frame: pd.DataFrame, paper: Paper) -> Figure:
    """Means over seeds in groups by `x`, whiskers one standard deviation, one colour for each value and series."""
    panels = grouped(frame, drawing.panels)
    figure, places = _panels(len(panels))
    for axes, (panel, part) in zip(places, panels, strict=True):
        groups = grouped(part, [drawing.x])
        shown = [
            (key[0], legend, column)
            for key, _ in grouped(part, [drawing.series])
            for legend, column in drawing.values.items()
        ]
        shown = [s for s in shown if _values(part, drawing.series, s[0], s[2]).size]
        width = 0.8 / max(len(shown), 1)
        for number, (key, legend, column) in enumerate(shown):
            heights, spreads, xs = [], [], []
            colour = PALETTE[number % len(PALETTE)] if len(drawing.values) > 1 else colour_of(key, number)
            for at, (x, same) in enumerate(groups):
                values = _factor(column) * _values(same, drawing.series, key, column)
                if not values.size:
                    continue
                xs.append(at + (number - (len(shown) - 1) / 2) * width)
                heights.append(float(values.mean()))
                spreads.append(float(values.std(ddof=1)) if values.size > 1 else 0.0)
                place = _place(drawing.panels, panel) | {drawing.series: key, drawing.x: x[0]}
                for value in _paper_numbers(paper, place, column):
                    axes.plot(xs[-1], value, "D", mfc="none", mec=DARK, ms=5)
            names = [label(drawing.series, key) if drawing.series != drawing.x else "", legend]
            name = ", ".join(filter(None, names if len(drawing.values) > 1 else names[:1] or names))
            axes.bar(
                xs, heights, width * 0.95, yerr=spreads, color=colour, ecolor=DARK, capsize=2, label=_as_text(name)
            )
        axes.set_xticks(range(len(groups)), [label(drawing.x, x[0]) for x, _ in groups], fontsize=8)
        _finish(axes, drawing, panel)
    _legend(figure, places)
    return figure


def _values(frame: pd.DataFrame, series: str, key: Any, column: str) -> np.ndarray[Any, Any]:
    same = frame[frame[series].isna() if key is None else frame[series] == key]
    return same[column].dropna().astype(float).to_numpy()


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


def _factor(column: str) -> float:
    return 1.0 if column in PLAIN else 100.0


def _place(columns: Sequence[str], values: Sequence[Any]) -> dict[str, Any]:
    return dict(zip(columns, values, strict=True))


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
