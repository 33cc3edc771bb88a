"""What a request asks for is made once, whoever asks for it, and never again where it is known to fail."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import torch

from ipr.errors import InputError
from ipr.files import aside_of
from ipr.store.failure import recording_failure, refuse_failed
from ipr.store.folder import RunFolder
from ipr.store.lease import Lease

T = TypeVar("T")


def once(
    folder: RunFolder, tags: list[str], device: torch.device, find: Callable[[], T | None], make: Callable[[Lease], T]
) -> T:
    """Finds what a run folder is for, or makes it.

    What is found takes no lease and writes nothing, so that a store may be read-only.

    Args:
        folder: where it is, or will be.
        tags: of the request, for the record of a failure.
        device: what trains, for the same.
        find: gives what is there, None where it is not.
        make: makes it, while no other process does.

    A request that is refused before anything was computed leaves nothing behind.

    Raises:
        InputError: the folder cannot be written, the request is refused, or the training diverges, now or as it did
            before.
    """
    if (found := find()) is not None:
        return found
    refuse_failed(folder)
    path = folder.path.absolute()
    absent = [place for place in (path, *path.parents) if not place.exists()]
    with folder.locked() as lease:
        if (found := find()) is not None:  # made by whom this process has waited for
            return found
        refuse_failed(folder)
        try:
            with recording_failure(folder, tags, device):
                return make(lease)
        except InputError:
            if path in absent and lease.held and not _has_begun(folder):
                _remove(absent)
            raise


def _has_begun(folder: RunFolder) -> bool:
    """Whether there is something in a run's folder that took time, or says why there is nothing."""
    kept = (folder.failure, folder.record, folder.weights, folder.path / "rows.jsonl", folder.metrics)
    tried = folder.checkpoint.parent
    return any(path.exists() and path.stat().st_size for path in kept) or (tried.is_dir() and any(tried.iterdir()))


def _remove(places: Sequence[Path]) -> None:
    """Removes a run's folder that this process has made, and those above it that it made for it."""
    aside = aside_of(places[0])
    with suppress(OSError):
        places[0].rename(aside)  # at once: who waits for it makes it anew, and nothing of that is to be removed
        shutil.rmtree(aside, ignore_errors=True)
        for place in places[1:]:
            place.rmdir()
