"""failure.json: the record of a run that cannot be finished, so that nobody asks for it again in vain."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import torch

from ipr.errors import InputError
from ipr.files import write_atomically
from ipr.store.folder import RunFolder
from ipr.store.record import provenance
from ipr.store.tags import joined

SCHEMA_VERSION = 1


class DivergedError(ArithmeticError):
    """A training whose loss or weights are no numbers any more.

    Args:
        epoch: in which, counted from 0.
        what: the loss term, or tensor of the network, that is not finite.
        value: `nan` or `inf`.
    """

    def __init__(self, epoch: int, what: str, value: str) -> None:
        self.epoch, self.what, self.value = epoch, what, value
        super().__init__(f"{what} is {value} in epoch {epoch}")


@dataclass(frozen=True)
class Failure:
    """One run that failed of itself and would fail again; flat, and no field holds a secret.

    Attributes:
        key: the run.
        kind: `train`, `attack` or `exhibit`.
        epoch: of which training epoch, counted from 0.
        what: what was not finite: a loss term by its name in metrics.csv, or a tensor of the network.
        value: `nan` or `inf`.
        tags: those of the request.
    """

    key: str
    kind: str
    epoch: int
    what: str
    value: str
    tags: str
    hardware: str
    versions: str
    commit: str
    finished: str
    schema_version: int = SCHEMA_VERSION

    @property
    def says(self) -> str:
        """What happened, in a few words."""
        return f"{self.what} is {self.value} in epoch {self.epoch}"

    def error(self, folder: RunFolder) -> InputError:
        """What is said about it, now and whenever the run is asked for again."""
        return InputError(
            "training",
            self.key,
            f"diverged: {self.says} ({folder.failure})",
            "lower optimizer.lr (or the attack's lr), or set optimizer.clip_norm; delete the folder to try it again",
        )


@contextmanager
def recording_failure(folder: RunFolder, tags: list[str], device: torch.device) -> Iterator[None]:
    """Inside, a training on a device that diverges leaves failure.json, with the request's tags, in the run's folder.

    Raises:
        InputError: it diverged.
    """
    try:
        yield
    except DivergedError as error:
        made = provenance(device)
        del made["threads"]  # which is told of what was measured
        failure = Failure(
            key=folder.key,
            kind=folder.kind,
            epoch=error.epoch,
            what=error.what,
            value=error.value,
            tags=joined(tags),
            **made,
        )
        write_atomically(folder.failure, json.dumps(asdict(failure), indent=2) + "\n")
        raise failure.error(folder) from error


def refuse_failed(folder: RunFolder) -> None:
    """Does not run again what is known to fail: the same request on the same data would.

    Raises:
        InputError: the run failed before.
    """
    failure = load_failure(folder.failure)
    if failure is not None:
        raise failure.error(folder)


def load_failure(path: Path) -> Failure | None:
    """Reads it back; None where there is none, or none of this version."""
    try:
        row = json.loads(path.read_text())
        return Failure(**{field.name: row[field.name] for field in fields(Failure)})
    except (OSError, ValueError, KeyError, TypeError):
        return None


def find_failures(runs: Path) -> Iterator[Failure]:
    """Every failure below a folder of runs, ordered by path."""
    for path in sorted(runs.glob("*/*/failure.json")):
        if (failure := load_failure(path)) is not None:
            yield failure
