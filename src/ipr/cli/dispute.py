"""`ipr dispute`."""

from __future__ import annotations

from pathlib import Path

from ipr.cli import loading
from ipr.config.schema import DisputeConfig
from ipr.terminal.console import Console

CODES = {"stands": 0, "none": 1, "undecided": 3}
"""The exit code of each outcome; 2 is for what could not be judged."""


def execute(config: DisputeConfig) -> int:
    """Judges several claims to one suspect, tells which of them stands and why, and writes it down."""
    with loading():
        from ipr.reports.dispute import dispute_table, write_dispute
        from ipr.workflows.dispute import dispute

    found = dispute(config)
    folder = write_dispute(found, Path(config.out) if config.out else None, Path(config.paths.runs))
    console = Console()
    console.print(dispute_table(found))
    for one in found.settlement.standings:
        console.say(one.because)
    console.say(f"written: {folder}")
    console.say(found.settlement.says)
    return CODES[found.settlement.outcome]
