"""A study's results as a section of a report: its tables beside the paper's numbers, figures, and statements."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from ipr.reports.drawing import bars, curves
from ipr.reports.exhibits import pictures_of
from ipr.reports.paper import paper_text
from ipr.reports.results import results_of
from ipr.reports.section import FILTERS, CellState, Line, Picture, Section, TableView, Value
from ipr.reports.selection import chosen, grouped, with_energy
from ipr.reports.statements import check
from ipr.reports.units import label, written
from ipr.store.cell_state import lease_of
from ipr.store.folder import RunFolder
from ipr.store.lease import held
from ipr.studies.columns import LABELS
from ipr.studies.found import Plan, PlannedCell, studies_folder
from ipr.studies.study import FigureDrawing, Paper, TableDrawing


def section_of(plan: Plan, runs: Path) -> Section:
    """Reads what is finished of a study and draws it.

    Args:
        plan: the study at a scale.
        runs: the folder of runs.

    Raises:
        InputError: a record cannot be read.
    """
    study, results = plan.study, results_of(plan, runs)
    frame = results.frame
    tables = [table_of(drawing, frame, study.paper) for drawing in study.tables]
    pictures = []
    for drawing in study.figures:
        if (figure := figure_of(drawing, frame, study.paper, results.exhibits)) is not None:
            pictures.append(Picture(drawing.name, drawing.caption, figure, picture_about(chosen(frame, drawing.where))))
    stands = [f"{label('dataset', k)}: {v}" for k, v in plan.datasets.items() if k != v]
    notes = [f"In the place of the paper's data sets: {', '.join(stands)}."] if stands else []
    changed = [f"Beside the scale: {' '.join(plan.changes)}."] if plan.changes else []
    return Section(
        name=study.name,
        title=study.title,
        question=study.question,
        source=study.source,
        scale=f"{plan.scale}: {plan.what}",
        tables=[table for table in tables if table.lines],
        pictures=pictures,
        statements=[check(statement, frame, plan.scale) for statement in study.statements],
        cells=[cell_state(cell, studies_folder(runs, plan.scale)) for cell in plan.cells],
        provenance=results.provenance,
        notes=[*study.notes, *notes, *changed, *(f"{line[0].upper()}{line[1:]}." for line in results.failed)],
    )


def cell_state(cell: PlannedCell, studies: Path) -> CellState:
    """What became of a cell; one that says that it is running and has no process any more is planned again."""
    word = cell.word
    if word is None or (word.state == "running" and not held(lease_of(studies, cell.name))):
        return CellState(cell.name, cell.command, "planned")
    return CellState(cell.name, cell.command, word.state, word.reason)


def table_of(drawing: TableDrawing, frame: pd.DataFrame, paper: Paper) -> TableView:
    """A line for each combination of the drawing's rows."""
    rows = with_energy(frame, drawing.rows)
    found = chosen(frame, drawing.where)
    measured = list(dict.fromkeys(drawing.values.values()))
    found = found[found[measured].notna().any(axis=1)]
    across = [key[0] for key, _ in grouped(found, [drawing.columns])] if drawing.columns else [()]
    header = [column.replace("_", " ") for column in rows]
    for value in across:
        prefix = f"{label(drawing.columns, value)}: " if drawing.columns else ""
        header += [prefix + heading for heading in drawing.values]
    lines = []
    for key, part in grouped(found, rows):
        names = dict(zip(rows, key, strict=True))
        cells = [Value(label(column, value)) for column, value in names.items()]
        for value in across:
            same = part if drawing.columns is None else part[_is(part[drawing.columns], value)]
            place = names if drawing.columns is None else names | {drawing.columns: value}
            for column in drawing.values.values():
                cells.append(cell_of(same, column, paper_text(paper, place, column)))
        lines.append(Line(cells, _about(names)))
    return TableView(drawing.name, drawing.caption, header, lines)


def cell_of(part: pd.DataFrame, column: str, paper: str | None) -> Value:
    """What we measured, on how many results, beside the paper's number."""
    if column in LABELS:
        texts = dict.fromkeys(label(column, value) for value in part[column].dropna())
        return Value(", ".join(texts), None, paper)
    values = part[column].dropna()
    return Value(written(values, column), len(values) if len(values) else None, paper)


def _is(values: pd.Series, wanted: Any) -> pd.Series:
    return values.isna() if wanted is None else values == wanted


def _about(names: Mapping[str, Any]) -> dict[str, str]:
    return {name: str(names[name]) for name in FILTERS if names.get(name) is not None}


def picture_about(frame: pd.DataFrame) -> dict[str, frozenset[str]]:
    """What a figure shows, for the page's filters."""
    found = {name: frozenset(map(str, frame[name].dropna().unique())) for name in FILTERS}
    return {name: values for name, values in found.items() if values}


def figure_of(
    drawing: FigureDrawing, frame: pd.DataFrame, paper: Paper, exhibits: Mapping[str, RunFolder]
) -> Figure | None:
    """Draws what is there; None where nothing is."""
    if drawing.kind == "exhibit":
        if drawing.exhibit not in exhibits:
            return None
        return pictures_of(drawing.exhibit, exhibits[drawing.exhibit].path)[drawing.name]
    found = chosen(frame, drawing.where)
    found = found[found[list(drawing.values.values())].notna().any(axis=1)]
    if drawing.x:
        found = found[found[drawing.x].notna()] if drawing.kind == "curves" else found
    if found.empty:
        return None
    draw = curves if drawing.kind == "curves" else bars
    return draw(drawing, found, paper)
