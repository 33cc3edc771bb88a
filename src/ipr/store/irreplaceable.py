"""What cannot be made again, and is never removed: commitments, time stamps, keys, and claims drawn with a key."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

from ipr.files import read_regular

COMMITMENT, FACTS, SECRETS = "commitment.json", "claim.json", "secrets.safetensors"
"""As `ipr.claims.commitment` and `ipr.claims.folder` call them, which load torch."""

ENDINGS = {"tsr": "a time stamp", "tsq": "a request for a time stamp", "pem": "a key", "key": "a key"}

LARGEST = 2**20


def irreplaceable(path: Path) -> str:
    """What a file, or anything below a folder, holds that cannot be made again; "" for nothing.

    Only names are looked at, and what a claim says of its origin. Links are not followed, but their names count.
    """
    for file in _files(path):
        name = file.name.lower()
        if COMMITMENT in name:  # copies and halves too
            return "it holds a commitment, whose nonce is random"
        if what := next((ENDINGS[part] for part in name.split(".")[1:] if part in ENDINGS), ""):
            return f"it holds {what} ({file.name})"
        if name == FACTS and (what := _claim(file)):
            return what
    return ""


def _files(path: Path) -> Iterator[Path]:
    if path.is_symlink() or not path.is_dir():
        yield path
        return
    for folder, names, files in os.walk(path):
        yield from (Path(folder) / name for name in files)
        yield from (Path(folder) / name for name in names if (Path(folder) / name).is_symlink())


def _claim(facts: Path) -> str:
    """What a claim says of the key that it was drawn with. One of an older version says nothing: its run does."""
    try:
        origin = json.loads(read_regular(facts, LARGEST, follow=False)[0]).get("origin")
        keyless = True if origin is None else origin["keyless"]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        if not facts.with_name(SECRETS).exists():  # half a claim is none
            return ""
        return "it holds a claim that cannot be read: passport.key may be set"
    return "" if keyless is True else "passport.key is set: its claim cannot be made again without it"
