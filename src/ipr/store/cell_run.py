"""Which run folder is a cell's: written by the job that begins it. What became of the cell the folder itself says."""

from __future__ import annotations

import json
import re
from pathlib import Path

from ipr.files import write_atomically
from ipr.store.folder import RunFolder

RUN = re.compile(r"(train|attack|exhibit)/[^./\x00][^/\x00]*")
"""How a run is named below the folder of runs."""


def cells_folder(studies: Path) -> Path:
    """Where it is said for the cells of a scale.

    Args:
        studies: `<runs>/studies/<scale>`.
    """
    return studies / "cells"


def leave_run(studies: Path, cell: str, run: RunFolder) -> None:
    """Says which run is a cell's; nothing is written where that is said already."""
    if read_run(studies, cell) != run.name:
        cells_folder(studies).mkdir(parents=True, exist_ok=True)
        write_atomically(cells_folder(studies) / f"{cell}.json", json.dumps({"cell": cell, "run": run.name}) + "\n")


def read_run(studies: Path, cell: str) -> str:
    """`<kind>/<key>` of a cell's run; "" where nobody has begun it, or what is there names no run."""
    try:
        run = json.loads((cells_folder(studies) / f"{cell}.json").read_text())["run"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return ""
    return run if isinstance(run, str) and RUN.fullmatch(run) else ""
