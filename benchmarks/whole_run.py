"""What of a short `ipr train` is not a step of training: start, data, judging with 50 forged passports, saving.

    python benchmarks/whole_run.py

Each round is a new process: V2 on the digits with a random passport, 5 epochs. A step is what Lightning does between a
batch's start and its end. Time on the wall, from before Python starts to after it ends.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import measure
from measure import Row

REQUEST = ["scheme=passport_v2", "passport=random", "trainer.max_epochs=5", "trainer.progress_bar=false"]
PARTS = ("imports", "until the first step", "steps", "between steps", "judging and saving", "end of the process")


def one_run(width: float, small: list[str]) -> dict[str, float]:
    """Seconds of each part of one run, and in all."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "marks.json"
        arguments = [*REQUEST, f"model.width={width}", f"paths.runs={folder}/runs", *small]
        command = [sys.executable, str(Path(__file__).with_name("marked_train.py")), str(report), *arguments]
        started = time.time()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        ended = time.time()
        marks = json.loads(report.read_text())
    return {
        "imports": marks["imported"] - started,
        "until the first step": marks["first step"] - marks["imported"],
        "steps": marks["steps"],
        "between steps": marks["last step"] - marks["first step"] - marks["steps"],
        "judging and saving": marks["done"] - marks["last step"],
        "end of the process": ended - marks["done"],
        "in all": ended - started,
    }


NOTES: list[str] = []
"""Lines below the table."""


def table_rows(rounds: int, width: float, small: list[str] | None = None) -> list[Row]:
    """One row: the share of the whole that is not steps; and where it goes."""
    one_run(width, small or [])  # decodes the digits and warms the disk
    runs = [one_run(width, small or []) for _ in range(rounds)]
    for part in PARTS:
        share = measure.spread([run[part] / run["in all"] for run in runs])
        NOTES.append(f"{part}: {share} of {measure.spread([run['in all'] for run in runs])} s")
    shares = [1 - run["steps"] / run["in all"] for run in runs]
    return [Row("all but the training steps in a 5-epoch run on digits, share of the time on the wall", 0.15, shares)]


if __name__ == "__main__":
    measure.show(table_rows(*measure.rounds_and_width(__doc__, 3)))
    print("\n".join(NOTES))
