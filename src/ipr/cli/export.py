"""`ipr export`."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from ipr.cli import loading
from ipr.runs.config import ExportConfig


def execute(config: ExportConfig) -> int:
    """Writes what a run gives away and says where."""
    with loading():
        from ipr.runs.export import export
        from ipr.runs.folders import find_run

    out = None if config.out is None else Path(config.out)
    run = find_run(config.run, Path(config.paths.runs))
    path = export(run, config.format, out, config.kind, paths=config.paths, root=config.dataset.root)
    if config.kind == "folded":
        what = "folded: whoever gets this file has a working network, and the signs of its scales spell the signature"
        Console(stderr=True).print(what, highlight=False, soft_wrap=True)
    Console().print(f"exported: {path}\nits card: {path}.json", highlight=False, soft_wrap=True, markup=False)
    return 0
