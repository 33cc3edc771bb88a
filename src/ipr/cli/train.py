"""`ipr train`."""

from __future__ import annotations

from functools import cache

from hydra.core.hydra_config import HydraConfig

from ipr.cli import loading
from ipr.console import Console
from ipr.runs.config import PassportSchemeConfig, TrainConfig, WatermarkSchemeConfig

KEYLESS = "secrets follow from the seed: fit for research only; set passport.key for a release"


def execute(config: TrainConfig) -> int:
    """Finds or makes the run and prints what the judge found."""
    with loading():
        from ipr.reports.terminal import run_table
        from ipr.runs.request import is_keyless
        from ipr.runs.train import train

    run = train(config)
    if is_keyless(config) and isinstance(config.scheme, PassportSchemeConfig | WatermarkSchemeConfig):
        warn(KEYLESS, HydraConfig.get().sweep.dir)  # only now: where there is an error, it is the one line that is told
    console = Console()
    console.print(run_table(run.record, run.verdict))
    console.print(f"{'found' if run.found else 'made'}: {run.folder.path}", highlight=False, soft_wrap=True)
    return 0


@cache
def warn(what: str, command: str) -> None:
    """Says something on stderr: once for a command, whose own folder tells it apart, and once more for each process
    that its sweep starts.
    """
    Console(stderr=True).print(f"ipr: warning: {what}", highlight=False, soft_wrap=True)
