"""`ipr train`."""

from __future__ import annotations

from rich.console import Console

from ipr.cli import loading
from ipr.runs.config import TrainConfig


def execute(config: TrainConfig) -> int:
    """Finds or makes the run and prints what the judge found."""
    with loading():
        from ipr.reports.terminal import run_table
        from ipr.runs.train import train

    run = train(config)
    console = Console()
    console.print(run_table(run.record, run.verdict))
    console.print(f"{'found' if run.found else 'made'}: {run.folder.path}", highlight=False, soft_wrap=True)
    return 0
