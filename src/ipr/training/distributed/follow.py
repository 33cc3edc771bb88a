"""The processes that follow: this module, as `ranks.starting` starts it, or a command of `ipr`."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

from ipr.errors import InputError
from ipr.training.distributed.orders import follow
from ipr.training.distributed.place import placed
from ipr.training.distributed.ranks import DesertedError, join, launched
from ipr.training.distributed.sealing import SECRET, shared_secret


def lead_or_follow(execute: Callable[[], int], runs: Path) -> int:
    """Executes, unless this process was started to follow another; then it takes part in what that one trains.

    Args:
        execute: what the first does.
        runs: the folder of runs, in which the processes find the secret that they have in common.

    Returns:
        The exit code.
    """
    team = launched()
    if team is None:
        return execute()
    if team.secret is None:
        team.secret = partial(shared_secret, runs.absolute())
    if team.place.rank == 0:
        try:
            return execute()
        finally:
            team.dismiss()
    try:
        follow(team)
    except DesertedError as error:
        print(f"ipr: process {team.place.rank} ends: {error}", file=sys.stderr)
        return 1
    return 0


def _end_with_leader() -> None:
    os.read(sys.stdin.fileno(), 1)  # until the leader closes it, or has ended
    os._exit(1)


def main() -> None:
    """Follows the leader that has started this process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal interrupts all; the leader decides
    secret = sys.stdin.buffer.read(SECRET)
    threading.Thread(target=_end_with_leader, daemon=True).start()
    place = placed(os.environ)
    assert place is not None
    try:
        follow(join(place, lambda: secret))
    except DesertedError:
        sys.exit(1)
    except InputError as error:
        sys.exit(f"ipr: process {place.rank} ends: {error}")


if __name__ == "__main__":
    main()
