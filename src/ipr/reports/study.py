"""A study's results as a section of a report: its tables beside the paper's numbers, figures, and statements."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from ipr.reports.drawing import picture_of
from ipr.reports.exhibits import pictures_of
from ipr.reports.outcomes import outcome_figure
from ipr.reports.results import Results, results_of
from ipr.reports.run_links import run_links
from ipr.reports.runs import runs_of
from ipr.reports.section import CellState, Line, Picture, Section, TableView, Value
from ipr.reports.selection import chosen, grouped, paper_text, with_energy
from ipr.reports.statements import check
from ipr.reports.subjects import subject_of_results
from ipr.reports.units import PLAIN, POINTS, counted, label, written
from ipr.studies.columns import COLUMNS, LABELS, TRUTHS
from ipr.studies.planned import Plan, PlannedCell
from ipr.studies.study import Paper, Study, TableDrawing


def section_of(plan: Plan, runs: Path) -> Section:
    """Reads what is finished of a study and draws it: as the study says, or as any runs are shown.

    Args:
        plan: the study at a scale.
        runs: the folder of runs.

    Raises:
        InputError: a record cannot be read.
    """
    study, results = plan.load(), results_of(plan, runs)
    stands = [f"{label('dataset', k)}: {v}" for k, v in plan.datasets.items() if k != v]
    notes = [f"In the place of the paper's data sets: {', '.join(stands)}."] if stands else []
    changed = [f"Beside the scale: {' '.join(plan.changes)}."] if plan.changes else []
    if study.draws:
        drawn = [table_of(drawing, results.frame, study.paper) for drawing in study.tables]
        tables, pictures = [table for table in drawn if table.lines], _pictures(study, results)
        told = [f"{line[0].upper()}{line[1:]}." for line in results.failed]
        links = run_links(runs, ((cell.run, cell.about) for cell in plan.cells if cell.state(runs) == "done"))
    else:
        parts = runs_of(plan, runs).sections()
        tables = [table for part in parts for table in part.tables]
        pictures = [picture for part in parts for picture in part.pictures]
        told = [note for part in parts for note in part.notes]
        links = [link for part in parts for link in part.runs]
    return Section(
        name=study.name,
        title=study.title,
        question=study.question,
        source=study.source,
        scale=f"{plan.scale}: {plan.what}",
        tables=tables,
        pictures=pictures,
        statements=[check(statement, results.frame, plan.scale) for statement in study.statements],
        cells=[cell_state(cell, runs) for cell in plan.cells],
        provenance=results.provenance,
        notes=[*study.notes, *notes, *changed, *told],
        runs=links,
    )


def cell_state(cell: PlannedCell, runs: Path) -> CellState:
    """What became of a cell; one that no process is at is planned, begun or not."""
    state, folder = cell.state(runs), cell.folder(runs)
    reason = folder.why_failed if folder is not None and state == "failed" else ""
    return CellState(cell.name, cell.command, {"stopped": "planned", "missing": "planned"}.get(state, state), reason)


def _pictures(study: Study, results: Results) -> list[Picture]:
    pictures = []
    for drawing in study.figures:
        if drawing.kind == "exhibit":
            folder = results.exhibits.get(drawing.exhibit)
            if folder is not None:
                about = subject_of_results(results.frame[results.frame["exhibit"] == drawing.exhibit])
                figure = pictures_of(drawing.exhibit, folder.path)[drawing.name]
                narrow = pictures_of(drawing.exhibit, folder.path, narrow=True).get(drawing.name)
                pictures.append(Picture(drawing.name, drawing.caption, figure, about, narrow))
        elif drawing.kind == "outcomes":
            found, named = chosen(results.frame, drawing.where), drawing.where.get("attack")
            if (grid := outcome_figure(found, named if isinstance(named, list) else ())) is not None:
                pictures.append(Picture(drawing.name, drawing.caption, grid, subject_of_results(found)))
        elif (picture := picture_of(drawing, results.frame, study.paper)) is not None:
            pictures.append(picture)
    return pictures


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
        if drawing.least is not None:
            part = least_of(part, drawing.least)
        names = dict(zip(rows, key, strict=True))
        cells = [Value(label(column, value)) for column, value in names.items()]
        for value in across:
            same = part if drawing.columns is None else chosen(part, {drawing.columns: value})
            place = names if drawing.columns is None else names | {drawing.columns: value}
            for column in drawing.values.values():
                told = paper_text(paper, place, column)
                cells.append(cell_of(same, column, told, intervals=drawing.intervals))
        lines.append(Line(cells, subject_of_results(part)))
    asked = {column.replace("_", " "): column for column in filter(None, [*rows, drawing.columns])} | drawing.values
    meant = {heading: _meaning(column) for heading, column in asked.items()}
    return TableView(drawing.name, drawing.caption, header, lines, meant)


def _meaning(column: str) -> str:
    """What a column says, with its unit."""
    unit = "" if column in LABELS or column in PLAIN else "; in points" if column in POINTS else "; in %"
    return COLUMNS[column].replace("`", "") + unit


def least_of(part: pd.DataFrame, column: str) -> pd.DataFrame:
    """Of results those of the attack and point with the least mean of a column."""
    groups = [same for _, same in grouped(part[part[column].notna()], ["attack", "point"])]
    return min(groups, key=lambda same: same[column].mean()) if groups else part


def cell_of(part: pd.DataFrame, column: str, paper: str | None, *, intervals: bool = False) -> Value:
    """What we measured, on how many results, beside the paper's number; with `intervals` see `TableDrawing`."""
    if column in LABELS:
        texts = dict.fromkeys(label(column, value) for value in part[column].dropna())
        return Value(", ".join(texts), None, paper)
    values = part[column].dropna()
    if intervals and column in TRUTHS and len(values):
        return Value(counted(int(values.sum()), len(values)), None, paper)  # the count says of how many
    return Value(written(values, column), len(values) if len(values) else None, paper)
