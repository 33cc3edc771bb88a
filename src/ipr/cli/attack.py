"""`ipr attack`."""

from __future__ import annotations

from ipr.console import Console
from ipr.runs.attack import AttackConfig


def execute(config: AttackConfig) -> int:
    """Finds or makes the victim, attacks it, and prints what the judge found at every point."""
    from ipr.reports.terminal import attack_table
    from ipr.runs.attack import attack

    console = Console()
    if config.skip_inapplicable and (reason := config.attack.inapplicable(config.scheme.name)):
        console.print(f"{config.attack.name} on {config.scheme.name}: does not apply, because {reason}", soft_wrap=True)
        return 0
    run = attack(config)
    console.print(attack_table(run.rows))
    console.print(f"{'found' if run.found else 'made'}: {run.folder.path}", highlight=False, soft_wrap=True)
    return 0
