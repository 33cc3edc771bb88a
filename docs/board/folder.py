"""What lies in an entry's folder, and how it is named: these files and no other, none of them a link."""

from __future__ import annotations

import re
from pathlib import Path

from board.strict import ANEW, refused
from ipr.errors import InputError

RECORD, NETWORK, WEIGHTS, ATTACKS, CARD = (
    "record.json",
    "network.json",
    "public.safetensors",
    "attacks.jsonl",
    "README.md",
)
"""The record of the run, how its images were read and what the weights' digests are, the weights, the rows of attacks
on them (may be missing), and the card, which is made of these.
"""

NEEDED, ALLOWED = {RECORD, NETWORK, WEIGHTS}, {RECORD, NETWORK, WEIGHTS, ATTACKS, CARD}

NAME = re.compile(r"[a-z0-9]+(?:[_-][a-z0-9]+){0,11}")
"""How an entry may be called: words of small letters and digits, with - or _ between."""

LARGEST = {WEIGHTS: 10**6 - 1, ATTACKS: 2**18, RECORD: 2**14, NETWORK: 2**14, CARD: 2**16}
"""Bytes of each file."""


def folders(entries: Path) -> list[Path]:
    """The folders of all entries, ordered by name.

    Raises:
        InputError: there is no such place, something else lies there, or one has an odd name.
    """
    if not entries.is_dir():
        raise InputError("board", entries, "is no folder", "give --board of one that has a folder `entries`")
    found = sorted(entries.iterdir())
    for path in found:
        check_name(path.name)
        if path.is_symlink() or not path.is_dir():
            raise InputError("entry", path.name, "is no folder", "leave it out; an entry is a folder of its own")
    return found


def check_name(name: str) -> None:
    """Refuses a name that may not be a folder's and a row's.

    Raises:
        InputError: it is none.
    """
    if not NAME.fullmatch(name) or len(name) > 48:
        remedy = "use up to 48 small letters and digits, with - or _ between, e.g. ada-passport_v2"
        raise InputError("entry", ascii(name)[:60], "is no name of an entry", remedy)


def check_files(folder: Path) -> None:
    """Refuses a folder that lacks a file, or holds another: a claim, a key and a passport have no place here.

    Raises:
        InputError: naming the first.
    """
    found = {path.name for path in folder.iterdir()}
    for name in sorted(found - ALLOWED):
        named = folder / (name if name.isprintable() and name.isascii() else ascii(name))
        raise refused(named, "has no place in an entry", f"leave {', '.join(sorted(ALLOWED))} there alone")
    for name in sorted(NEEDED - found):
        raise refused(folder / name, "is missing", ANEW)
    for name in sorted(found):
        if (folder / name).is_symlink() or not (folder / name).is_file():
            raise refused(folder / name, "is no plain file", ANEW)
