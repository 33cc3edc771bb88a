"""One job of `ipr reproduce`."""

from __future__ import annotations

from ipr.terminal.console import Console
from ipr.workflows.cell import CellConfig, run_cell


def execute(config: CellConfig) -> int:
    """Runs the cell and says so in a line; an error is left as its word, and goes on to whoever reports it."""
    word = run_cell(config)
    how = "found" if word.found else f"made in {word.seconds:.1f} s"
    line = f"[{config.number}/{config.count}] {word.cell}: {how}"
    Console().print(line, highlight=False, soft_wrap=True)
    return 0
