"""`ipr status`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ipr.config.shipped import studies
from ipr.errors import InputError
from ipr.files import write_atomically
from ipr.studies.config import StatusConfig
from ipr.studies.plan import DEFAULT_SCALE, plan
from ipr.studies.planned import Plan, read_plans
from ipr.studies.planned import planned as planned_as
from ipr.studies.scale import Scale
from ipr.studies.status import STATES, CellStatus, StudyStatus, statuses, summed
from ipr.studies.study import find_studies, load_scale
from ipr.terminal.console import Console
from ipr.terminal.table import print_table

SCHEMA_VERSION = 2


def execute(config: StatusConfig) -> int:
    """Prints where studies stand, and writes it to a file if asked to."""
    runs = Path(config.paths.runs)
    planned = read_plans(runs)
    found = statuses(runs, chosen(config.study, config.scale, planned, runs), planned)
    for scale in dict.fromkeys(study.scale for study in found):
        same = [study for study in found if study.scale == scale]
        tell_studies(scale, same)
        cells = [cell for cell in summed(scale, same).cells if config.cells or cell.state != "done"]
        if cells and (config.study is not None or config.cells):
            tell_cells(cells)
    if not found:
        Console().say(f"nothing was planned in {runs.absolute()}; ipr status study=all shows what could be")
    if config.out is not None:
        write(Path(config.out), found)
        Console().say(f"written: {config.out}")
    return 0


def chosen(asked: str | None, scale: Scale | None, planned: Sequence[Plan], runs: Path) -> list[Plan]:
    """The studies that were asked for: as they were planned, or else as they would be.

    Args:
        asked: `all`, or names or files with commas between; None for what was planned.
        scale: only this scale; None for every one that a study was planned at, or else that which it is made for.
        planned: all plans.
        runs: the folder of runs.

    Raises:
        InputError: there is no such study.
    """
    wanted = [one for one in planned if scale is None or one.scale == scale.name]
    if asked is None:
        return wanted
    known = {one.name: one.study for one in planned} | {name: str(path) for name, path in studies().items()}
    found = [one for one in wanted if asked == "all"]
    names = {one.name for one in found}
    for name in asked.split(","):
        stem = Path(name).stem if name.endswith((".yaml", ".yml")) else name
        if plans := [one for one in wanted if one.name == stem]:
            found += plans
            continue
        for path, study in find_studies(known.get(stem, name)):
            if study.name not in names:
                at = scale or load_scale(study.scale or DEFAULT_SCALE)
                found.append(planned_as(runs, path, at, [], plan(study, at)))
    return found


def tell_studies(scale: str, found: Sequence[StudyStatus]) -> None:
    """Prints a line for each study of a scale, and for all of them summed where there are several."""
    rows = []
    for study in [*found, summed(scale, found)] if len(found) > 1 else found:
        counts = [str(count) if count else "-" for count in study.counts.values()]
        times = [duration(study.seconds_spent), remaining(study)]
        rows.append([study.study, str(len(study.cells)), *counts, *times])
    print_table(f"scale {scale}", ["study", "cells", *STATES, "spent", "left"], rows)


def tell_cells(cells: Sequence[CellStatus]) -> None:
    """Prints a line for each cell, and why those failed or stopped that did."""
    rows = []
    for cell in cells:
        took = "-" if cell.seconds is None else duration(cell.seconds)
        left = "unknown" if cell.seconds_left is None else duration(cell.seconds_left)
        rows.append([cell.cell, cell.state, took, left])
    print_table(f"{len(cells)} cells", ["cell", "state", "took", "left"], rows)
    for cell in cells:
        if cell.reason:
            Console().say(f"{cell.state}: {cell.cell}: {cell.reason}")


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


def write(path: Path, studies: Sequence[StudyStatus]) -> None:
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
    }
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, json.dumps(written, indent=1) + "\n")
    except OSError as error:
        raise InputError("out", path, f"cannot be written ({error.strerror})", "choose another file") from error
