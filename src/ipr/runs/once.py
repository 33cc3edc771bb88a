"""What a request asks for is made once, whoever asks for it, and never again where it is known to fail."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from ipr.lease import Lease
from ipr.runs.failure import recording_failure, refuse_failed
from ipr.runs.store import RunFolder

T = TypeVar("T")


def once(folder: RunFolder, tags: list[str], find: Callable[[], T | None], make: Callable[[Lease], T]) -> T:
    """Finds what a run folder is for, or makes it.

    What is found takes no lease and writes nothing, so that a store may be read-only.

    Args:
        folder: where it is, or will be.
        tags: of the request, for the record of a failure.
        find: gives what is there, None where it is not.
        make: makes it, while no other process does.

    Raises:
        InputError: the folder cannot be written, or the training diverges, now or as it did before.
    """
    if (found := find()) is not None:
        return found
    refuse_failed(folder)
    with folder.locked() as lease:
        if (found := find()) is not None:  # made by whom this process has waited for
            return found
        refuse_failed(folder)
        with recording_failure(folder, tags):
            return make(lease)
