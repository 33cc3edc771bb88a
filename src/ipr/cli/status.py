"""`ipr status`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich import box
from rich.table import Table

from ipr.config.shipped import papers, shipped, sweeps
from ipr.errors import InputError
from ipr.files import write_atomically
from ipr.store.survey import find_folders
from ipr.studies.config import StatusConfig
from ipr.studies.found import Planned, planned_now, read_planned
from ipr.studies.scale import Scale
from ipr.studies.status import STATES, STOPPED, CellStatus, StudyStatus, SweepStatus, statuses, sweep_statuses, together
from ipr.studies.study import load_as, load_study
from ipr.terminal.console import Console
from ipr.terminal.spelling import choose_among

SCHEMA_VERSION = 1


def execute(config: StatusConfig) -> int:
    """Prints where studies stand, and writes it to a file if asked to."""
    runs, console = Path(config.paths.runs), Console()
    planned = in_order(read_planned(runs))
    studies = statuses(runs, chosen(config.study, config.scale, planned, runs), planned, datetime.now(UTC))
    swept = chosen_sweeps(config.study, runs)

    def say(line: str) -> None:
        console.print(line, highlight=False, soft_wrap=True)

    for scale in dict.fromkeys(study.scale for study in studies):
        same = [study for study in studies if study.scale == scale]
        console.print(study_table(scale, same))
        cells = [cell for cell in together(scale, same).cells if config.cells or cell.state != "done"]
        if cells and (config.study is not None or config.cells):
            console.print(cell_table(cells))
            for cell in cells:
                if cell.reason:
                    say(f"{cell.state}: {cell.cell}: {cell.reason}")
    if swept:
        console.print(sweep_table(swept))
        for sweep in swept:
            for name, why in [*sweep.failed.items(), *((name, STOPPED) for name in sweep.stopped)]:
                say(f"{'failed' if name in sweep.failed else 'stopped'}: {name} of {sweep.study}: {why}")
    if not studies and not swept:
        say(f"nothing was planned or swept in {runs.absolute()}; ipr status study=all shows what could be")
    if config.out is not None:
        write(Path(config.out), studies, swept)
        say(f"written: {config.out}")
    return 0


def chosen_sweeps(asked: str | None, runs: Path) -> list[SweepStatus]:
    """The studies that are swept by tag, of which runs are there or that were asked for by name."""
    named = asked.split(",") if asked not in (None, "all") else []
    known = [path.stem for path in sweeps()]
    wanted = [name for name in known if name in named] if named else known
    found = sweep_statuses(find_folders(runs), wanted) if wanted else []
    return [s for s in found if named or s.trainings or s.attacks or s.running or s.failed or s.stopped]


def in_order(planned: Iterable[Planned]) -> list[Planned]:
    """Plans in the paper's order, others after them."""
    order = list(papers())
    return sorted(planned, key=lambda p: (order.index(p.name) if p.name in order else len(order), p.name, p.scale))


def chosen(asked: str | None, scale: Scale | None, planned: Sequence[Planned], runs: Path) -> list[Planned]:
    """The studies that were asked for: as they were planned, or else as they would be.

    Args:
        asked: `all`, or names or files with commas between; None for what was planned.
        scale: only this scale; None for every one that a study was planned at, or else the default one.
        planned: all plans.
        runs: the folder of runs.

    Raises:
        InputError: there is no such study.
    """
    known = {plan.name: plan.path for plan in planned} | papers()
    wanted = [plan for plan in planned if scale is None or plan.scale == scale.name]
    if asked is None:
        return wanted
    swept, found = {path.stem for path in sweeps()}, []
    for name in [*known] if asked == "all" else asked.split(","):
        stem = Path(name).stem if name.endswith((".yaml", ".yml")) else name
        if plans := [plan for plan in wanted if plan.name == stem]:
            found += plans
            continue
        path = known.get(stem) or (Path(name) if stem != name else None)
        if path is not None:
            found.append(planned_now(runs, path, load_study(path), scale or default_scale()))
        elif name not in swept:
            remedy = choose_among(name, [*known, *sorted(swept)], "choose all, a file, or among")
            raise InputError("study", name, "is unknown", remedy)
    return found


def default_scale() -> Scale:
    """That of `ipr reproduce`."""
    scale: Scale = load_as(shipped("conf") / "scale" / "smoke.yaml", Scale, {})
    return scale


def study_table(scale: str, studies: Sequence[StudyStatus]) -> Table:
    """A line for each study of a scale, and for all of them together where there are several."""
    table = _table(f"scale {scale}", ["study"], ["cells", *STATES, "spent", "left"])
    for study in [*studies, together(scale, studies)] if len(studies) > 1 else studies:
        counts = [str(count) if count else "-" for count in study.counts.values()]
        times = [duration(study.seconds_spent), remaining(study)]
        table.add_row(study.study, str(len(study.cells)), *counts, *times)
    return table


def cell_table(cells: Sequence[CellStatus]) -> Table:
    """A line for each cell."""
    table = _table("", ["cell", "state"], ["took", "left"])
    for cell in cells:
        took = "-" if cell.seconds is None else duration(cell.seconds)
        left = "unknown" if cell.seconds_left is None else duration(cell.seconds_left)
        table.add_row(cell.cell, cell.state, took, left)
    return table


def sweep_table(sweeps: Sequence[SweepStatus]) -> Table:
    """A line for each study that is swept by tag."""
    table = _table("swept by tag", ["study"], ["trainings", "attacks", "running", "stopped", "failed", "spent"])
    for sweep in sweeps:
        counts = (sweep.trainings, sweep.attacks, sweep.running, len(sweep.stopped), len(sweep.failed))
        table.add_row(sweep.study, *(str(count) if count else "-" for count in counts), duration(sweep.seconds_spent))
    return table


def _table(title: str, names: Sequence[str], numbers: Sequence[str]) -> Table:
    table = Table(title=title or None, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1), collapse_padding=True)
    for name in names:
        table.add_column(name, overflow="fold", min_width=9)
    for number in numbers:
        table.add_column(number, justify="right", no_wrap=True)
    return table


def duration(seconds: float) -> str:
    """Seconds, minutes, or hours and minutes, whichever a person would say."""
    if seconds < 1:
        return "-" if seconds == 0 else "< 1 s"
    if seconds < 59.5:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def remaining(study: StudyStatus) -> str:
    """What a study will still take, and of how many cells nothing tells."""
    if not study.unknown:
        return duration(study.seconds_left)
    return f"{duration(study.seconds_left)} + {study.unknown} unknown" if study.seconds_left else "unknown"


def write(path: Path, studies: Sequence[StudyStatus], sweeps: Sequence[SweepStatus]) -> None:
    """The same as JSON, every cell included.

    Raises:
        InputError: the file cannot be written.
    """
    written: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "studies": [
            {
                "study": study.study,
                "scale": study.scale,
                **study.counts,
                "seconds_spent": round(study.seconds_spent, 1),
                "seconds_left": round(study.seconds_left, 1),
                "unknown": study.unknown,
                "cells": [asdict(cell) for cell in study.cells],
            }
            for study in studies
        ],
        "sweeps": [asdict(sweep) for sweep in sweeps],
    }
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, json.dumps(written, indent=1) + "\n")
    except OSError as error:
        raise InputError("out", path, f"cannot be written ({error.strerror})", "choose another file") from error
