"""`ipr report`."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.markdown import Markdown

from ipr.runs.config import ReportConfig


def execute(config: ReportConfig) -> int:
    """Writes table and figures from records and prints the table and where they are."""
    from ipr.reports.write import write_report

    runs = Path(config.paths.runs)
    out = Path(config.out) if config.out else runs / "report" / (config.tag or "all")
    report = write_report(runs, config.tag, out)
    console = Console()
    console.print(Markdown(report.table) if console.is_terminal else report.table, soft_wrap=True, highlight=False)
    for path in report.files:
        console.print(f"written: {path}", highlight=False, soft_wrap=True)
    return 0
