"""What of a study is done, running, failed or missing, what it took, and what the rest will take."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from ipr.store.cell_state import lease_of
from ipr.store.lease import held
from ipr.store.survey import Found
from ipr.studies.costs import Costs, estimate, mean_costs, seconds_of
from ipr.studies.found import Planned, PlannedCell, studies_folder
from ipr.studies.plan import wave_of

STATES = ("done", "running", "stopped", "failed", "missing")
"""Of a cell. Stopped: its process ended without a word; like a failed one, the same command goes on with it."""

STOPPED = "its process is gone; the same command goes on"


@dataclass(frozen=True)
class CellStatus:
    """A cell at this moment.

    Attributes:
        cell: its name.
        wave: which of `studies.plan.WAVES`.
        state: which of `STATES`.
        reason: why it failed or stopped, in a line; "" elsewhere.
        seconds: what it took if it is done or failed, or has taken so far if it is running, by the clock on the wall;
            None where that is not known.
        seconds_left: what is expected to be missing, see `studies.costs`; None where nothing alike was done.
        run: `<kind>/<key>`, once it is done.
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


@dataclass(frozen=True)
class SweepStatus:
    """A study that is swept by `ipr train` or `ipr attack`: the runs that carry its tag.

    Attributes:
        study: its name, which is the tag.
        trainings, attacks: how many are finished.
        running: how many are being made.
        failed: `<kind>/<key>` of those that cannot be finished -> why, in a line.
        stopped: `<kind>/<key>` of all others: their process was interrupted, or ended without a word.
        seconds_spent: what the finished ones took, as far as they kept it.
    """

    study: str
    trainings: int
    attacks: int
    running: int
    failed: Mapping[str, str]
    stopped: Sequence[str]
    seconds_spent: float


def statuses(runs: Path, shown: Sequence[Planned], planned: Iterable[Planned], now: datetime) -> list[StudyStatus]:
    """Where studies stand.

    What is missing is estimated from what is done at the same scale with the same keys set beside it. A cell that runs
    is expected to need what is left of its estimate.

    Args:
        runs: the folder of runs.
        shown: the studies.
        planned: all plans of the folder, to estimate from.
        now: the time, with its zone.
    """
    took: dict[tuple[str, str], float | None] = {}  # a cell stands in many studies
    done: dict[tuple[str, ...], dict[str, tuple[Mapping[str, Any], float]]] = {}
    for study in [*planned, *shown]:
        alike = done.setdefault(_setting(study), {})
        for cell in study.cells:
            if cell.word is None or cell.word.state != "done":
                continue
            place = (study.scale, cell.name)
            if place not in took:
                took[place] = seconds_of(runs, cell.word)
            if (seconds := took[place]) is not None:
                alike[cell.name] = (cell.about, seconds)
    costs = {setting: mean_costs(cells.values()) for setting, cells in done.items()}
    found = []
    for study in shown:
        folder, known = studies_folder(runs, study.scale), costs[_setting(study)]
        cells = [_cell(folder, cell, known, took.get((study.scale, cell.name)), now) for cell in study.cells]
        found.append(StudyStatus(study.name, study.scale, cells))
    return found


def _setting(study: Planned) -> tuple[str, ...]:
    return (study.scale, *study.changes)


def _cell(studies: Path, cell: PlannedCell, costs: Costs, took: float | None, now: datetime) -> CellStatus:
    word, state, reason = cell.word, "missing", ""
    seconds, left, run = None, estimate(costs, cell.about), ""
    if word is not None:
        state, reason = word.state, word.reason
    if word is not None and state == "done":
        seconds, left, run = took, 0.0, word.run
    elif word is not None and state == "failed":
        seconds = word.seconds
    elif word is not None and not held(lease_of(studies, cell.name)):
        state, reason = "stopped", STOPPED
    elif word is not None:
        seconds = _since(word.at, now)
        left = None if left is None else max(left - (seconds or 0.0), 0.0)
    return CellStatus(cell.name, wave_of(cell.about), state, reason, seconds, left, run, cell.command)


def _since(at: str, now: datetime) -> float | None:
    """Seconds since a time that was written, by another machine's clock perhaps; None where it cannot be read."""
    try:
        return max((now - datetime.fromisoformat(at)).total_seconds(), 0.0)
    except (TypeError, ValueError):
        return None


def together(scale: str, studies: Iterable[StudyStatus]) -> StudyStatus:
    """Several studies of a scale as one, in which a cell that several have stands once."""
    return StudyStatus("together", scale, list({cell.cell: cell for study in studies for cell in study.cells}.values()))


def sweep_statuses(folders: Iterable[Found], names: Sequence[str]) -> list[SweepStatus]:
    """What carries the tags of studies that are swept by tag.

    Args:
        folders: all runs.
        names: of the studies.
    """
    tagged: dict[str, list[Found]] = {name: [] for name in names}
    for folder in folders:
        for tag in folder.tags.intersection(tagged):
            tagged[tag].append(folder)
    return [_sweep(name, of_sweep) for name, of_sweep in tagged.items()]


def _sweep(name: str, folders: Sequence[Found]) -> SweepStatus:
    finished = [folder for folder in folders if folder.finished]
    failed = {folder.name: folder.why_failed for folder in folders if not folder.finished and folder.why_failed}
    others = [folder for folder in folders if not folder.finished and folder.name not in failed]
    running = [folder.name for folder in others if folder.held]
    stopped = [folder.name for folder in others if folder.name not in running]
    kinds = Counter(folder.kind for folder in finished)
    spent = sum(folder.seconds or 0.0 for folder in finished)
    return SweepStatus(name, kinds["train"], kinds["attack"], len(running), failed, stopped, spent)
