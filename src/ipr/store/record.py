"""The record: one flat, typed row per finished run. Tables and dashboards come from records only."""

from __future__ import annotations

import json
import platform
import re
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from ipr.errors import InputError
from ipr.extras import own_version
from ipr.files import write_atomically
from ipr.store.reading import Fitting
from ipr.store.tags import parted

SCHEMA_VERSION = 6


@dataclass(frozen=True)
class Record:
    """One run. Accuracies, agreements and thresholds are fractions in [0, 1]; times are seconds; None: does not apply.

    No field holds a secret: agreement with the signature is told, its bits are not. `mark_read` is that of `Verdict`.
    `consistent`: no check of `workflows.embedding_checks` failed. Both say what was measured; they decide nothing.
    `init`: 12 digits of the SHA-256 of the weights file that it started from, or `baseline` for the trained plain
    network of the same request; None for random weights.
    """

    key: str
    kind: str
    scheme: str
    model: str
    norm: str
    width: float
    dataset: str
    train_images: int
    test_images: int
    optimizer: str
    init: str | None
    epochs: int
    precision: str
    memory_format: str
    compile: bool
    deterministic: bool | None
    tf32: bool | None
    autotune: bool
    capture: bool
    seed: int
    passport: str | None
    energy: float | None
    step_energy: float | None
    alternation: str | None
    tags: str
    parameters: int
    accuracy_without: float
    accuracy_genuine: float | None
    accuracy_forged_mean: float | None
    accuracy_forged_std: float | None
    accuracy_forged_max: float | None
    forged: int | None
    forged_passing: int | None
    fidelity_holds: bool | None
    fidelity_threshold: float | None
    bits_total: int | None
    bits_agreeing: int | None
    correlation: float | None
    p_value: float | None
    p_value_log10: float | None
    p_value_threshold: float | None
    trigger_accuracy: float | None
    trigger_accuracy_passport: float | None
    mark_read: bool | None
    consistent: bool | None
    train_seconds: float
    judge_seconds: float
    hardware: str
    threads: int
    versions: str
    commit: str
    finished: str
    schema_version: int = SCHEMA_VERSION

    @property
    def accuracy_used(self) -> float:
        """What a legitimate user gets: with the passport in V1, without it elsewhere."""
        with_passport = self.accuracy_genuine if self.scheme == "passport_v1" else None
        return self.accuracy_without if with_passport is None else with_passport

    def save(self, path: Path) -> None:
        """Writes the row as JSON, whole or not at all."""
        write_atomically(path, json.dumps(asdict(self), indent=2) + "\n")


def load_record(path: Path) -> Record:
    """Reads a row back, also of version 3, which called a run that is consistent with its claim verified, of version 4,
    which did not tell whether a run was deterministic, and of version 5, in which all started from random weights.

    Raises:
        InputError: it is not a record of these versions.
    """
    try:
        row = of_this_version(json.loads(path.read_text()))
        if row["schema_version"] != SCHEMA_VERSION or row.keys() != {f.name for f in fields(Record)}:
            raise KeyError("other fields than this version's")
        record: Record = Fitting().value(Record, row, "")
        return record
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            "record", path, f"cannot be read ({error})", "delete it; the same command judges the run again"
        ) from error


def of_this_version(row: dict[str, Any]) -> dict[str, Any]:
    """The fields of a record of an earlier version as those of this one; of an unknown version, or this, as they are.

    Raises:
        KeyError: it lacks what its version has.
    """
    if row["schema_version"] == 3:
        row = _from_version_3(row)
    if row["schema_version"] == 4:
        row |= {"deterministic": None, "tf32": None, "autotune": False, "capture": False, "schema_version": 5}
    if row["schema_version"] == 5:
        row |= {"init": None, "step_energy": None, "schema_version": 6}
    return row


def _from_version_3(row: Mapping[str, Any]) -> dict[str, Any]:
    """The same row under the names of version 4; `mark_read` follows from the p-value and its threshold."""
    new = {name: value for name, value in row.items() if name != "verified"}
    read = None if row["p_value"] is None else row["p_value"] <= row["p_value_threshold"]
    return new | {"mark_read": read, "consistent": row["verified"], "schema_version": 4}


def failed_at(folder: Path) -> list[str]:
    """What failed of the run in a folder, as its record says; [] where it says nothing, or cannot be read."""
    try:
        consistent = load_record(folder / "record.json").consistent
    except InputError:
        return []
    return ["it is not consistent with its claim"] if consistent is False else []


def cut_of(tags: str) -> str:
    """Of how many batches the epochs of a run were that were cut short, by its tags (`runs.request.with_limit`); ""
    for a whole training.
    """
    return " ".join(tag for tag in parted(tags) if re.fullmatch(r"limited-[0-9.e-]+", tag))


TIMES = ("train_seconds", "judge_seconds", "seconds", "share_of_training", "finished")
"""Fields of a record, or of an attack's row, that say when and how fast: no two runs agree in them."""


def without_times(row: Mapping[str, Any]) -> dict[str, Any]:
    """What of a record, or of an attack's row, is the same however often the run was interrupted."""
    return {name: value for name, value in row.items() if name not in TIMES}


def find_records(runs: Path) -> Iterator[Record]:
    """Every record below a folder of runs, ordered by path."""
    for path in sorted(runs.glob("*/*/record.json")):
        yield load_record(path)


def hardware(device: torch.device, processes: int = 1) -> str:
    """A GPU by its name, or the processor and its threads; of a training in several processes, also how many."""
    together = f", {processes} processes" if processes > 1 else ""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device) + together
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        name = platform.processor() or platform.machine()
    if device.type != "cpu":
        return f"{name}, {device.type}{together}"
    return f"{name}, {torch.get_num_threads()} threads{together}"


def versions() -> str:
    """Python's and the main packages' versions."""
    names = ("torch", "torchvision", "lightning")
    told = ", ".join(f"{name} {version(name)}" for name in names)
    return f"python {platform.python_version()}, ipr {own_version()}, {told}"


def commit() -> str:
    """The project's git commit where the code runs from a checkout, else ''."""
    try:
        found = subprocess.run(
            ["git", "rev-parse", "--short=12", "HEAD"],  # noqa: S607 (git is where the user has it)
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            check=True,
            timeout=10,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return found.stdout.strip()


def provenance(device: torch.device, processes: int = 1) -> dict[str, Any]:
    """What computed a row, with what, and when: the fields that all rows end with. See `hardware`."""
    return {
        "hardware": hardware(device, processes),
        "threads": torch.get_num_threads(),
        "versions": versions(),
        "commit": commit(),
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
    }
