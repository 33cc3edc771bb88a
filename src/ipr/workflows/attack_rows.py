"""The rows of an attack: one judged point of it each, a line of `rows.jsonl`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from ipr.errors import InputError
from ipr.judging.outcome import Outcome
from ipr.store.folder import folder_named
from ipr.store.reading import Fitting
from ipr.store.record import Record, load_record
from ipr.texts import check_name

SCHEMA_VERSION = 4

ALIGNED = "aligned"
"""The last word of the points of a suspect that was aligned to the victim before it was judged."""


@dataclass(frozen=True)
class AttackRow(Outcome):
    """One judged point of an attack: what it was, its outcome, and its cost. Flat; no field holds a secret.

    Attributes:
        point: where on the attack's curve, e.g. `rate=0.6`; "" where it has one point.
        init, passport, energy, step_energy, victim_bits: of the victim, as its record has them.
        train_images, test_images: of the victim.
        attacker_images: training images that the attacker had; shared_images: so many of them are the victim's, pixel
            by pixel. None in rows that did not tell.
        decision: what a judge would decide of the claim by the rule `sound` (`judging/as_dated.py`); None of a
            baseline, of another task, and in rows that did not tell.
        deciding: the conditions that it rests on, by name, with commas between.
        seconds: what it took to bring this point about, training included, judging not. Points that come of one
            suspect share it: each has all of it, or, of searches trained side by side, its part.
        iterations: steps of a forgery that has no epochs; None elsewhere.
        share_of_training: the same as a fraction of the victim's training.
    """

    key: str = ""
    attack: str = ""
    kind: str = ""
    point: str = ""
    victim: str = ""
    scheme: str = ""
    model: str = ""
    norm: str = ""
    width: float = 1.0
    dataset: str = ""
    transfer: str | None = None
    train_images: int = 0
    test_images: int = 0
    decision: str | None = None
    deciding: str = ""
    attacker_images: int | None = None
    shared_images: int | None = None
    victim_epochs: int = 0
    init: str | None = None
    passport: str | None = None
    energy: float | None = None
    step_energy: float | None = None
    victim_bits: int | None = None
    attack_epochs: int | None = None
    iterations: int | None = None
    seed: int = 0
    attack_seed: int = 0
    tags: str = ""
    seconds: float = 0.0
    share_of_training: float = 0.0
    hardware: str = ""
    threads: int = 0
    versions: str = ""
    commit: str = ""
    finished: str = ""
    schema_version: int = SCHEMA_VERSION

    @property
    def accuracy_used(self) -> float:
        """What the attacked network reaches, or the network with the forged claim."""
        return self.accuracy_after


def load_rows(path: Path) -> dict[str, AttackRow]:
    """The rows that are there, by point; a half-written last line, of a run that was killed, is passed over.

    Rows of version 1, which called a mark that is read verified, and of version 2, which did not tell what the victim
    started from nor of its passport, are read too: the victim's record tells that, where it lies beside them. So are
    those of version 3, which did not tell what images the attacker had (the victim's, where it was no other data set)
    nor what a judge would decide.

    Raises:
        InputError: they were written by another version.
    """
    rows: dict[str, AttackRow] = {}
    if not path.exists():
        return rows
    names = {f.name for f in fields(AttackRow)}
    for line in path.read_text().splitlines(keepends=True):
        if not line.endswith("\n"):
            continue
        try:
            values = of_this_version(json.loads(line), path)
            if values.keys() != names or values["schema_version"] != SCHEMA_VERSION:
                raise KeyError("other fields than this version's")
            rows[values["point"]] = Fitting().value(AttackRow, values, "")
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            remedy = "delete the folder; the same command attacks anew"
            raise InputError("rows", path, f"cannot be read ({error})", remedy) from error
    return rows


def of_this_version(values: dict[str, Any], path: Path) -> dict[str, Any]:
    """The fields of a row of an earlier version as those of this one; of an unknown version, or this, as they are.

    Args:
        values: the fields.
        path: the file they stand in, beside whose folder the victim's record may lie.

    Raises:
        KeyError: it lacks what its version has.
    """
    if values["schema_version"] == 1:
        values["mark_read"], values["schema_version"] = values.pop("verified"), 2
    if values["schema_version"] == 2:
        values |= _of_victim(path, values["victim"]) | {"schema_version": 3}
    if values["schema_version"] == 3:
        had = values["train_images"] if values["transfer"] is None else None
        values |= {"attacker_images": had, "shared_images": had, "decision": None, "deciding": ""}
        values["schema_version"] = SCHEMA_VERSION
    return values


def victim_facts(record: Record) -> dict[str, Any]:
    """What a row tells of its victim's start and passport."""
    told = {name: getattr(record, name) for name in ("init", "passport", "energy", "step_energy")}
    return told | {"victim_bits": record.bits_total}


def _of_victim(path: Path, victim: str) -> dict[str, Any]:
    """The same for rows that do not tell it, as far as it is known."""
    check_name("victim", victim)
    record = folder_named(path.parents[2] / "train", victim).record
    names = ("init", "passport", "energy", "step_energy", "victim_bits")
    return victim_facts(load_record(record)) if record.exists() else dict.fromkeys(names)


def find_rows(runs: Path) -> Iterator[AttackRow]:
    """Every row below a folder of runs, ordered by path."""
    for path in sorted(runs.glob("attack/*/rows.jsonl")):
        yield from load_rows(path).values()
