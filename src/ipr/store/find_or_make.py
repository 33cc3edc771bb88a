"""What a request asks for is made by one process at a time, and never again where it is known to fail."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import torch

from ipr.errors import InputError
from ipr.files import aside_of
from ipr.store.failure import recording_failure, refuse_failed
from ipr.store.folder import RunFolder
from ipr.store.lease import Lease


@contextmanager
def making(folder: RunFolder, tags: list[str], device: torch.device) -> Iterator[Lease]:
    """Inside, this process alone makes what a run folder is for; one that asked first is waited for.

    What is there already is looked for twice: before, so that what is found takes no lease and writes nothing (a store
    may be read-only), and inside, as another process may have made it meanwhile. A request that is refused before
    anything was computed leaves nothing behind.

    Args:
        folder: where it will be.
        tags: of the request, for the record of a failure.
        device: what trains, for the same.

    Raises:
        InputError: the folder cannot be written, the request is refused, or the training diverges, now or as it did
            before.
    """
    refuse_failed(folder)
    path = folder.path.absolute()
    absent = [place for place in (path, *path.parents) if not place.exists()]
    with folder.locked() as lease:
        refuse_failed(folder)
        try:
            with recording_failure(folder, tags, device):
                yield lease
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
