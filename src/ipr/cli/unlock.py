"""`ipr unlock`."""

from __future__ import annotations

from pathlib import Path

from ipr.cli import loading
from ipr.config.schema import UnlockConfig
from ipr.terminal.console import Console


def execute(config: UnlockConfig) -> int:
    """Writes weights that work without their passport and says where."""
    with loading():
        from ipr.workflows.unlock import unlock_file

    out = None if config.out is None else Path(config.out)
    path = unlock_file(Path(config.weights), Path(config.claim), out)
    Console().say(f"unlocked: {path}")
    return 0
