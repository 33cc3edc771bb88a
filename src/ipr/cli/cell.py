"""One job of `ipr reproduce`."""

from __future__ import annotations

import time

from ipr.terminal.console import Console
from ipr.workflows.cell import CellConfig, run_cell


def execute(config: CellConfig) -> int:
    """Runs the cell and says so in a line."""
    started = time.perf_counter()
    how = "found" if run_cell(config).found else f"made in {time.perf_counter() - started:.1f} s"
    line = f"[{config.number}/{config.count}] {config.cell}: {how}"
    Console().say(line)
    return 0
