"""Files that are there whole or not at all, whatever happens while they are written."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from ipr.errors import InputError

ASIDE = re.compile(r"\.(.+)\.[0-9a-f]{16}")
"""How what is being written is named until it is renamed into place; one that is left behind is of no use."""


def aside_of(path: Path) -> Path:
    """A name beside a file or folder that no other process has, to write to before renaming."""
    return path.with_name(f".{path.name}.{secrets.token_hex(8)}")


def expanded(path: Path | str, field: str) -> Path:
    """A path with `~` and `~user` replaced by a home folder.

    Raises:
        InputError: there is no such home folder; it names the field that was given.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        remedy = "set HOME, or give a path that does not begin with ~"
        raise InputError(field, path, "there is no such home folder", remedy) from error


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Inside, what goes wrong while a file is written names it: the system does not say which did not fit on a disk."""
    try:
        yield
    except OSError as error:
        if error.errno is not None and error.filename2 is None:
            error.filename = str(path)
        raise


def read_regular(path: Path, limit: int, *, follow: bool = True) -> tuple[bytes, int]:
    """All bytes of a regular file and its mode, of the very file that was opened: somebody else may have put it there.

    Args:
        path: the file. A pipe to which nobody writes is not waited for.
        limit: how many bytes it may have.
        follow: whether it may be a link to one.

    Raises:
        OSError: it cannot be opened or read.
        ValueError: it is a link (unless `follow`), no regular file, or larger; the message says which.
    """
    more = os.O_NONBLOCK | os.O_NOCTTY | (0 if follow else os.O_NOFOLLOW)
    try:
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | more)) as file:
            mode = os.fstat(file.fileno()).st_mode
            if not stat.S_ISREG(mode):
                raise ValueError("is no regular file")
            content = file.read(limit + 1)
    except OSError:
        if not follow and path.is_symlink():
            raise ValueError("is a link") from None
        raise
    if len(content) > limit:
        raise ValueError(f"is larger than {limit} bytes")
    return content, mode


def write_atomically(path: Path, content: str | bytes, mode: int = 0o666, former: Path | None = None) -> None:
    """Writes a file, text as UTF-8, aside and renames it into place when it is on the disk.

    Nobody ever reads half of it, and where there is no room for it what was there before stays.

    Args:
        path: the file.
        content: all of it.
        mode: who may read it, as of `os.open`: the umask takes from it.
        former: where what was there before goes, once the new is whole; None for nowhere.
    """
    aside = aside_of(path)
    try:
        with naming(path):
            descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
            with os.fdopen(descriptor, "wb") as file:
                file.write(content if isinstance(content, bytes) else content.encode())
                file.flush()
                os.fsync(file.fileno())  # a machine that goes down must not leave a name without a content
            if former is not None and path.exists():
                path.replace(former)
            aside.replace(path)
    except BaseException:
        with suppress(OSError):
            aside.unlink()
        raise


def write_new(files: Mapping[Path, bytes], mode: int = 0o666) -> None:
    """Writes files that are not there yet, and their folders; one that is there with the same content is left alone.

    Args:
        files: where -> what.
        mode: who may read them, as of `write_atomically`.

    Raises:
        InputError: one is there with another content, or cannot be there; none of them is written.
    """
    for path, content in files.items():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            other = path.exists() and path.read_bytes() != content
        except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
            raise InputError("out", path, f"cannot be a file ({error.strerror})", "choose another name") from error
        if other:
            raise InputError(
                "out", path, "is already there with another content", "move it away or choose another name"
            )
    for path, content in files.items():
        if not path.exists():
            write_atomically(path, content, mode)


def clear_asides(folder: Path, keep: Callable[[Path], object] = lambda path: False) -> None:
    """Removes what killed processes left half-written in and below a folder of ours alone, but for what `keep` says."""
    for path in list(folder.rglob(".*")):
        if ASIDE.fullmatch(path.name) and not keep(path):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
