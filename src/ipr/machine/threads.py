"""Work that threads do ahead of whoever needs it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def in_order(function: Callable[[T], R], items: Iterable[T], *, threads: int, ahead: int) -> Iterator[R]:
    """What a function makes of each item, in the order of the items, whichever is done first.

    No more than `ahead` results are there, or being made, that nobody has taken: what is made of all of them together
    may fit no memory. An error of the function is raised where its result would be taken, and ends it.

    Args:
        function: called by the threads.
        items: asked for one at a time, as results are taken.
        threads: how many.
        ahead: how many items, at least 1.
    """
    coming: deque[Future[R]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        try:
            for item in items:
                coming.append(pool.submit(function, item))
                if len(coming) > ahead:
                    yield coming.popleft().result()
            while coming:
                yield coming.popleft().result()
        finally:
            for one in coming:
                one.cancel()
