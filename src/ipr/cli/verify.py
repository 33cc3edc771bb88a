"""`ipr verify`."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from ipr.cli import loading
from ipr.runs.config import VerifyConfig


def execute(config: VerifyConfig) -> int:
    """Judges a claim on a suspect, tells it and writes it down; 0 if it is verified, 1 if not."""
    with loading():
        from ipr.reports.terminal import decision_table, finding_table
        from ipr.reports.verdict_page import write_verdict
        from ipr.runs.verify import verify

    judgement = verify(config)
    folder = write_verdict(judgement, Path(config.out) if config.out else None, Path(config.paths.runs))
    console = Console()
    console.print(finding_table(judgement))
    console.print(decision_table(judgement.decision))
    console.print(f"written: {folder}", highlight=False, soft_wrap=True)
    console.print("verified" if judgement.decision.verified else "not verified")
    return 0 if judgement.decision.verified else 1
