"""`ipr attack`."""

from __future__ import annotations

from ipr.attacks.config import AttackConfig
from ipr.cli.launchers.outcomes import Done
from ipr.cli.train import TRIED, tell_failed
from ipr.terminal.console import Console
from ipr.workflows.attack_rows import AttackRow


def execute(config: AttackConfig) -> Done:
    """Finds or makes the victim, attacks it, and prints what the judge found at every point."""
    from ipr.judging.fidelity import percent
    from ipr.judging.outcome import mark, nearest
    from ipr.reports.terminal import attack_table
    from ipr.workflows.attack import attack
    from ipr.workflows.objective import check_objective, gain_of, numbers_of, told, worth_of

    console = Console()
    check_objective(config.objective, AttackRow)
    if config.skip_inapplicable and (reason := config.attack.inapplicable(config.scheme.name)):
        console.print(f"{config.attack.name} on {config.scheme.name}: does not apply, because {reason}", soft_wrap=True)
        return Done(row={"state": "does not apply"})
    run = attack(config)
    if config.trainer.fast_dev_run:
        console.print(TRIED, soft_wrap=True)
        return Done()
    if run.victim is not None:
        tell_failed(run.victim.folder.key, run.victim.failed)
    console.print(attack_table(run.rows))
    console.say(f"{'found' if run.found else 'made'}: {run.folder.path}")
    row, succeeded = nearest(run.rows), sum(row.attack_succeeded for row in run.rows)
    line = {
        "accuracy": percent(row.accuracy_after),
        "mark": percent(mark(row)),
        "succeeded": f"{succeeded} of {len(run.rows)}",
        "state": "found" if run.found else "made",
        "run": run.folder.key,
    }
    numbers = numbers_of(config.objective, row, lambda: gain_of(config, run.victim.record) if run.victim else None)
    return Done(worth_of(numbers), told(numbers) | line)
