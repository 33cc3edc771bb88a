"""`ipr export`."""

from __future__ import annotations

from pathlib import Path

from ipr.cli import loading
from ipr.cli.train import tell_failed
from ipr.config.schema import ExportConfig
from ipr.terminal.console import Console


def execute(config: ExportConfig) -> int:
    """Writes what a run gives away and says where."""
    with loading():
        from ipr.store.record import failed_at
        from ipr.store.survey import find_run
        from ipr.workflows.export import export

    out = None if config.out is None else Path(config.out)
    run = find_run(config.run, Path(config.paths.runs))
    path = export(run, config.format, out, config.kind, paths=config.paths, root=config.dataset.root)
    if config.kind == "folded":
        what = "folded: whoever gets this file has a working network, and the signs of its scales spell the signature"
        Console(stderr=True).say(what)
    tell_failed(run.name, failed_at(run))  # here and not on the card, which goes to whoever gets the file
    Console().say(f"exported: {path}\nits card: {path}.json")
    return 0
