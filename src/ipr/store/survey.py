"""What lies in a folder of runs, finished or not, read without checking it: a survey must not end at one bad file.

Records are read strictly where their numbers are reported (`load_record`, `load_rows`, `load_facts`); not here.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from pathlib import Path
from typing import Any

import yaml

from ipr.errors import InputError
from ipr.files import read_regular
from ipr.store.folder import RunFolder
from ipr.store.lease import held
from ipr.store.tags import parted

FINISHED = {"train": "record.json", "attack": "finished", "exhibit": "facts.json"}
"""Kinds of runs -> the file whose presence says that one is finished."""


LARGEST, SHORT = 2**20, 2**14
"""Bytes of a `config.yaml` that is read, and of one that is read by the fast parser; ours have some 1500."""


@dataclass(frozen=True)
class Found(RunFolder):
    """A run folder as it lies there. What is read of it is read once, when it is first asked for."""

    @property
    def finished(self) -> bool:
        """Whether everything is there."""
        return (self.path / FINISHED[self.kind]).exists()

    @property
    def why_failed(self) -> str:
        """What its `failure.json` says, in a line; "" where there is none: see `store.failure`."""
        try:
            read = json.loads(self.failure.read_text())
            return f"diverged: {read['what']} is {read['value']} in epoch {read['epoch']}"
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return ""

    @property
    def held(self) -> bool:
        """Whether a process works on it at this moment."""
        return held(self.path / ".lease")

    @cached_property
    def asked(self) -> Mapping[str, Any]:
        """What is in its `config.yaml`; {} where that is missing, or cannot be read."""
        try:
            text = read_regular(self.config, LARGEST)[0].decode()
            # libyaml's own would take the whole process down with a long row of brackets
            read = yaml.load(text, _LOADER if len(text) < SHORT else yaml.SafeLoader)  # noqa: S506 (both are safe)
        except (OSError, ValueError, RecursionError, yaml.YAMLError):
            return {}
        return read if isinstance(read, dict) else {}

    @cached_property
    def rows(self) -> list[dict[str, Any]]:
        """Of a training its record, of an attack its rows, of an exhibit its facts; [] where they cannot be read."""
        try:
            if self.kind == "attack":
                lines = (self.path / "rows.jsonl").read_text().splitlines(keepends=True)
                rows = [json.loads(line) for line in lines if line.endswith("\n")]
            else:
                read = json.loads((self.path / FINISHED[self.kind]).read_text())
                rows = read if isinstance(read, list) else [read]
        except (OSError, ValueError, RecursionError):
            return []
        return [row for row in rows if isinstance(row, dict)]

    @property
    def tags(self) -> frozenset[str]:
        """The tags it carries: those that it was asked for with, and those that its record got since."""
        own = self.asked.get("tags")
        later = self.rows[0].get("tags") if self.rows else ""
        return frozenset([*map(str, own if isinstance(own, list) else []), *parted(str(later or ""))])

    @property
    def uses(self) -> frozenset[str]:
        """Keys of the runs that it was made from: an attack's victim, what an exhibit shows."""
        name = {"train": "", "attack": "victim", "exhibit": "run"}[self.kind]
        return frozenset(str(row[name]) for row in self.rows if row.get(name))

    @property
    def seconds(self) -> float | None:
        """What it took, as far as it was kept: training and judging; an attack without judging; the training inside an
        exhibit. None where nothing was.
        """
        if self.kind != "exhibit" and not self.rows:
            return None
        try:
            if self.kind == "train":
                return sum(float(row[name]) for row in self.rows for name in ("train_seconds", "judge_seconds"))
            if self.kind == "attack":  # points that come of one suspect stand together, and share its seconds
                return sum(seconds for seconds, _ in groupby(float(row["seconds"]) for row in self.rows))
            with self.metrics.open(newline="") as file:
                return sum(float(row["seconds"]) for row in csv.DictReader(file))
        except (OSError, KeyError, TypeError, ValueError):
            return None


_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the same, ten times as fast, where it is there


def find_folders(runs: Path) -> Iterator[Found]:
    """Every run folder below a folder of runs, by kind and key; links are passed over."""
    for kind in FINISHED:
        if (runs / kind).is_symlink() or not (runs / kind).is_dir():
            continue
        for path in sorted((runs / kind).iterdir()):
            if path.is_dir() and not path.is_symlink() and not path.name.startswith("."):
                yield Found(path)


def find_run(run: str, runs: Path) -> Path:
    """A training by the path of its folder, its name, or any beginning of its name that no other one has.

    Args:
        run: one of these.
        runs: the store in which names are looked for (`paths.runs`).

    Returns:
        Its folder; the one that would have that name where there is none.

    Raises:
        InputError: several names begin like this.
    """
    if "/" in run or (Path(run).is_dir() and not (runs / "train" / run).is_dir()):
        return Path(run)
    place = runs / "train"
    if not run or (place / run).is_dir():
        return place / run
    found = [folder for folder in find_folders(runs) if folder.kind == "train" and folder.key.startswith(run)]
    if len(found) > 1:
        names = ", ".join(folder.key for folder in found[:4]) + (", ..." if len(found) > 4 else "")
        raise InputError("run", run, f"is the beginning of {len(found)} names", f"type more of one: {names}")
    return found[0].path if found else place / run
