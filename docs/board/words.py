"""How an entry is written in Markdown; what a stranger wrote stands in code, where it means nothing."""

from __future__ import annotations

import re

from board.entry import Entry
from board.weights import AT_HAND
from ipr.judging.fidelity import percent
from ipr.judging.outcome import mark, nearest
from ipr.store.record import Record
from ipr.workflows.attack_rows import AttackRow

NONE = "-"


def literal(text: str) -> str:
    """A text as code, in a table or not: what would end it, or make more of it, is left out, however it got there."""
    plain = re.sub(r"[^\x20-\x7e]|[`|\\<>&\[\]]", "", text)
    return f"`{plain}`" if plain.strip() else NONE


def told(entry: Entry) -> str:
    """Whether the accuracy given away is measured again by whoever checks the entry."""
    return "measured" if entry.record.dataset in AT_HAND else "reported"


def mark_read(record: Record) -> str:
    """What of the mark is read, as the sender reports it."""
    found = []
    if record.bits_total is not None:
        found.append(f"{record.bits_agreeing} of {record.bits_total} bits")
    if record.trigger_accuracy is not None:
        found.append(f"{percent(record.trigger_accuracy)} of triggers")
    return ", ".join(found) or NONE


def forged(record: Record) -> str:
    """The best of the random passports that were tried."""
    if record.accuracy_forged_max is None:
        return NONE
    return f"{percent(record.accuracy_forged_max)} (best of {record.forged})"


def weakest(entry: Entry, *, by_forging: bool) -> str:
    """The point of an attack that comes nearest to success: where the entry is weakest, among what was tried.

    Args:
        entry: the entry.
        by_forging: among claims that are forged, or else among removals of the owner's mark.
    """
    rows = [row for row in entry.rows if row.forged == by_forging and (by_forging or row.kind == "removal")]
    if not rows or entry.record.scheme == "baseline":
        return NONE
    return outcome(nearest(rows))


def outcome(row: AttackRow) -> str:
    """A judged point in a few words."""
    what = literal(f"{row.attack} {row.point}".strip())
    ends = ("forged" if row.forged else "removed") if row.attack_succeeded else "no success"
    read = f"{percent(mark(row))} of the mark, accuracy {percent(row.accuracy_after)}"
    judge = "" if row.decision is None else f"; a judge: {row.decision}"
    return f"{what}: {read}: **{ends}**{judge}"


def tried(entry: Entry) -> str:
    """Which attacks were tried."""
    return ", ".join(literal(name) for name in sorted({row.attack for row in entry.rows})) or NONE
