"""What processes of one training tell one another, sealed: nobody else can read it, change it or say it in their name.

A port of the loopback address is open to everybody on the machine, and one of a cluster's network to more. So a word is
opened with a secret that only the processes have before anything looks into it (AES-GCM, NIST SP 800-38D).
"""

from __future__ import annotations

import os
import secrets
import stat
from pathlib import Path

from ipr.errors import InputError
from ipr.files import aside_of

SECRET = 32
"""Bytes of a secret."""

PIECE = 2**30
"""Bytes that are sealed at a time: AES-GCM takes less than 2^31."""

NONCE, TAG = 12, 16


class StrangerError(ValueError):
    """A word that was not sealed with the secret, or not as this one."""


def seal(secret: bytes, about: str, content: bytes) -> bytes:
    """A word that only who has the secret can read.

    Args:
        secret: 32 bytes.
        about: which word it is, so that it is taken for no other: who says it, and when.
        content: what it says.
    """
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # here, as most trainings need none

    cipher, parts = AESGCM(secret), []
    for start in range(0, max(len(content), 1), PIECE):
        nonce, last = secrets.token_bytes(NONCE), start + PIECE >= len(content)
        parts += [nonce, cipher.encrypt(nonce, content[start : start + PIECE], _place(about, start, last))]
    return b"".join(parts)


def unseal(secret: bytes, about: str, sealed: bytes) -> bytes:
    """What a sealed word says.

    Raises:
        StrangerError: it was sealed with another secret, as another word, or has changed.
    """
    from cryptography.exceptions import InvalidTag  # likewise
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    cipher, parts, step = AESGCM(secret), [], NONCE + PIECE + TAG
    for number, start in enumerate(range(0, max(len(sealed), 1), step)):
        part, last = sealed[start : start + step], start + step >= len(sealed)
        try:
            parts.append(cipher.decrypt(part[:NONCE], part[NONCE:], _place(about, number * PIECE, last)))
        except (InvalidTag, ValueError) as error:
            raise StrangerError("it was not sealed by who should have said it") from error
    return b"".join(parts)


def _place(about: str, start: int, last: bool) -> bytes:
    return f"{about} {start} {last}".encode()


def shared_secret(runs: Path) -> bytes:
    """The secret that all processes of this user find in a folder of runs, made by the first: `.team-<user>`.

    Args:
        runs: the folder, which all machines of a training see.

    Raises:
        InputError: it cannot be made or read there, or somebody else may know it.
    """
    path = runs / f".team-{os.getuid()}"
    try:
        if not path.exists():
            _make(path)
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY)
        with os.fdopen(descriptor, "rb") as file:
            found, content = os.fstat(descriptor), file.read(SECRET + 1)
    except OSError as error:
        problem = f"has no secret for processes that train together ({error.strerror}: {path.name})"
        raise InputError("paths.runs", runs, problem, "choose a folder of your own that all machines see") from error
    mine = stat.S_ISREG(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o077
    if not mine or len(content) != SECRET:
        problem = "is not a secret of yours: another's, damaged, or readable by others"
        raise InputError("paths.runs", path, problem, "delete it; it is made anew")
    return content


def _make(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = aside_of(path)
    descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_bytes(SECRET))
        try:
            os.link(aside, path)
        except FileExistsError:  # another was faster
            pass
        except OSError:  # no hard links here
            aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)
