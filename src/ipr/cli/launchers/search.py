"""A sweep whose sweeper looks for the best: which way that is, and that the jobs are worth what it asks for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from omegaconf import DictConfig

from ipr.cli.launchers.outcomes import JobOutcome
from ipr.errors import InputError
from ipr.studies.front import MAXIMIZE, front

KEY = "hydra.sweeper.direction"


def directions_of(sweeper: Any) -> list[str]:
    """`maximize` or `minimize` for each number that a sweeper asks for; [] of one that asks for none.

    Args:
        sweeper: its settings: one direction, or a list of them.
    """
    asked = sweeper.get("direction")
    if asked is None:
        return []
    given = list(asked) if isinstance(asked, Sequence) and not isinstance(asked, str) else [asked]
    return [str(getattr(one, "name", one)) for one in given]  # the sweeper's own default is of an enumeration


def check_search(config: DictConfig) -> list[str]:
    """Refuses a sweep whose jobs have no such number, or not as many as its sweeper asks for, before the first begins.

    Args:
        config: what all jobs have in common.

    Returns:
        See `directions_of`.

    Raises:
        InputError: naming `objective`, or the directions.
    """
    directions = directions_of(config.hydra.sweeper)
    if "objective" not in config:
        return directions
    from ipr.store.record import Record
    from ipr.workflows.attack_rows import AttackRow
    from ipr.workflows.objective import check_objective, names_of

    check_objective(config.objective, AttackRow if "attack" in config else Record)
    names = names_of(config.objective)
    if directions and len(directions) != len(names):
        wanted = f"{KEY}={MAXIMIZE}" if len(names) == 1 else f"{KEY}=[{','.join([MAXIMIZE] * len(names))}]"
        asked = f"[{','.join(directions)}]" if len(directions) > 1 else directions[0]
        problem = f"is for {_counted(directions)}, and objective has {_counted(names)} ({', '.join(names)})"
        raise InputError(KEY, asked, problem, f"write e.g. {wanted}")
    return directions


def _counted(names: Sequence[str]) -> str:
    return f"{len(names)} number{'s' if len(names) > 1 else ''}"


def best_of(outcomes: Mapping[int, JobOutcome], directions: Sequence[str]) -> list[int]:
    """The jobs of a search that no other one beats, by number; those that are worth nothing are not among them."""
    values = {number: one.value for number, one in outcomes.items() if one.value is not None}
    worths = {number: list(one) if isinstance(one, Sequence) else [one] for number, one in values.items()}
    return front(worths, directions)
