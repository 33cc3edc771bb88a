"""One job of a study: run it whatever it is, and leave word of what became of it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from ipr.errors import InputError
from ipr.runs.attack import AttackRun, attack
from ipr.runs.exhibit import ExhibitConfig, ExhibitRun, exhibit
from ipr.runs.train import Run, train
from ipr.runs.words import CellWord, leave_word, words_folder


@dataclass
class CellConfig(ExhibitConfig):
    """A job of `ipr reproduce`: a training, an attack, or an exhibit, whichever is named last."""

    cell: str = ""
    number: int = 0
    count: int = 0
    studies: str = ""  # the folder of the scale: <paths.runs>/studies/<scale>


def run_cell(config: CellConfig) -> CellWord:
    """Finds or makes what a cell asks for.

    Raises:
        InputError: it asks for something that cannot be; also left as its word, as is every other error.
    """
    studies, started = Path(config.studies), time.perf_counter()
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
        leave_word(studies, CellWord(config.cell, "failed", reason=" ".join(reason.split()), seconds=seconds))
        raise
    path = run.folder.path
    seconds = round(time.perf_counter() - started, 1)
    word = CellWord(config.cell, "done", f"{path.parent.name}/{path.name}", run.found, seconds=seconds)
    leave_word(studies, word)
    return word
