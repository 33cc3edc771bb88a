"""The leaderboard: adds an entry, checks all, builds cards and page; see `docs/results/leaderboard/adding.md`.

python docs/leaderboard.py add NAME RUN
python docs/leaderboard.py check
python docs/leaderboard.py build
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from board.adding import add
from board.card import card
from board.checking import check_current, check_entry, read_board
from board.folder import CARD
from board.page import page
from ipr.errors import InputError
from ipr.files import write_atomically
from ipr.judging.fidelity import percent

BOARD = Path(__file__).parent / "results" / "leaderboard"


def asked(arguments: Sequence[str]) -> argparse.Namespace:
    """What is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--board", type=Path, default=BOARD, help="the leaderboard's folder")
    parser.add_argument("--images", type=Path, help="FOLDER with cifar10/test/<class>/<image>, to measure those, too")
    verbs = parser.add_subparsers(dest="verb", required=True)
    adding = verbs.add_parser("add", help="makes an entry of a run and of the attacks on it")
    adding.add_argument("name", help="of the entry: small letters and digits, with - or _ between")
    adding.add_argument("run", help="a training's folder, its name, or the beginning of its name")
    adding.add_argument("--runs", type=Path, default=Path("runs"), help="the folder of runs")
    verbs.add_parser("check", help="checks every entry, and that cards and page are those of the entries")
    verbs.add_parser("build", help="checks every entry, and writes cards and page")
    return parser.parse_args(arguments)


def cache() -> Path:
    """Where decoded images are kept, as `paths.cache` has it."""
    return Path(os.environ.get("IPR_CACHE", "~/.cache/ipr")).expanduser()


def run(wanted: argparse.Namespace) -> None:
    """Does it.

    Raises:
        InputError: an entry does not fit.
    """
    if wanted.verb == "add":
        entry = add(wanted.name, wanted.run, wanted.board / "entries", wanted.runs, cache())
        print(f"added: {entry.folder}; {len(entry.rows)} rows of attacks. Now: make leaderboard")
        return
    entries = read_board(wanted.board)
    for entry in entries:
        found = check_entry(entry, wanted.images, cache())
        print(f"{entry.name}: {'not measured, no images' if found is None else f'{percent(found)} measured'}")
    if wanted.verb == "build":
        for entry in entries:
            write_atomically(entry.folder / CARD, card(entry))
        write_atomically(wanted.board / CARD, page(entries))
    check_current(wanted.board, entries)


def main(arguments: Sequence[str]) -> int:
    """Exits with 0, or with 2 and one line for an entry that does not fit."""
    try:
        run(asked(arguments))
    except InputError as error:
        print(f"leaderboard: error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
