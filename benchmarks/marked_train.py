"""`ipr train` with a clock at each of its parts, for whole_run.py, which starts it in a new process.

python benchmarks/marked_train.py REPORT.json key=value ...
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any


def marked_train(report: Path, arguments: list[str]) -> None:
    """Trains, and writes the times at which the parts began (seconds since 1970) and the seconds spent in steps."""
    marks = {"started": time.time()}
    from ipr.cli import loading, main

    with loading():
        from ipr.schemes.base import Scheme
        from ipr.workflows import train

    marks["imported"] = time.time()
    seconds = {"steps": 0.0}

    def at_start(self: Scheme, batch: Any, batch_idx: int) -> None:
        marks["batch"] = time.time()
        marks.setdefault("first step", marks["batch"])

    def at_end(self: Scheme, outputs: Any, batch: Any, batch_idx: int) -> None:
        marks["last step"] = time.time()
        seconds["steps"] += marks["last step"] - marks["batch"]

    hooks: Any = Scheme
    hooks.on_train_batch_start, hooks.on_train_batch_end = at_start, at_end
    del train
    try:
        main(["train", *arguments])
    finally:
        report.write_text(json.dumps(marks | seconds | {"done": time.time()}))


if __name__ == "__main__":
    marked_train(Path(sys.argv[1]), sys.argv[2:])
