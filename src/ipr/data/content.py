"""What files hold, told by a digest that is not computed again as long as none of them has changed."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from ipr.data.folders import FIELD, PictureFile
from ipr.errors import InputError
from ipr.files import write_atomically
from ipr.machine.threads import in_order

SETTLED_NS = 2 * 10**9
"""How long ago a file must have changed for its times to tell it from its next content: clocks of file systems tick in
steps of up to two seconds."""


def content_digest(root: Path, files: Sequence[PictureFile], kept: Path) -> str:
    """SHA-256 over the names of files in their folder and the SHA-256 of each, as hexadecimal digits.

    Where the folder lies, and when its files were written, does not matter. The digest is kept beside what the system
    says of the files (`PictureFile.state`), and found there until that changes.

    Args:
        root: their folder.
        files: in a fixed order.
        kept: the folder where digests are kept; where it cannot be written, it is computed each time.

    Raises:
        InputError: a file cannot be read.
    """
    place = kept / f"content-{hashlib.sha256(os.fsencode(root.resolve())).hexdigest()[:16]}.json"
    states = hashlib.sha256(repr([(file.name, file.state) for file in files]).encode()).hexdigest()
    with suppress(OSError, ValueError, KeyError, TypeError):
        found = json.loads(place.read_text())
        if found["states"] == states:
            return str(found["content"])
    settled = time.time_ns() - max(file.state[2] for file in files) > SETTLED_NS
    threads = os.cpu_count() or 1
    digests = in_order(_digest, files, threads=threads, ahead=4 * threads)
    lines = [[file.name, digest] for file, digest in zip(files, digests, strict=True)]
    content = hashlib.sha256(json.dumps(lines).encode()).hexdigest()
    if settled:
        with suppress(OSError):
            kept.mkdir(parents=True, exist_ok=True)
            write_atomically(place, json.dumps({"states": states, "content": content}) + "\n")
    return content


def _digest(file: PictureFile) -> str:
    try:
        with open(file.path, "rb") as opened:
            return hashlib.file_digest(opened, "sha256").hexdigest()
    except OSError as error:
        raise InputError(FIELD, file.path, f"cannot be read ({error.strerror})", "mend or remove it") from error
