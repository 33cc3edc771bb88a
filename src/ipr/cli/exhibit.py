"""`ipr exhibit`."""

from __future__ import annotations

from ipr.cli import loading
from ipr.cli.train import tell_failed
from ipr.terminal.console import Console
from ipr.workflows.exhibit import ExhibitConfig


def execute(config: ExhibitConfig) -> int:
    """Finds or makes the run, shows the exhibit, draws it into its folder, and says where it is."""
    with loading():
        from ipr.files import write_atomically
        from ipr.reports.exhibits import exhibit_pictures
        from ipr.reports.svg import svg_file
        from ipr.workflows.exhibit import exhibit

    run, console = exhibit(config), Console()
    if run.shown is not None:
        tell_failed(run.shown.folder.key, run.shown.failed)
    assert config.exhibit is not None  # `exhibit` refuses to go without
    for name, figure in exhibit_pictures(config.exhibit.name, run.arrays, run.facts).items():
        write_atomically(run.folder.path / f"{name}.svg", svg_file(figure))
    console.say(f"{'found' if run.found else 'made'}: {run.folder.path}")
    for path in sorted(run.folder.path.glob("*.svg")):
        console.say(f"drawn: {path}")
    console.say(f"{len(run.facts)} facts: {run.folder.path / 'facts.json'}")
    return 0
