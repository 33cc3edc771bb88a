"""Seconds until `ipr --help` and `ipr train --cfg job` have answered, each in a new process.

python benchmarks/startup.py
"""

from __future__ import annotations

import subprocess
import sys
import time
from functools import partial

import measure
from measure import Row, take_turns

COMMANDS = {"ipr --help": (["--help"], 1.0), "ipr train --cfg job": (["train", "--cfg", "job"], 3.0)}


def table_rows(rounds: int, width: float) -> list[Row]:
    """A row for each command, in seconds on the wall."""
    del width

    def answer(arguments: list[str]) -> None:
        command = [sys.executable, "-c", "import sys; from ipr.cli import main; main(sys.argv[1:])", *arguments]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)

    works = {name: partial(answer, given) for name, (given, _) in COMMANDS.items()}
    seconds = take_turns(works, rounds, clock=time.perf_counter, warm=1)
    return [Row(f"`{name}`, seconds", limit, seconds[name]) for name, (_, limit) in COMMANDS.items()]


if __name__ == "__main__":
    measure.show(table_rows(*measure.rounds_and_width(__doc__, 7)))
