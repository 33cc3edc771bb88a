"""`ipr train`."""

from __future__ import annotations

from functools import cache

from hydra.core.hydra_config import HydraConfig
from rich.console import Console

from ipr.cli import loading
from ipr.cli.outcomes import Done
from ipr.runs.config import PassportSchemeConfig, TrainConfig, WatermarkSchemeConfig

KEYLESS = "secrets follow from the seed: fit for research only; set passport.key for a release"


def execute(config: TrainConfig) -> Done:
    """Finds or makes the run and prints what the judge found."""
    with loading():
        from ipr.reports.terminal import percent, run_table
        from ipr.runs.objective import check_objective, objective_of
        from ipr.runs.record import Record
        from ipr.runs.request import is_keyless
        from ipr.runs.train import train

    check_objective(config.objective, Record)
    run = train(config)
    if is_keyless(config) and isinstance(config.scheme, PassportSchemeConfig | WatermarkSchemeConfig):
        warn(KEYLESS, HydraConfig.get().sweep.dir)  # only now: where there is an error, it is the one line that is told
    console = Console()
    console.print(run_table(run.record, run.verdict))
    console.print(f"{'found' if run.found else 'made'}: {run.folder.path}", highlight=False, soft_wrap=True)
    record = run.record
    row = {
        "accuracy": percent(record.accuracy_used),
        "bits": "-" if record.bits_total is None else f"{record.bits_agreeing} of {record.bits_total}",
        "triggers": percent(record.trigger_accuracy),
        "consistent": {None: "-", True: "yes", False: "no"}[record.consistent],
        "state": "found" if run.found else "made",
        "run": run.folder.key,
    }
    value = objective_of(config.objective, record)
    told = {} if config.objective == "accuracy" or value is None else {config.objective: f"{value:g}"}
    return Done(value, row | told)


@cache
def warn(what: str, command: str) -> None:
    """Says something on stderr: once for a command, whose own folder tells it apart, and once more for each process
    that its sweep starts.
    """
    Console(stderr=True).print(f"ipr: warning: {what}", highlight=False, soft_wrap=True, markup=False)
