"""The number that a finished job is worth to a sweeper, such as Optuna's: a field of its record."""

from __future__ import annotations

from dataclasses import fields

from ipr.errors import InputError
from ipr.store.record import Record
from ipr.terminal.spelling import choose_among
from ipr.workflows.attack_rows import AttackRow

NUMBERS = ("int", "float", "bool")


def choices(kind: type) -> list[str]:
    """What `objective` may be for a kind of row: `accuracy`, and every field that is a number."""
    names = [field.name for field in fields(kind) if str(field.type).partition(" | ")[0] in NUMBERS]
    return ["accuracy", *(name for name in names if name != "schema_version")]


def check_objective(name: str, kind: type) -> None:
    """Refuses a number that no row has, before anything is trained.

    Raises:
        InputError: there is none of that name.
    """
    if name not in choices(kind):
        raise InputError("objective", name, "is no number of a record", choose_among(name, choices(kind)))


def objective_of(name: str, row: Record | AttackRow) -> float | None:
    """The number; None where it does not apply to this run, such as the bits of a baseline.

    Args:
        name: `accuracy`, or a field.
        row: of the run.
    """
    value = row.accuracy_used if name == "accuracy" else getattr(row, name)
    return None if value is None else float(value)
