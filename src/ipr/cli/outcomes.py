"""What became of the jobs of a sweep: a file each, as they may run in other processes and on other machines."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from ipr.files import write_atomically
from ipr.studies.plan import without_secret


@dataclass(frozen=True)
class JobOutcome:
    """How a job ended.

    Attributes:
        number: the job's, counted from 0.
        code: its exit code.
        line: its error in one line; empty without one.
        traced: whether there is more about it in its log.
    """

    number: int
    code: int
    line: str = ""
    traced: bool = False


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


def look_again(folder: Path) -> None:
    """Makes a client of a network file system ask what is in a folder, instead of remembering what was."""
    with suppress(OSError):
        folder.chmod(folder.stat().st_mode & 0o7777)


def descriptions(jobs: Mapping[int, Sequence[str]]) -> dict[int, str]:
    """What tells the jobs of a sweep apart: the overrides that not all have in common, secrets left out.

    Args:
        jobs: number -> overrides, `key=value` each.
    """
    common = set.intersection(*map(set, jobs.values())) if len(jobs) > 1 else set()
    return {
        number: " ".join(without_secret(override) for override in overrides if override not in common)
        for number, overrides in jobs.items()
    }
