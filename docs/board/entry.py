"""An entry, read and checked as far as its texts and numbers go; its weights are opened in `board/weights.py`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from board.folder import ATTACKS, LARGEST, NETWORK, RECORD, check_files, check_name
from board.network import SCHEMA_VERSION, Network
from board.strict import read_lines, read_one, refused
from ipr.config.registry import entries, load
from ipr.store.record import SCHEMA_VERSION as RECORD_VERSION
from ipr.store.record import Record
from ipr.store.record import of_this_version as record_of
from ipr.workflows.attack_rows import SCHEMA_VERSION as ROW_VERSION
from ipr.workflows.attack_rows import AttackRow
from ipr.workflows.attack_rows import of_this_version as row_of

CLASSES = {"digits": 10, "digits_rgb": 10, "cifar10": 10, "cifar100": 100, "caltech101": 101}
"""Data sets that an entry may be of, and their classes: everybody has, or can get, the same images."""

PIXELS = (8, 64)
"""The smallest and the largest image: whoever checks an entry must not need hours."""

SAME = ("scheme", "model", "norm", "width", "dataset", "seed", "test_images", "init")
"""What a row of an attack says of its victim as the record does."""

DECISIONS = (None, "verified", "not verified", "inconclusive")


@dataclass(frozen=True)
class Entry:
    """A folder of the leaderboard; nothing in it is executed, and nothing is secret.

    Attributes:
        folder: where it lies; named as the entry.
        record: of the run. All but `accuracy_without`, `parameters` and what builds the network is its sender's word.
        network: how images were read, and digests of the weights.
        rows: attacks on it, each a judged point; likewise its sender's word.
    """

    folder: Path
    record: Record
    network: Network
    rows: tuple[AttackRow, ...]

    @property
    def name(self) -> str:
        """As its folder is called."""
        return self.folder.name


def read_entry(folder: Path) -> Entry:
    """Reads an entry.

    Raises:
        InputError: it is none; one line that names the file, the field, what it was and what to do.
    """
    check_name(folder.name)
    check_files(folder)
    record = read_one(folder / RECORD, Record, LARGEST[RECORD], record_of)
    network = read_one(folder / NETWORK, Network, LARGEST[NETWORK])
    _check_record(folder / RECORD, record)
    _check_network(folder / NETWORK, network, record)
    path = folder / ATTACKS
    there = path.exists()
    rows = read_lines(path, AttackRow, LARGEST[ATTACKS], partial(row_of, path=path)) if there else []
    for number, row in enumerate(rows, 1):
        _check_row(path, f"line {number}: ", row, record)
    twice = [key for key, count in Counter((row.key, row.point) for row in rows).items() if count > 1]
    if twice:
        raise refused(path, f"point={twice[0][1]} of {twice[0][0]} is there twice")
    return Entry(folder, record, network, tuple(rows))


def _check_record(path: Path, record: Record) -> None:
    ours = {name for name, one in entries("scheme").items() if not one.package}
    models = {name for name, one in entries("model").items() if not one.package}
    for name, choices in (("scheme", ours), ("model", models), ("dataset", CLASSES), ("norm", ("bn", "gn"))):
        if (value := getattr(record, name)) not in choices:
            raise refused(path, f"{name}={value} is none of {', '.join(sorted(choices))}")
    if (record.kind, record.schema_version) != ("train", RECORD_VERSION):
        told = f"kind={record.kind} and schema_version={record.schema_version}"
        raise refused(path, f"{told} are not train and {RECORD_VERSION}")
    if not record.key.startswith(f"{record.scheme}-{record.model}-{record.norm}-{record.dataset}-"):
        raise refused(path, f"key={record.key} is not that of such a run")
    for part, whole in (("bits_agreeing", "bits_total"), ("forged_passing", "forged")):
        few, many = getattr(record, part), getattr(record, whole)
        if (few is None) != (many is None) or (few is not None and few > many):
            raise refused(path, f"{part}={few} does not go with {whole}={many}")
    if record.scheme == "baseline" and (record.bits_total, record.trigger_accuracy, record.mark_read) != (None,) * 3:
        raise refused(path, "scheme=baseline embeds nothing, and the record has a mark")
    if not record.test_images:
        raise refused(path, "test_images=0 measures nothing")


def _check_network(path: Path, network: Network, record: Record) -> None:
    if network.schema_version != SCHEMA_VERSION:
        raise refused(path, f"schema_version={network.schema_version} is not {SCHEMA_VERSION}")
    if not PIXELS[0] <= network.image_size <= PIXELS[1]:
        raise refused(path, f"image_size={network.image_size} is no number from {PIXELS[0]} to {PIXELS[1]}")
    if network.channels not in (1, 3):
        raise refused(path, f"channels={network.channels} is neither 1 nor 3")
    for name in ("mean", "std"):
        values = getattr(network, name)
        if len(values) != network.channels or not all(0 <= one <= 1 for one in values):
            raise refused(path, f"{name}={values} is not {network.channels} numbers from 0 to 1")
    if min(network.std) < 1e-6:
        raise refused(path, f"std={network.std} is not above 0")
    if len({*network.classes}) != len(network.classes) or len(network.classes) != CLASSES[record.dataset]:
        raise refused(path, f"classes={len(network.classes)} are not the {CLASSES[record.dataset]} of {record.dataset}")


def _check_row(path: Path, where: str, row: AttackRow, record: Record) -> None:
    def wrong(problem: str) -> None:
        raise refused(path, f"{where}{problem}")

    known = entries("attack").get(row.attack)
    if known is None or known.package:
        wrong(f"attack={row.attack} is unknown")
    kind = load("attack", row.attack)
    if row.kind != kind.kind or (record.scheme != "baseline" and record.scheme not in kind.schemes()):
        wrong(f"attack={row.attack} of kind={row.kind} is none on {record.scheme}")
    if (row.victim, row.schema_version) != (record.key, ROW_VERSION):
        wrong(f"victim={row.victim}, schema_version={row.schema_version} are not {record.key} and {ROW_VERSION}")
    for name in SAME:
        if getattr(row, name) != getattr(record, name):
            wrong(f"{name}={getattr(row, name)} is not the record's {getattr(record, name)}")
    if row.transfer is not None and row.transfer not in CLASSES:
        wrong(f"transfer={row.transfer} is unknown")
    if row.decision not in DECISIONS:
        wrong(f"decision={row.decision} is unknown")
    if row.forged or row.kind == "removal":
        _check_outcome(row, record, wrong)


def _check_outcome(row: AttackRow, record: Record, wrong: Callable[[str], None]) -> None:
    """Refuses an outcome that does not follow from what was measured (Definition 1.IV: `ipr.judging.outcome`)."""
    kept, baseline = row.fidelity_kept is not False, record.scheme == "baseline"
    if row.attack_succeeded != (not baseline and kept and row.mark_read == row.forged):
        read = f"forged={row.forged}, mark_read={row.mark_read} and fidelity_kept={row.fidelity_kept}"
        wrong(f"attack_succeeded={row.attack_succeeded} does not follow from {read}")
    if row.transfer is None and not row.forged and abs(row.accuracy_before - record.accuracy_used) > 0.005:
        wrong(f"accuracy_before={row.accuracy_before:.4f} is not the record's {record.accuracy_used:.4f}")
