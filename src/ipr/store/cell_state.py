"""The word of a cell: what became of one job of a study, so far. Read without loading what runs it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ipr.files import write_atomically


@dataclass(frozen=True)
class CellWord:
    """What became of a cell, so far: `state` is running, done or failed.

    Attributes:
        cell: its name.
        state: see above.
        run: `<kind>/<key>` below the folder of runs, once it is done.
        found: whether it was there already.
        reason: why it failed, in a line.
        seconds: what it took this time.
        took: what it took when it was made, this time or before; None where no job of this cell made it.
        at: when this was written.
    """

    cell: str
    state: str
    run: str = ""
    found: bool = False
    reason: str = ""
    seconds: float = 0.0
    took: float | None = None
    at: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))


def words_folder(studies: Path) -> Path:
    """Where the words of a scale's cells lie."""
    return studies / "cells"


def leave_word(studies: Path, word: CellWord) -> None:
    """Writes what became of a cell, whole or not at all."""
    folder = words_folder(studies)
    folder.mkdir(parents=True, exist_ok=True)
    write_atomically(folder / f"{word.cell}.json", json.dumps(asdict(word), indent=2) + "\n")


def read_word(studies: Path, cell: str) -> CellWord | None:
    """What became of a cell; None where nobody has begun it, or what is there cannot be read."""
    try:
        written: dict[str, Any] = json.loads((words_folder(studies) / f"{cell}.json").read_text())
        return CellWord(**{f.name: written[f.name] for f in fields(CellWord) if f.name in written})
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def lease_of(studies: Path, cell: str) -> Path:
    """The lease that a cell's process has: whether a cell that says that it is running still does."""
    return words_folder(studies) / f"{cell}.lease"
