"""`ipr train`."""

from __future__ import annotations

import sys

from rich.console import Console

from ipr.cli import loading
from ipr.runs.config import TrainConfig

READABLE = "a signature's text can be read from the weights: do not use it as a secret"


def execute(config: TrainConfig) -> int:
    """Finds or makes the run and prints what the judge found."""
    with loading():
        from ipr.reports.terminal import run_table
        from ipr.runs.request import has_text
        from ipr.runs.train import train

    if has_text(config.scheme):
        print(f"ipr: warning: {READABLE}", file=sys.stderr)
    run = train(config)
    console = Console()
    console.print(run_table(run.record, run.verdict))
    console.print(f"{'found' if run.found else 'made'}: {run.folder.path}", highlight=False, soft_wrap=True)
    return 0
