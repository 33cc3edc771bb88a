"""The processes that torchrun or srun has started together, each with the same command. Loads nothing heavy."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from typing import TYPE_CHECKING

from ipr.config.schema import TrainerConfig

if TYPE_CHECKING:
    from torch._C._distributed_c10d import Store

START = timedelta(minutes=10)
"""From the start of one process to that of the last."""


@dataclass
class Launch:
    """The processes that were started together, as one of them sees them.

    Attributes:
        rank: of this process.
        world_size: how many there are.
        store: of short texts, reached by all of them. Others may reach it, so nothing in it is secret or unpickled.
        fits: how many they have begun together; all count alike.
    """

    rank: int
    world_size: int
    store: Store
    fits: int = 0

    def next_fit(self) -> Store:
        """The part of the store that is for the next fit."""
        from torch._C._distributed_c10d import PrefixStore

        self.fits += 1
        return PrefixStore(f"ipr {os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')} {self.fits}", self.store)


@cache
def launched() -> Launch | None:
    """Meets the processes that were started together with this one; None where it was started alone.

    torchrun keeps their store, under Slurm the process of rank 0 does.
    """
    os.environ.update({} if "RANK" in os.environ else as_torchrun(os.environ))
    rank, world_size = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    if world_size == 1:
        return None
    from torch.distributed.rendezvous import rendezvous

    return Launch(rank, world_size, next(rendezvous("env://", timeout=START))[0])


def as_torchrun(environment: Mapping[str, str]) -> dict[str, str]:
    """What torchrun would tell a process that srun has started; {} for one that srun has not started with others.

    Lightning reads the job: a batch script outside srun would wait for others, and two steps would share a port.

    Args:
        environment: the variables of the process, e.g. `os.environ`.
    """
    if int(environment.get("SLURM_STEP_NUM_TASKS", "1")) == 1:
        return {}
    host = "127.0.0.1"
    if environment.get("SLURM_STEP_NUM_NODES") != "1":
        from lightning.fabric.plugins.environments.slurm import SLURMEnvironment

        host = SLURMEnvironment.resolve_root_node_address(environment["SLURM_STEP_NODELIST"])
    number = 17 * int(environment.get("SLURM_JOB_ID", "0")) + int(environment.get("SLURM_STEP_ID", "0"))
    return {
        "RANK": environment["SLURM_PROCID"],
        "WORLD_SIZE": environment["SLURM_STEP_NUM_TASKS"],
        "LOCAL_RANK": environment["SLURM_LOCALID"],
        "NODE_RANK": environment.get("SLURM_NODEID", "0"),
        "MASTER_ADDR": host,
        "MASTER_PORT": environment.get("MASTER_PORT", str(15000 + number % 15000)),
    }


def is_worker(trainer: TrainerConfig) -> bool:
    """Whether this process only takes part in the fits of rank 0, and must write and print nothing."""
    launch = launched() if trainer.processes > 1 else None
    return launch is not None and launch.rank > 0
