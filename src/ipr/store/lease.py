"""A lease: who works on a folder that processes of many machines share.

What locks of the operating system promise on one machine they may silently not keep on a network file system. This
needs only that two processes cannot create one name, which NFS keeps (`O_EXCL`, since version 3): a lease is a folder
of numbered files, the highest number has it, and a number is taken once. Taking over from the dead is taking the next
number, so of several that notice at once one succeeds.

An owner on this machine is looked up: it is dead as soon as its process is. One on another machine touches its file
every `BEAT` seconds; that the file did not *change* for `STALE` seconds of the waiter's own steady clock says that it
is dead. No clocks are compared, so none has to be right.

Why not filelock (measured with 4.2.12): its `SoftFileLease` takes over by exchanging two names, which NFS refuses, and
without that who waited for a dead owner's lease of 2 s still waited after 15 s, and would for ever. Its
`SoftReadWriteLock` works there, but looks nobody up: a process killed on the same machine is waited for as long as one
elsewhere (`STALE` instead of 0.03 s), and giving back needs room on the disk. Its `FileLock` is the operating system's.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Self

from ipr.errors import InputError
from ipr.files import read_regular
from ipr.texts import printable

BEAT = 10.0
"""Seconds between two signs of life."""

STALE = 120.0
"""Seconds without one after which an owner on another machine counts as dead."""

_RELEASED = 1
"""Bytes that are left of the file of a lease that was given back."""


@dataclass(frozen=True)
class Owner:
    """A process.

    Attributes:
        host: its machine's name, for people.
        machine: tells machines, their boots, and containers on them apart.
        pid: its number there.
        start: when it began, in ticks since the boot, so that a later process of the same number is not taken for it;
            "" where the system does not tell.
        job: its Slurm job, with the cluster's name, and how often it was requeued; ("", 0) outside one.
    """

    host: str
    machine: str
    pid: int
    start: str
    job: str = ""
    restarts: int = 0

    def is_dead(self) -> bool:
        """Whether this process knows that one to be gone; False where it cannot know."""
        me = this_process()
        if self.job and self.job == me.job and self.restarts < me.restarts:
            return True  # a job begins again only when it has ended
        return self.machine == me.machine and (not _exists(self.pid) or _start_of(self.pid) != self.start)


def this_process() -> Owner:
    """The owner that this process is."""
    names = [os.environ.get(name, "") for name in ("SLURM_CLUSTER_NAME", "SLURM_JOB_ID")]
    job, restarts = " ".join(names) if names[1] else "", os.environ.get("SLURM_RESTART_COUNT", "")
    pid = os.getpid()
    return Owner(platform.node(), _machine(), pid, _start_of(pid), job, int(restarts) if restarts.isdigit() else 0)


def announce(what: str) -> Callable[[Owner | None], None]:
    """A line on stderr that says that this process waits, and for whom: see `Lease`.

    Args:
        what: what the other process does, e.g. `is making runs/train/...`.
    """

    def say(owner: Owner | None) -> None:
        who = f"process {owner.pid} on {owner.host}" if owner is not None else "another process"
        print(printable(f"waiting: {who} {what}"), file=sys.stderr, flush=True)

    return say


class Lease:
    """The right to work on something, for the duration of one `with`.

    Args:
        folder: where its numbered files are; made if missing. One file of one byte stays behind.
        waiting: is called, once, with the process that is waited for (None: not known); None for nobody.
        beat: see `BEAT`.
        stale: see `STALE`.

    Raises:
        InputError: entering it: the folder is a link, and what it points to may be anybody's.
        OSError: entering it: the folder cannot be written.
    """

    def __init__(
        self,
        folder: Path,
        waiting: Callable[[Owner | None], None] | None = None,
        *,
        beat: float = BEAT,
        stale: float = STALE,
    ) -> None:
        self.folder, self.waiting, self.beat, self.stale = folder, waiting, beat, stale
        self.number = 0
        self._seen: tuple[str, int, int] | None = None
        self._since = 0.0
        self._lost, self._ended = threading.Event(), threading.Event()

    def __enter__(self) -> Self:
        if self.folder.is_symlink():
            raise InputError("lease", self.folder, "is a link, which nothing is written through", "remove the link")
        waiting, pause = self.waiting, 0.05
        while True:
            number = _newest(self.folder)
            path = self.folder / str(number)
            if number == 0 or self._is_free(path):
                if self._take(number + 1):
                    break
                continue
            if waiting is not None:
                waiting(_owner(path))
                waiting = None
            time.sleep(pause)
            pause = min(2 * pause, 1.0)
        threading.Thread(target=self._live, name=f"lease {self.folder}", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        with suppress(OSError):  # it needs no space, as a full disk has none
            descriptor = os.open(self.folder / str(self.number), os.O_WRONLY | os.O_NOFOLLOW)
            try:
                os.ftruncate(descriptor, _RELEASED)
            finally:
                os.close(descriptor)

    @property
    def held(self) -> bool:
        """Whether it is still this process's, as far as it knows."""
        return not self._lost.is_set() and _newest(self.folder) == self.number

    def check(self) -> None:
        """Sees that the lease is still this process's, before it writes what others will rely on.

        Raises:
            InputError: it was suspended for so long that another took it for dead, and goes on in its place.
        """
        if not self.held:
            raise InputError(
                "paths.runs",
                self.folder.parent,
                f"this process was silent for {self.stale:g} seconds or more, and another has taken its work over",
                "nothing is lost: the same command finds what the other makes",
            )

    def _is_free(self, path: Path) -> bool:
        try:
            ended = _has_ended(path)
            return self._silence(path) >= self.stale if ended is None else ended
        except FileNotFoundError:  # a newer one has just taken its place
            return False

    def _silence(self, path: Path) -> float:
        """For how many seconds a file did not change, as far as this process has seen, by its own steady clock."""
        found = path.lstat()
        now, seen = time.monotonic(), (path.name, found.st_mtime_ns, found.st_size)
        if seen != self._seen:
            self._seen, self._since = seen, now
        return now - self._since

    def _take(self, number: int) -> bool:
        path = self.folder / str(number)
        self.folder.mkdir(parents=True, exist_ok=True)  # also if it was removed while this process waited
        try:
            file = path.open("xb")
        except FileExistsError:
            return False
        try:
            with file:
                file.write(json.dumps(asdict(this_process())).encode())
        except OSError:  # nobody is to wait for half a file
            path.unlink(missing_ok=True)
            raise
        if _newest(self.folder) != number:  # what this machine knew of the folder was out of date
            path.unlink(missing_ok=True)
            return False
        self.number = number
        for name in os.listdir(self.folder):
            if name.isdigit() and int(name) < number:
                (self.folder / name).unlink(missing_ok=True)
        return True

    def _live(self) -> None:
        path = self.folder / str(self.number)
        while not self._ended.wait(self.beat):
            try:
                os.utime(path, follow_symlinks=False)
                mine = _newest(self.folder) == self.number
            except FileNotFoundError:
                mine = False
            except OSError:  # a server that is away for a moment
                continue
            if not mine:
                self._lost.set()
                return


