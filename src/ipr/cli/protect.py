"""`ipr protect`."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from hydra.core.hydra_config import HydraConfig

from ipr.cli import loading
from ipr.cli.launchers.outcomes import Done
from ipr.cli.train import warn
from ipr.config.schema import ProtectConfig
from ipr.terminal.console import Console

if TYPE_CHECKING:
    from ipr.workflows.protect import ProtectedRun

NAMED_KEY = "passport.key=file:PATH"


def execute(config: ProtectConfig) -> Done:
    """Finds or makes the run that starts from the weights, and tells what became of them; 1 if the embedding failed."""
    with loading():
        from ipr.judging.fidelity import percent
        from ipr.reports.terminal import before_and_after, check_lines
        from ipr.store.record import Record
        from ipr.workflows.objective import check_objective, numbers_of, told, worth_of
        from ipr.workflows.protect import protect_weights
        from ipr.workflows.request import KEYLESS, is_keyless

    check_objective(config.objective, Record)
    made = protect_weights(config)
    run, console = made.run, Console()
    if is_keyless(config):
        warn(KEYLESS.format(NAMED_KEY), HydraConfig.get().sweep.dir)
    console.say(before_and_after(made.before, run.record))
    for line in check_lines(run.checks):
        console.print(line, soft_wrap=True)
    if (limit := config.verification.fidelity_threshold) < made.costs:
        what = f"the network is {percent(made.costs)} less accurate than before, more than {percent(limit)}"
        remedy = f"more epochs (trainer.max_epochs={run.record.epochs} now), or a lower optimizer.lr"
        Console(stderr=True).say(f"ipr: warning: {what}. To change: {remedy}")
    console.say(f"{'found' if run.found else 'made'}: {run.folder.path}")
    _tell_what_to_do(made, config)
    row = {"accuracy": percent(run.record.accuracy_used), "before": percent(made.before), "run": run.folder.key}
    numbers = numbers_of(config.objective, run.record, lambda: -made.costs)
    return Done(worth_of(numbers), told(numbers) | row, code=1 if run.failed else 0)


def _tell_what_to_do(made: ProtectedRun, config: ProtectConfig) -> None:
    """Where lies what is given away and what is kept, and how the one is judged by the other; nothing of that where the
    embedding failed.
    """
    console, folder, failed = Console(), made.run.folder, made.run.failed
    if failed:
        console.say(f"the embedding FAILED ({', '.join(failed)}): do not give these weights away, nothing claims them")
        return
    weights, claim = shlex.quote(str(folder.weights)), shlex.quote(str(folder.claim))
    pictures = config.dataset.root if config.dataset.name == "image_folder" else None
    images = "FOLDER" if pictures is None else shlex.quote(pictures)
    locked = config.scheme.name == "passport_v1"
    works = "its users need the passport: ipr unlock, or ipr export kind=folded" if locked else "works for everybody"
    console.say(f"give away: {weights} ({works})")
    console.say(f"keep:      {claim} (secret)")
    console.say(f"first:     ipr claim commit claim={claim} # a date from before the release is what a forger lacks")
    console.say(f"judge:     ipr verify suspect={weights} claim={claim} images={images}")
