"""Where studies stand: which cells are done, running, stopped, failed or missing, what they took, and what is left."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import time
from typing import Any

from ipr.store import summary
from ipr.store.survey import Found
from ipr.studies.costs import Costs, estimate, mean_costs
from ipr.studies.plan import wave_of
from ipr.studies.planned import Plan, PlannedCell

STATES = (*summary.STATES, summary.MISSING)
"""Of a cell: those of its run, or that it has none."""

STOPPED = "its process is gone; the same command goes on"


@dataclass(frozen=True)
class CellStatus:
    """A cell at this moment.

    Attributes:
        cell: its name.
        wave: which of `studies.plan.WAVES`.
        state: which of `STATES`.
        reason: why it failed or stopped, in a line; "" elsewhere.
        seconds: what it took if it is done, by its record, or has taken since it was last begun if it is running; None
            where that is not known.
        seconds_left: what is expected to be missing, see `studies.costs`; None where nothing alike was done.
        run: `<kind>/<key>`, once it was begun.
        command: how to run it alone.
    """

    cell: str
    wave: str
    state: str
    reason: str
    seconds: float | None
    seconds_left: float | None
    run: str
    command: str


@dataclass(frozen=True)
class StudyStatus:
    """A study at a scale, at this moment."""

    study: str
    scale: str
    cells: Sequence[CellStatus]

    @property
    def counts(self) -> dict[str, int]:
        """State -> how many cells."""
        found = Counter(cell.state for cell in self.cells)
        return {state: found[state] for state in STATES}

    @property
    def seconds_spent(self) -> float:
        """What the cells took that are done, each by itself."""
        return sum(cell.seconds or 0.0 for cell in self.cells if cell.state == "done")

    @property
    def seconds_left(self) -> float:
        """What the others are expected to take, in one process, as far as there is something to tell it by."""
        return sum(cell.seconds_left or 0.0 for cell in self.cells)

    @property
    def unknown(self) -> int:
        """How many cells are not done of which nothing tells what they will take."""
        return sum(cell.seconds_left is None for cell in self.cells)


def statuses(runs: Path, shown: Sequence[Plan], planned: Iterable[Plan]) -> list[StudyStatus]:
    """Where studies stand.

    What is missing is estimated from what is done at the same scale with the same keys set beside it.

    Args:
        runs: the folder of runs.
        shown: the studies.
        planned: all plans of the folder, to estimate from.
    """
    states: dict[str, str] = {}  # a run stands in many studies
    done: dict[tuple[str, ...], dict[str, tuple[Mapping[str, Any], float]]] = {}
    for study in [*planned, *shown]:
        alike = done.setdefault(_setting(study), {})
        for cell in study.cells:
            if cell.run not in states:
                states[cell.run] = cell.state(runs)
            known = cell.name in alike or states[cell.run] != "done"
            if not known and (seconds := Found(runs / cell.run).seconds) is not None:
                alike[cell.name] = (cell.about, seconds)
    found = []
    for study in shown:
        alike = done[_setting(study)]
        costs = mean_costs(alike.values())
        took = {name: seconds for name, (_, seconds) in alike.items()}
        cells = [_cell(runs, cell, states[cell.run], costs, took.get(cell.name)) for cell in study.cells]
        found.append(StudyStatus(study.name, study.scale, cells))
    return found


def _setting(study: Plan) -> tuple[str, ...]:
    return (study.scale, *study.changes)


def _cell(runs: Path, cell: PlannedCell, state: str, costs: Costs, took: float | None) -> CellStatus:
    left = 0.0 if state == "done" else estimate(costs, cell.about)
    seconds = took if state == "done" else None
    if state == "running" and (seconds := _since_begun(Found(runs / cell.run))) is not None and left is not None:
        left = max(left - seconds, 0.0)
    reason = {"stopped": STOPPED, "failed": Found(runs / cell.run).why_failed}.get(state, "")
    run = "" if state == summary.MISSING else cell.run
    return CellStatus(cell.name, wave_of(cell.about), state, reason, seconds, left, run, cell.command)


def _since_begun(folder: Found) -> float | None:
    """Seconds since the process began that has the folder, which then writes what it was asked for; by the clock of
    the machine that keeps it, perhaps.
    """
    try:
        return max(time() - folder.config.stat().st_mtime, 0.0)
    except OSError:
        return None


def summed(scale: str, studies: Iterable[StudyStatus]) -> StudyStatus:
    """Several studies of a scale as one, in which a cell that several have stands once."""
    return StudyStatus("together", scale, list({cell.cell: cell for study in studies for cell in study.cells}.values()))
