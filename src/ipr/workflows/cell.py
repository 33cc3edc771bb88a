"""One job of a study: run it whatever it is, and leave word of what became of it."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from ipr.errors import InputError
from ipr.store.cell_state import CellWord, lease_of, leave_word, read_word, words_folder
from ipr.store.lease import Lease, announce
from ipr.workflows.attack import AttackRun, attack
from ipr.workflows.exhibit import ExhibitConfig, ExhibitRun, exhibit
from ipr.workflows.train import Run, train


@dataclass
class CellConfig(ExhibitConfig):
    """A job of `ipr reproduce`: a training, an attack, or an exhibit, whichever is named last."""

    cell: str = ""
    number: int = 0
    count: int = 0
    studies: str = ""  # the folder of the scale: <paths.runs>/studies/<scale>


def run_cell(config: CellConfig) -> CellWord:
    """Finds or makes what a cell asks for; waits for another process that is at it.

    Raises:
        InputError: it asks for something that cannot be; also left as its word, as is every other error.
    """
    studies = Path(config.studies)
    with Lease(lease_of(studies, config.cell), announce(f"is at the cell {config.cell}")):
        started = time.perf_counter()
        earlier = read_word(studies, config.cell)
        took = earlier.took if earlier else None
        leave_word(studies, CellWord(config.cell, "running", took=took))
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
        name = f"{path.parent.name}/{path.name}"
        took = took if run.found else seconds
        word = CellWord(config.cell, "done", name, run.found, seconds=seconds, took=took)
        leave_word(studies, word)
        return word