def held(folder: Path) -> bool:
    """Whether somebody has a lease at this moment, as far as can be told without watching it for a while.

    Nobody has one that is a link; one that must not be looked into is somebody's.
    """
    try:
        number = 0 if folder.is_symlink() else _newest(folder)
        path = folder / str(number)
        ended = number == 0 or _has_ended(path)
        return _now(folder) - path.lstat().st_mtime < STALE if ended is None else not ended
    except PermissionError:
        return True
    except OSError:
        return False


def _has_ended(path: Path) -> bool | None:
    """Whether a lease was given back or its owner is dead; None where only its silence can tell."""
    owner = _owner(path)  # opening the file also makes an NFS ask its server how it stands
    if path.lstat().st_size == _RELEASED:
        return True
    if owner is None:
        return None
    if owner.is_dead():
        return True
    return False if owner.machine == this_process().machine else None


def _newest(folder: Path) -> int:
    try:
        return max((int(name) for name in os.listdir(folder) if name.isdigit()), default=0)
    except (FileNotFoundError, NotADirectoryError):
        return 0


def _owner(path: Path) -> Owner | None:
    try:
        return Owner(**json.loads(read_regular(path, 2**12, follow=False)[0]))
    except (OSError, ValueError, TypeError, RecursionError):
        return None


def _now(folder: Path) -> float:
    """The time by the clock that dates the files of a folder."""
    try:
        with tempfile.TemporaryFile(dir=folder) as probe:
            return os.fstat(probe.fileno()).st_mtime
    except OSError:
        return time.time()


@cache
def _machine() -> str:
    parts = [platform.node()]
    with suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text().strip())
        parts.append(str(Path("/proc/self/ns/pid").stat().st_ino))
    return " ".join(parts)


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _start_of(pid: int) -> str:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in "ZX" else fields[19]  # a zombie holds nothing any more
