"""What the processes of rank 1 and above do: they take part in the fits of rank 0."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import socket
import stat
import sys
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import torch
from torch._C._distributed_c10d import FileStore, Store

from ipr.data.images import ImageData
from ipr.errors import InputError
from ipr.store.failure import DivergedError
from ipr.training.distributed.group import joined, rank_0_failed
from ipr.training.distributed.launch import Launch
from ipr.training.loop import Training, prepared

FOREVER = timedelta(days=365)
"""Until there is something to train: rank 0 may wait for a run that others make, or judge."""

Work = tuple[Training, Callable[[], ImageData], str]
"""What is trained; what opens the images; and their fingerprint at rank 0."""


def join_fits(launch: Launch) -> None:
    """Takes part in every fit that rank 0 begins, until it says that there are no more.

    Raises:
        InputError: rank 0 has ended without a word.
        RuntimeError: this process failed, and not because rank 0 did.
    """
    while True:
        store = launch.next_fit()
        try:
            store.wait(["work"], FOREVER)
            path = store.get("work").decode()
        except RuntimeError as error:
            what, remedy = f"process {launch.rank} has lost process 0", "see what that said; the same command goes on"
            raise InputError("trainer.devices", launch.world_size, what, remedy) from error
        if not path:
            store.set(f"ready {launch.rank}", "")
            return
        _join_fit(Path(path), launch.rank, store)


def _join_fit(path: Path, rank: int, store: Store) -> None:
    problem = None
    try:
        work: Work = torch.load(io.BytesIO(read_private(path)), map_location="cpu", weights_only=False)
        training, open_images, fingerprint = work
        if (data := open_images()).fingerprint != fingerprint:
            raise InputError("dataset", data.fingerprint, "not the images of rank 0", "give every machine the same")
    except InputError as error:
        what = f"process {rank} ({socket.gethostname()}): {error.problem}"
        problem = [error.field, str(error.value), what, error.remedy]
    store.set(f"ready {rank}", json.dumps(problem))
    if store.get("begin") != b"yes":
        return
    try:
        with joined(store, rank, training.trainer), prepared(training, data, [], store) as lightning_fit:
            lightning_fit()
    except (DivergedError, InputError):
        pass  # rank 0 finds so, too
    except RuntimeError:
        if not rank_0_failed(store):
            raise


def read_private(path: Path) -> bytes:
    """A file that this user's process has written for others of this user, and that nobody else could have written.

    Raises:
        InputError: it is not there, or another file: whoever reaches the store can name one.
    """
    try:
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NOFOLLOW | os.O_NONBLOCK)) as file:
            found = os.fstat(file.fileno())
            mine = found.st_uid == os.getuid() and stat.S_ISREG(found.st_mode) and not found.st_mode & 0o077
            if mine and re.fullmatch(r"\.fit\.[0-9a-f]{16}", path.name):
                return file.read()
    except OSError as error:
        what, remedy = f"cannot be read ({error.strerror})", "choose a folder that all machines see under one path"
        raise InputError("paths.runs", path.parent, what, remedy) from error
    raise InputError("paths.runs", path, "is no file that you alone can write", "see who else is on the machines")


def main(rank: int, world_size: int, store: str) -> None:
    """Takes part in the fits of the process that has started this one, and ends when that ends.

    Args:
        rank: of this process.
        world_size: how many there are.
        store: the file that they meet in.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal interrupts all; rank 0 ends the others

    def end_with_parent() -> None:
        sys.stdin.buffer.read(1)  # nothing, once the parent has closed the pipe, or has ended
        os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()
    join_fits(Launch(rank, world_size, FileStore(store, world_size)))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
