"""`ipr train`."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING

from hydra.core.hydra_config import HydraConfig

from ipr.cli import loading
from ipr.cli.launchers.outcomes import Done
from ipr.config.schema import TrainConfig
from ipr.terminal.console import Console

if TYPE_CHECKING:
    from ipr.workflows.embedding_checks import Check


def execute(config: TrainConfig) -> Done:
    """Finds or makes the run and prints what the judge found, and whether the embedding succeeded.

    An embedding that failed ends with 0 all the same: the training did what it was asked for and is recorded, and a
    sweep over what may fail must not end as if a job had broken. A script that goes on only with a network that is
    marked asks `ipr verify`, which ends with 1, or reads `consistent` in record.json.
    """
    with loading():
        from ipr.judging.fidelity import percent
        from ipr.reports.terminal import check_lines, run_table
        from ipr.store.record import Record
        from ipr.workflows.objective import check_objective, gain_of, numbers_of, told, worth_of
        from ipr.workflows.request import KEYLESS, is_keyless, scheme_of
        from ipr.workflows.train import train

    check_objective(config.objective, Record)
    run = train(config)
    if is_keyless(config) and scheme_of(config).claim_kind is not None:
        warn(
            KEYLESS.format("passport.key"), HydraConfig.get().sweep.dir
        )  # only now: where there is an error, it is the one line that is told
    console = Console()
    if config.trainer.fast_dev_run:
        console.print(TRIED, soft_wrap=True)
        return Done()
    console.print(run_table(run.record, run.verdict, run.checks))
    for line in check_lines(run.checks):
        console.print(line, soft_wrap=True)
    _tell_triggers(run.folder.key, run.checks)
    console.say(f"{'found' if run.found else 'made'}: {run.folder.path}")
    record = run.record
    row = {
        "accuracy": percent(record.accuracy_used),
        "bits": "-" if record.bits_total is None else f"{record.bits_agreeing} of {record.bits_total}",
        "triggers": percent(record.trigger_accuracy),
        "consistent": {None: "-", True: "yes", False: "no"}[record.consistent],
        "state": "found" if run.found else "made",
        "run": run.folder.key,
    }
    numbers = numbers_of(config.objective, record, lambda: gain_of(config, record))
    return Done(worth_of(numbers), told(numbers) | row)


TRIED = "tried with few batches: training, judging and recording work; nothing was kept"


def _tell_triggers(key: str, checks: Sequence[Check]) -> None:
    """Says on stderr that the trigger set of a run was not learned, or in part, and what to change."""
    from ipr.workflows.embedding_checks import TRIGGERS

    for check in checks:
        if check.name == TRIGGERS and check.remedy:
            what = f"{key}: {check.name}: {check.status}: {check.says}. To change: {check.remedy}"
            Console(stderr=True).say(f"ipr: warning: {what}")


def tell_failed(key: str, names: Sequence[str]) -> None:
    """Says on stderr which checks of a run's embedding failed (`workflows.embedding_checks`), if any did: an attack on
    it, or its claim, then shows little.
    """
    if names:
        what = f"the embedding of {key} failed ({', '.join(names)}); the `ipr train` that made it says what to change"
        Console(stderr=True).say(f"ipr: warning: {what}")


@cache
def warn(what: str, command: str) -> None:
    """Says something on stderr: once for a command, whose own folder tells it apart, and once more for each process
    that its sweep starts.
    """
    Console(stderr=True).say(f"ipr: warning: {what}")
