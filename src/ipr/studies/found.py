"""What is planned and what became of it: `<runs>/studies/<scale>/`, read by the report while runs still go on."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from ipr.files import write_atomically
from ipr.store.cell_state import CellWord, read_word
from ipr.store.reading import read_as
from ipr.studies.plan import Cell, plan, without_secret
from ipr.studies.scale import Scale
from ipr.studies.study import Study, load_study

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class PlannedCell:
    """A cell as it stands in a plan: see `Cell`; `word` is what became of it, None where it was not begun, or where the
    run that it made is no longer there.
    """

    name: str
    about: Mapping[str, Any]
    command: str
    word: CellWord | None = None


@dataclass(frozen=True)
class Planned:
    """What a study comes to at a scale, as it was planned.

    Attributes:
        name: the study's.
        path: its file, which may have gone since.
        scale: the scale's name.
        what: the scale in words.
        changes: keys that were set beside the scale.
        datasets: the paper's data set -> what stands for it.
        cells: all of them.
    """

    name: str
    path: Path
    scale: str
    what: str
    changes: Sequence[str]
    datasets: Mapping[str, str]
    cells: Sequence[PlannedCell]


@dataclass(frozen=True)
class Plan(Planned):
    """The same with the study that it comes from: `study`."""

    study: Study


def studies_folder(runs: Path, scale: str) -> Path:
    """Where plans and words of a scale lie."""
    return runs / "studies" / scale


def write_plan(
    runs: Path,
    path: Path,
    scale: str,
    what: str,
    changes: Sequence[str],
    datasets: Mapping[str, str],
    cells: list[Cell],
) -> None:
    """Keeps what a study consists of at a scale.

    Args:
        runs: the folder of runs.
        path: the study's file.
        scale: the scale's name.
        what: see `Plan`.
        changes: see `Plan`.
        datasets: see `Plan`.
        cells: all cells.
    """
    folder = studies_folder(runs, scale)
    folder.mkdir(parents=True, exist_ok=True)
    planned = [{"name": cell.name, "about": dict(cell.about), "command": cell.command} for cell in cells]
    written = {
        "schema_version": SCHEMA_VERSION,
        "study": str(path.absolute()),
        "scale": scale,
        "what": what,
        "changes": [without_secret(change) for change in changes],
        "datasets": dict(datasets),
        "cells": planned,
    }
    write_atomically(folder / f"{path.stem}.json", json.dumps(written, indent=1) + "\n")


def read_plans(runs: Path, shipped: Mapping[str, Path], names: Sequence[str], scale: str | None) -> list[Plan]:
    """The plans that are there, with what became of their cells, in the order of the studies.

    Args:
        runs: the folder of runs.
        shipped: the studies by name; a plan of another study names its file.
        names: which studies; [] for all.
        scale: which scale; None for all.

    Raises:
        InputError: a plan cannot be read.
    """
    plans = []
    for path in sorted(runs.glob("studies/*/*.json")):
        if (scale is None or path.parent.name == scale) and (not names or path.stem in names):
            planned = _read(path)
            study = load_study(shipped.get(planned.name, planned.path))
            plans.append(Plan(**{field.name: getattr(planned, field.name) for field in fields(Planned)}, study=study))
    order = list(shipped)
    return sorted(plans, key=lambda p: (order.index(p.study.name) if p.study.name in order else len(order), p.scale))


def planned_now(runs: Path, path: Path, study: Study, scale: Scale) -> Planned:
    """What a study would come to at a scale that it was not planned at; cells that stand in other studies are found.

    Args:
        runs: the folder of runs.
        path: the study's file.
        study: what it holds.
        scale: how large.

    Raises:
        InputError: the study asks for what cannot be.
    """
    datasets = {name: images.name for name, images in scale.datasets.items()}
    folder = studies_folder(runs, scale.name)
    cells = [PlannedCell(c.name, c.about, c.command, _word(folder, c.name)) for c in plan(study, scale)]
    return Planned(study.name, path, scale.name, scale.what, [], datasets, cells)


def read_planned(runs: Path) -> list[Planned]:
    """Every plan that is there, with what became of its cells; the studies themselves are not read.

    Raises:
        InputError: a plan cannot be read.
    """
    return [_read(path) for path in sorted(runs.glob("studies/*/*.json"))]


NAME = re.compile(r"[A-Za-z0-9_][^/\\\x00-\x1f\x7f]*")
"""How cells and scales are called: a file's stem, and no path."""

RUN = re.compile(r"(train|attack|exhibit)/[^./\x00][^/\x00]*")
"""How a word names a run: below the folder of runs."""


@dataclass
class _WrittenCell:
    name: str
    about: dict[str, Any]
    command: str

    def __post_init__(self) -> None:
        if not NAME.fullmatch(self.name):
            raise ValueError("the name of a cell is a path")
        if not {"scheme", "model", "dataset", "seed"} <= self.about.keys():
            raise ValueError("a cell does not say what it is")
        if any(isinstance(value, list | dict) for value in self.about.values()):
            raise ValueError("a cell says more than one thing")


@dataclass
class _Written:
    """A plan as its file has it."""

    schema_version: int
    study: str
    scale: str
    what: str
    changes: list[str]
    datasets: dict[str, str]
    cells: list[_WrittenCell] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.schema_version != SCHEMA_VERSION:
            raise ValueError("another version")
        if not NAME.fullmatch(self.scale):
            raise ValueError("the name of its scale is a path")


def _read(path: Path) -> Planned:
    """A plan; whoever wrote it, it is data."""
    written: _Written = read_as(path, _Written, {}, "delete it and run the same ipr reproduce again", "plan")
    cells = [PlannedCell(c.name, c.about, c.command, _word(path.parent, c.name)) for c in written.cells]
    return Planned(
        path.stem, Path(written.study), written.scale, written.what, written.changes, written.datasets, cells
    )


def _word(folder: Path, cell: str) -> CellWord | None:
    word = read_word(folder, cell)
    if word is None or (word.run and not RUN.fullmatch(word.run)):
        return None
    return word if (folder.parents[1] / word.run).exists() else None
