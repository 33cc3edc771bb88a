"""Several processes, one batch: which of its rows each of them takes."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ipr.errors import InputError


@dataclass(frozen=True)
class Share:
    """One of the equal parts that processes which train together make of every batch.

    Attributes:
        rank: whose part, from 0 to `processes` - 1.
        processes: how many there are.
    """

    rank: int = 0
    processes: int = 1

    def of(self, rows: Tensor) -> Tensor:
        """The rows of this part, (B / processes, ...), of a whole batch (B, ...)."""
        parts: Tensor = rows.unflatten(0, (self.processes, -1))
        return parts[self.rank]


WHOLE = Share()
"""The batch of a process on its own."""


def check_divisible(field: str, count: int, processes: int) -> None:
    """Refuses what processes cannot share equally.

    Raises:
        InputError: naming the field that says how many there are to share.
    """
    if count % processes:
        above = -(-count // processes) * processes
        problem = f"{processes} processes (trainer.devices x trainer.nodes) cannot share it equally"
        raise InputError(field, count, problem, f"give a multiple, e.g. {above}, or other trainer.devices")
