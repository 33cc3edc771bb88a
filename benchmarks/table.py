"""Every row of the table in docs/performance.md: `make bench`, about 15 minutes on two cores.

python benchmarks/table.py runs/bench/performance.md
"""

from __future__ import annotations

import argparse
from pathlib import Path

import inference
import inputs
import judging
import loop
import measure
import startup
import train_step
import whole_run

PARTS = {train_step: 11, inference: 31, judging: 3, inputs: 7, loop: 5, whole_run: 3, startup: 7}
"""Every script and its rounds."""


def main(out: Path, rounds: int | None = None, width: float = 1.0) -> None:
    """Measures, prints each row as it comes, and writes them all."""
    lines = measure.HEADER.splitlines()
    print(measure.HEADER, flush=True)
    for part, its_rounds in PARTS.items():
        for row in part.table_rows(rounds or its_rounds, width):
            lines.append(str(row))
            print(row, flush=True)
    lines += ["", measure.facts(), ""]
    lines += [f"- {note}" for part in (train_step, inference, judging, whole_run) for note in part.NOTES]
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text("\n".join(lines) + "\n")
    print(f"\n{measure.facts()}\nwritten: {out}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path, help="the file for the table; its folder is made")
    main(parser.parse_args().out)
