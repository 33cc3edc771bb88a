"""One job of a study: run it whatever it is, and leave word of what became of it."""

from __future__ import annotations

import json
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ipr.errors import InputError
from ipr.files import write_atomically
from ipr.lease import Lease
from ipr.runs.attack import AttackRun, attack
from ipr.runs.exhibit import ExhibitConfig, ExhibitRun, exhibit
from ipr.runs.train import Run, train


@dataclass
class CellConfig(ExhibitConfig):
    """A job of `ipr reproduce`: a training, an attack, or an exhibit, whichever is named last."""

    cell: str = ""
    number: int = 0
    count: int = 0
    studies: str = ""  # the folder of the scale: <paths.runs>/studies/<scale>


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
        at: when this was written.
    """

    cell: str
    state: str
    run: str = ""
    found: bool = False
    reason: str = ""
    seconds: float = 0.0
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
        return CellWord(**{f.name: written[f.name] for f in fields(CellWord)})
    except (OSError, ValueError, KeyError, TypeError):
        return None


def lease_of(studies: Path, cell: str) -> Path:
    """The lease that a cell's process has: whether a cell that says that it is running still does."""
    return words_folder(studies) / f"{cell}.lease"


def run_cell(config: CellConfig) -> CellWord:
    """Finds or makes what a cell asks for; waits for another process that is at it.

    Raises:
        InputError: it asks for something that cannot be; also left as its word, as is every other error.
    """
    studies = Path(config.studies)
    with Lease(lease_of(studies, config.cell)):
        started = time.perf_counter()
        leave_word(studies, CellWord(config.cell, "running"))
        try:
            run: Run | AttackRun | ExhibitRun
            if config.exhibit is not None:
                run = exhibit(config)
            elif config.attack is not None:
                run = attack(config)
            else:
                run = train(config)
        except KeyboardInterrupt:
            (words_folder(studies) / f"{config.cell}.json").unlink(missing_ok=True)  # it goes on another time
            raise
        except Exception as error:
            reason = str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {error}"
            seconds = round(time.perf_counter() - started, 1)
            with suppress(OSError):  # a full disk has no room for a word either; the error itself is what is told
                leave_word(studies, CellWord(config.cell, "failed", reason=" ".join(reason.split()), seconds=seconds))
            raise
        path = run.folder.path
        seconds = round(time.perf_counter() - started, 1)
        word = CellWord(config.cell, "done", f"{path.parent.name}/{path.name}", run.found, seconds=seconds)
        leave_word(studies, word)
        return word
