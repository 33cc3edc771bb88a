"""What a finished job is worth to a sweeper, such as Optuna's: a number of its record or row, or several."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from typing import Any

from ipr.config.schema import TrainConfig
from ipr.errors import InputError
from ipr.store.record import Record
from ipr.terminal.spelling import choose_among
from ipr.workflows.attack_rows import AttackRow
from ipr.workflows.train import plain_run

NUMBERS = ("int", "float", "bool")

ACCURACY, GAIN, MARK = DERIVED = ("accuracy", "gain", "mark")
"""What a legitimate user gets; that less the plain network's; the share of the bits, or trigger images, that is read.
All are fractions. They bear the names of the columns of studies.
"""

Worth = float | list[float]


def choices(kind: type) -> list[str]:
    """What `objective` may name for a kind of row: `DERIVED`, and every field that is a number."""
    names = [field.name for field in fields(kind) if str(field.type).partition(" | ")[0] in NUMBERS]
    return [*DERIVED, *(name for name in names if name != "schema_version")]


def names_of(objective: Any) -> list[str]:
    """The numbers that are asked for: `accuracy` is one, `[gain,mark]` are two.

    Raises:
        InputError: it is no name and no list of different names.
    """
    names = list(objective) if isinstance(objective, Sequence) and not isinstance(objective, str) else [objective]
    if not names or not all(isinstance(name, str) for name in names):
        remedy = "write objective=accuracy, or objective=[gain,mark]"
        raise InputError("objective", objective, "is no name and no list of names", remedy)
    if twice := [name for name in names if names.count(name) > 1]:
        raise InputError("objective", twice[0], "is named twice", "leave one of them out")
    return names


def check_objective(objective: Any, kind: type) -> None:
    """Refuses a number that no row has, before anything is trained.

    Args:
        objective: as configured.
        kind: of the row, `Record` or `AttackRow`.

    Raises:
        InputError: there is none of that name, or see `names_of`.
    """
    for name in names_of(objective):
        if name not in choices(kind):
            raise InputError("objective", name, "is no number of a record", choose_among(name, choices(kind)))


def numbers_of(objective: Any, row: Record | AttackRow, gain: Callable[[], float | None]) -> dict[str, float | None]:
    """The numbers that are asked for, by name; None where one does not apply, such as the bits of a baseline.

    Args:
        objective: as configured, checked.
        row: of the run, or the point of an attack.
        gain: gives the number of that name, where it is asked for.
    """
    derived: dict[str, Callable[[], float | None]] = {
        ACCURACY: lambda: row.accuracy_used,
        GAIN: gain,
        MARK: lambda: mark_of(row),
    }
    found = {name: derived[name]() if name in derived else getattr(row, name) for name in names_of(objective)}
    return {name: None if value is None else float(value) for name, value in found.items()}


def worth_of(numbers: Mapping[str, float | None]) -> Worth | None:
    """What a sweeper is given: one number, or a list in the order asked for; None where one of them does not apply."""
    known = [value for value in numbers.values() if value is not None]
    if len(known) < len(numbers):
        return None
    return known[0] if len(known) == 1 else known


def mark_of(row: Record | AttackRow) -> float | None:
    """The share of the claimed bits, or where there are none of the trigger images, that is read, in [0, 1]."""
    if row.bits_total:
        return (row.bits_agreeing or 0) / row.bits_total
    return row.trigger_accuracy


def gain_of(config: TrainConfig, record: Record) -> float:
    """What a legitimate user gets less the accuracy of the plain network, a fraction; below 0 where protection costs.

    Args:
        config: the request; its plain network is trained alike, where it is not there yet.
        record: of the run, before an attack.

    Raises:
        InputError: see `train`.
    """
    return record.accuracy_used - plain_run(config).record.accuracy_used


def told(numbers: Mapping[str, float | None]) -> dict[str, str]:
    """What the table of a sweep says of them besides the accuracy, which it has anyway."""
    return {name: f"{value:g}" for name, value in numbers.items() if name != ACCURACY and value is not None}
