"""What became of the jobs of a sweep: a file each, as they may run in other processes and on other machines."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ipr.config.secrets import without_secret
from ipr.files import write_atomically
from ipr.texts import QUOTED, unquoted


@dataclass(frozen=True)
class Done:
    """What a command that did its work leaves to a sweep.

    Attributes:
        value: the number, or numbers, that a sweeper optimises (`objective`); None for none.
        row: heading -> cell: its line in the table at the end.
        code: its exit code.
    """

    value: float | list[float] | None = None
    row: Mapping[str, str] = field(default_factory=dict)
    code: int = 0


@dataclass(frozen=True)
class JobOutcome:
    """How a job ended.

    Attributes:
        number: the job's, counted from 0.
        code: its exit code.
        line: its error in one line; empty without one.
        traced: whether there is more about it in its log.
        value, row: see `Done`.
    """

    number: int
    code: int
    line: str = ""
    traced: bool = False
    value: float | list[float] | None = None
    row: Mapping[str, str] = field(default_factory=dict)


def leave_outcome(place: Path, outcome: JobOutcome) -> None:
    """Writes how a job ended into a folder, whole or not at all."""
    write_atomically(place / f"{outcome.number}.outcome", json.dumps(asdict(outcome)))


def read_outcome(place: Path, number: int) -> JobOutcome | None:
    """How a job ended; None where it has not, or died before it could say so."""
    try:
        return JobOutcome(**json.loads((place / f"{number}.outcome").read_text()))
    except FileNotFoundError:
        return None


def read_outcomes(place: Path) -> list[JobOutcome]:
    """How all jobs ended that said so, by number."""
    found = [read_outcome(place, int(path.stem)) for path in place.glob("*.outcome")]
    return sorted(filter(None, found), key=lambda outcome: outcome.number)


def mark_begun(place: Path, number: int) -> None:
    """Says that a job has begun."""
    (place / f"{number}.begun").touch()


def has_begun(place: Path, number: int) -> bool:
    """Whether a job has."""
    return (place / f"{number}.begun").exists()


def announce(place: Path, named: Mapping[int, str], count: int | None) -> None:
    """Leaves in a sweep's folder what each of its jobs is to say of itself when it begins.

    Args:
        place: the folder.
        named: number -> what tells the job apart, of those that are about to begin.
        count: how many jobs the sweep has in all; None where nobody knows.
    """
    for number, name in named.items():
        of = f"/{count}" if count is not None else ""
        with suppress(OSError):  # where there is no room, the job runs all the same
            (place / f"{number}.begins").write_text(f"[{number + 1}{of}] {name}".rstrip(), encoding="utf-8")


def announced(place: Path, number: int) -> str:
    """What a job is to say of itself; "" for nothing."""
    try:
        return (place / f"{number}.begins").read_text(encoding="utf-8")
    except OSError:
        return ""


def count_of(sweeper: Any, jobs: int) -> int | None:
    """How many jobs a sweep has, from its sweeper's settings and the jobs that come first; None where nobody knows."""
    trials = sweeper.get("n_trials")
    if trials is not None:
        return int(trials)
    whole = str(sweeper.get("_target_", "")).endswith(".BasicSweeper") and sweeper.get("max_batch_size") is None
    return jobs if whole else None


def look_again(folder: Path) -> None:
    """Makes a client of a network file system ask what is in a folder, instead of remembering what was."""
    with suppress(OSError):
        folder.chmod(folder.stat().st_mode & 0o7777)


def _as_typed(override: str) -> str:
    """An override without the quotes that hand a text on as it is written."""
    key, _, value = override.partition("=")
    return f"{key}={unquoted(value)}" if QUOTED.fullmatch(value) else override


def descriptions(jobs: Mapping[int, Sequence[str]], typed: Sequence[str] = ()) -> dict[int, str]:
    """What tells the jobs of a sweep apart: the overrides that not all have in common, secrets left out.

    Args:
        jobs: number -> overrides, `key=value` each.
        typed: those of the command: what is as it was typed tells nothing, where jobs come one at a time.
    """
    common = set.intersection(*map(set, jobs.values())) if len(jobs) > 1 else set()
    if len(jobs) == 1:
        given = {one.lower() for one in typed}  # `false` is handed on as `False`
        common = {one for overrides in jobs.values() for one in overrides if one.lower() in given}
    return {
        number: " ".join(
            without_secret(_as_typed(override))
            for override in overrides
            if override not in common and not override.startswith("hydra.")
        )
        for number, overrides in jobs.items()
    }
