"""From a finished run to an entry: its record, what it gives away, and the attacks on it. Nothing secret is copied."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from board.card import card
from board.checking import check_entry
from board.entry import Entry, read_entry
from board.folder import ATTACKS, CARD, NETWORK, RECORD, WEIGHTS, check_name
from board.network import Network
from ipr.errors import InputError
from ipr.files import write_new
from ipr.store.record import load_record
from ipr.store.survey import Found, find_run
from ipr.workflows.attack_rows import find_rows
from ipr.workflows.export import export


def add(name: str, run: str, entries: Path, runs: Path, cache: Path) -> Entry:
    """Makes an entry of a run, checks it as a stranger's is checked, and writes it.

    Args:
        name: of the entry.
        run: a training's folder or name.
        entries: where entries lie.
        runs: the folder of runs, with the attacks on it.
        cache: where decoded images are kept.

    Raises:
        InputError: the run is not finished, has no secret key, does not fit the leaderboard, or the name is taken.
    """
    check_name(name)
    folder = Found(find_run(run, runs))
    if not folder.record.exists():
        raise InputError("run", run, "is no finished training", "`ipr list` shows those there are")
    _check_keyed(folder)
    with TemporaryDirectory() as place:
        made = Path(place) / name
        made.mkdir()
        _fill(made, folder, runs)
        entry = read_entry(made)
        check_entry(entry, None, cache)
        (made / CARD).write_text(card(entry))
        write_new({entries / name / path.name: path.read_bytes() for path in sorted(made.iterdir())})
    return read_entry(entries / name)


def _check_keyed(folder: Found) -> None:
    """Refuses a run whose secrets follow from its seed, which its record tells."""
    passport = folder.asked.get("passport")
    key = passport.get("key") if isinstance(passport, dict) else None
    if not key and load_record(folder.record).scheme != "baseline":
        remedy = "train it with passport.key=file:PATH of a secret of your own"
        raise InputError("passport.key", "null", "the run's secrets follow from its seed, which is published", remedy)


def _fill(place: Path, folder: Found, runs: Path) -> None:
    """Writes the files of an entry but its card."""
    weights = export(folder.path, out=place / WEIGHTS)
    told = weights.with_name(f"{WEIGHTS}.json")
    (place / NETWORK).write_text(json.dumps(asdict(_network(json.loads(told.read_text()))), indent=2) + "\n")
    told.unlink()
    shutil.copyfile(folder.record, place / RECORD)
    rows = sorted((row for row in find_rows(runs) if row.victim == folder.key), key=lambda row: row.key)
    if rows:
        (place / ATTACKS).write_text("".join(json.dumps(asdict(row)) + "\n" for row in rows))


def _network(exported: dict[str, Any]) -> Network:
    """What the card of an export tells (`ipr.workflows.export.card_of`)."""
    return Network(
        image_size=exported["architecture"]["image_size"],
        channels=exported["architecture"]["channels_in"],
        classes=exported["output"]["classes"],
        mean=exported["input"]["mean"],
        std=exported["input"]["std"],
        sha256=exported["sha256"],
        weights_digest=exported["weights_digest"],
    )
