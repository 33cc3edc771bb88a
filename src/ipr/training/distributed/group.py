"""The process group of one fit, and Lightning's DDP in it."""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any

from lightning.pytorch.strategies import DDPStrategy
from torch import distributed
from torch._C._distributed_c10d import Store

from ipr.config.schema import TrainerConfig
from ipr.machine.device import device_for
from ipr.machine.gpus import variables

COLLECTIVE = timedelta(minutes=30)
"""What one process waits for another in a collective operation: rank 0 may validate between epochs."""

SOON = timedelta(seconds=5)
"""Until one process notices what has become of another."""


@contextmanager
def joined(store: Store, rank: int, trainer: TrainerConfig) -> Iterator[None]:
    """Inside, this process is in torch's default process group.

    An error at rank 0 is noted in the store before the connections close, so that the others know whose it was.

    Args:
        store: of the fit.
        rank: of this process.
        trainer: says how many processes there are, and on what they compute.
    """
    backend = "cpu:gloo,cuda:nccl" if device_for(trainer.accelerator).type == "cuda" else "gloo"
    loopback = [name for _, name in socket.if_nameindex() if name in ("lo", "lo0")]
    inside = trainer.nodes == 1 and loopback and "GLOO_SOCKET_IFNAME" not in os.environ
    hook = sys.excepthook  # torch's would begin every line of a traceback with the rank
    with variables({"GLOO_SOCKET_IFNAME": loopback[0]} if inside else {}):
        distributed.init_process_group(
            backend, store=store, rank=rank, world_size=trainer.processes, timeout=COLLECTIVE
        )
    try:
        yield
    except BaseException:
        if rank == 0:
            store.set("failed", "")
        raise
    finally:
        distributed.destroy_process_group()
        sys.excepthook = hook


def rank_0_failed(store: Store) -> bool:
    """Whether a fit failed at rank 0, or rank 0 is gone; asked by a process that lost its connections."""
    with suppress(RuntimeError):  # it has not said so in time, or nobody keeps the store any more
        store.wait(["failed"], SOON)
    try:
        return bool(store.check(["failed"]))
    except RuntimeError:
        return True


class GroupStrategy(DDPStrategy):
    """Lightning's DDP in a process group that this process has joined.

    Args:
        store: of the fit.
        moves_all: whether every step has a gradient for every parameter.
    """

    def __init__(self, store: Store, moves_all: bool) -> None:
        # buffers are the same everywhere: constants, or statistics over the batches of all
        super().__init__(find_unused_parameters=not moves_all, broadcast_buffers=False)
        self._store, self._broadcasts = store, 0

    def broadcast(self, obj: Any, src: int = 0) -> Any:
        """Hands what JSON knows to all processes (the checkpoint's folder); Lightning would unpickle it."""
        self._broadcasts += 1
        key = f"broadcast {self._broadcasts}"
        if distributed.get_rank() == src:
            self._store.set(key, json.dumps(obj))
        return json.loads(self._store.get(key))

    def _configure_launcher(self) -> None:
        self._launcher = None  # Lightning's would change how many threads this process computes with
