"""All checks of an entry, and of a leaderboard as it lies there."""

from __future__ import annotations

from pathlib import Path

from board.card import card
from board.entry import Entry, read_entry
from board.folder import CARD, LARGEST, folders
from board.page import page
from board.strict import content, refused
from board.weights import check_accuracy, images_of, opened
from ipr.errors import InputError

BUILD = "run `make leaderboard`"


def check_entry(entry: Entry, root: Path | None, cache: Path) -> float | None:
    """Opens the weights of an entry and measures them where the images are at hand.

    Args:
        entry: as `read_entry` read it.
        root: see `images_of`.
        cache: see there.

    Returns:
        The accuracy as given away that was measured, a fraction; None where the images are not at hand.

    Raises:
        InputError: it is not what it says.
    """
    suspect, images = opened(entry), images_of(entry, root, cache)
    return None if images is None else check_accuracy(entry, suspect, images)


def read_board(board: Path) -> list[Entry]:
    """The entries of a leaderboard, ordered by name, each read and checked but for its weights.

    Raises:
        InputError: one does not fit, or two are of the same weights.
    """
    entries = [read_entry(folder) for folder in folders(board / "entries")]
    seen: dict[str, str] = {}
    for entry in entries:
        digest = entry.network.weights_digest
        if digest in seen:
            raise InputError("entry", entry.name, f"has the weights of {seen[digest]}", "leave one of them out")
        seen[digest] = entry.name
    return entries


def check_current(board: Path, entries: list[Entry]) -> None:
    """Refuses a page, or a card, that is not what its entries make.

    Raises:
        InputError: naming the first.
    """
    for entry in entries:
        path = entry.folder / CARD
        if not path.exists() or content(path, LARGEST[CARD]) != card(entry).encode():
            raise refused(path, "is not what the entry's files make", BUILD)
    path = board / CARD
    if not path.exists() or path.read_text() != page(entries):
        raise InputError("page", path.name, "is not what the entries make", BUILD)
