"""`ipr dashboard`."""

from __future__ import annotations

from ipr.config.schema import DashboardConfig
from ipr.terminal.console import Console


def execute(config: DashboardConfig) -> int:
    """Saves the workspace on W&B or writes it to a file, and prints where it is."""
    from ipr.tracking.workspace import build_dashboard

    made = build_dashboard(config)
    lines = [f"saved: {made.url}"] if made.url else []
    if made.no_charts:
        lines += [f"its heat maps stay empty unless W&B has their charts already, as it takes none: {made.no_charts}"]
    lines += [f"written: {made.written}"] if made.written else []
    lines += [f"not saved on W&B, as {made.why}: `wandb login`, then the same command saves it"] if made.why else []
    for line in lines:
        Console().say(line)
    return 0
