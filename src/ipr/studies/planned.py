"""What was planned, and the run of each cell: `<runs>/studies/<scale>/`, read by the report while runs still go on.

A plan, `<study>.json`, says which cells there are; `cells/<cell>.json` which run folder is a cell's, as soon as a job
has begun it. What became of the cell that folder says (`store.summary.state_of`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ipr.config.secrets import without_secret
from ipr.config.shipped import studies
from ipr.files import write_atomically
from ipr.store.cell_run import read_run
from ipr.store.reading import read_as
from ipr.store.summary import MISSING, state_of
from ipr.store.survey import Found
from ipr.studies.plan import Cell
from ipr.studies.scale import Scale
from ipr.studies.study import Study, load_study

SCHEMA_VERSION = 1

NAME = re.compile(r"[A-Za-z0-9_][^/\\\x00-\x1f\x7f]*")
"""How cells and scales are called: a file's stem, and no path."""


@dataclass
class PlannedCell:
    """A cell as it stands in a plan: see `plan.Cell`.

    Attributes:
        run: `<kind>/<key>` of its run; "" where no job has begun it.

    Raises:
        ValueError: it is none.
    """

    name: str
    about: dict[str, Any]
    command: str
    run: str = ""

    def __post_init__(self) -> None:
        if not NAME.fullmatch(self.name):
            raise ValueError("the name of a cell is a path")
        if not {"scheme", "model", "dataset", "seed"} <= self.about.keys():
            raise ValueError("a cell does not say what it is")
        if any(isinstance(value, list | dict) for value in self.about.values()):
            raise ValueError("a cell says more than one thing")

    def folder(self, runs: Path) -> Found | None:
        """Its run folder below a folder of runs; None where it has none."""
        return Found(runs / self.run) if self.run and (runs / self.run).is_dir() else None

    def state(self, runs: Path) -> str:
        """What became of it: one of `store.summary.STATES`, or `MISSING`."""
        found = self.folder(runs)
        return MISSING if found is None else state_of(found)


@dataclass
class Plan:
    """What a study comes to at a scale, as it was planned.

    Attributes:
        study: the study's file, which may have gone since.
        scale: the scale's name.
        what: the scale in words.
        changes: keys that were set beside the scale.
        datasets: the paper's data set -> what stands for it.
        cells: all of them.
    """

    schema_version: int
    study: str
    scale: str
    what: str
    changes: list[str]
    datasets: dict[str, str]
    cells: list[PlannedCell] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.schema_version != SCHEMA_VERSION:
            raise ValueError("another version")
        if not NAME.fullmatch(self.scale):
            raise ValueError("the name of its scale is a path")

    @property
    def name(self) -> str:
        """The study's."""
        return Path(self.study).stem

    def load(self) -> Study:
        """The study itself: the one that is shipped under its name, or else its file.

        Raises:
            InputError: it cannot be read.
        """
        return load_study(studies().get(self.name, Path(self.study)))


def studies_folder(runs: Path, scale: str) -> Path:
    """Where the plans of a scale lie."""
    return runs / "studies" / scale


def planned(runs: Path, path: Path, scale: Scale, changes: Sequence[str], cells: Iterable[Cell]) -> Plan:
    """The plan of a study's cells, with the keys set beside the scale; runs that were begun for cells of other studies
    are found.
    """
    datasets = {name: images.name for name, images in scale.datasets.items()}
    kept = [PlannedCell(cell.name, dict(cell.about), cell.command) for cell in cells]
    shown = [without_secret(change) for change in changes]
    return _with_runs(runs, Plan(SCHEMA_VERSION, str(path.absolute()), scale.name, scale.what, shown, datasets, kept))


def write_plan(runs: Path, written: Plan) -> None:
    """Keeps a plan below a folder of runs."""
    folder = studies_folder(runs, written.scale)
    folder.mkdir(parents=True, exist_ok=True)
    facts = asdict(written)
    for cell in facts["cells"]:
        del cell["run"]  # which has a file of its own: many jobs write at the same time
    write_atomically(folder / f"{written.name}.json", json.dumps(facts, indent=1) + "\n")


def read_plans(runs: Path, names: Sequence[str] = (), scale: str | None = None) -> list[Plan]:
    """The plans that are there, with the runs of their cells, in the order of the studies; whoever wrote them, they
    are data.

    Args:
        runs: the folder of runs.
        names: only these studies; () for all.
        scale: only this one; None for all.

    Raises:
        InputError: a plan cannot be read.
    """
    found = []
    for path in sorted(runs.glob("studies/*/*.json")):
        if (scale is None or path.parent.name == scale) and (not names or path.stem in names):
            read: Plan = read_as(path, Plan, {}, "delete it and run the same ipr reproduce again")
            found.append(_with_runs(runs, read))
    order = list(studies())
    return sorted(found, key=lambda p: (order.index(p.name) if p.name in order else len(order), p.name, p.scale))


def _with_runs(runs: Path, found: Plan) -> Plan:
    for cell in found.cells:
        cell.run = read_run(studies_folder(runs, found.scale), cell.name)
    return found
