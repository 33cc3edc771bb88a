"""The leaderboard as a page: a table of accuracies and marks, and one of attacks, for each data set."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from board.entry import Entry
from board.folder import CARD
from board.weights import AT_HAND
from board.words import forged, literal, mark_read, told, tried, weakest
from ipr.config.registry import entries as registered
from ipr.judging.fidelity import percent

HEAD = """\
# Leaderboard

Protected networks whose weights anybody can open, and what their senders measured.
`make leaderboard` makes this page of the folders in `docs/results/leaderboard/entries`;
[how to add a row](adding.md).

**Measured** by whoever builds this page, and by the tests at every change: the accuracy of the weights as they are
given away, on the data sets that come with what is installed ({at_hand}); on others it is reported. Of
every entry it is checked that the file opens as plain tensors that fit the network of its record, that its digests are
those beside it, and that it has as many parameters as the record says.

**Reported** by the sender: accuracy with the passport, forged passports, the mark that is read, attacks. No claim and
no passport is published, so nobody else can measure these; what is checked is that they do not contradict each other.
Who doubts a row can train such a network by its record, with a passport of his own. An attack that is not
listed was not tried: a row without attacks is no strong one."""

ORDER = (
    "By scheme, and of one scheme by what a legitimate user gets: with the passport in V1, without it elsewhere. "
    "Of all attacks the point is shown that succeeded, or came nearest, and what a judge would decide there."
)

NUMBERS = (
    "entry",
    "scheme",
    "network",
    "given away ({told})",
    "with the passport (reported)",
    "forged passports (reported)",
    "mark read (reported)",
)
ATTACKS = ("entry", "attacks tried (reported)", "removal (reported)", "forgery (reported)")


def page(entries: Sequence[Entry]) -> str:
    """The whole page; the same entries give the same bytes."""
    parts = [HEAD.format(at_hand=", ".join(f"`{name}`" for name in AT_HAND))]
    for dataset in sorted({entry.record.dataset for entry in entries}):
        own = sorted((entry for entry in entries if entry.record.dataset == dataset), key=_rank)
        head = [name.format(told=told(own[0])) for name in NUMBERS]
        parts += [f"## {dataset}", ORDER, _table(head, map(_numbers, own)), _table(ATTACKS, map(_attacks, own))]
    return "\n\n".join(parts) + "\n"


def _rank(entry: Entry) -> tuple[int, float, str]:
    """Schemes in the order of their table, as no accuracy sets one above another; in each the best first."""
    return [*registered("scheme")].index(entry.record.scheme), -entry.record.accuracy_used, entry.name


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _numbers(entry: Entry) -> list[str]:
    record = entry.record
    return [
        _link(entry),
        literal(record.scheme),
        f"{literal(record.model)}, width {record.width:g}, {literal(record.norm)}, seed {record.seed}",
        percent(record.accuracy_without),
        percent(record.accuracy_genuine),
        forged(record),
        mark_read(record),
    ]


def _attacks(entry: Entry) -> list[str]:
    return [_link(entry), tried(entry), weakest(entry, by_forging=False), weakest(entry, by_forging=True)]


def _link(entry: Entry) -> str:
    return f"[{entry.name}](entries/{entry.name}/{CARD})"
