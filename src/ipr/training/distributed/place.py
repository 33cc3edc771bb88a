"""Where a process stands among those that Slurm or torchrun has started together. Loads nothing heavy."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

from ipr.config.schema import TrainerConfig

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True)
class Place:
    """Where a process stands among those that train together.

    Attributes:
        rank: 0 leads.
        processes: how many there are.
        local_rank: its number on its machine.
        address: the leader's machine.
        port: where the store listens there.
        hosted: whether somebody else keeps the store (torchrun).
        attempt: which it is, where torchrun starts processes again in the same store.
    """

    rank: int
    processes: int
    local_rank: int
    address: str
    port: int
    hosted: bool = False
    attempt: str = "0"


def placed(environment: Mapping[str, str]) -> Place | None:
    """The place that torchrun or `srun` gave this process; None for a process on its own."""
    if all(name in environment for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")):
        place = Place(
            int(environment["RANK"]),
            int(environment["WORLD_SIZE"]),
            int(environment["LOCAL_RANK"]),
            environment["MASTER_ADDR"],
            int(environment["MASTER_PORT"]),
            environment.get("TORCHELASTIC_USE_AGENT_STORE") == "True",
            environment.get("TORCHELASTIC_RESTART_COUNT", "0"),
        )
    elif all(name in environment for name in ("SLURM_STEP_NUM_TASKS", "SLURM_PROCID", "SLURM_STEP_NODELIST")):
        from lightning.fabric.plugins.environments.slurm import SLURMEnvironment

        # each job, and each step of a job, a port of its own: several may run on one machine
        number = 17 * int(environment.get("SLURM_JOB_ID", "0")) + int(environment.get("SLURM_STEP_ID", "0"))
        alone = environment.get("SLURM_STEP_NUM_NODES") == "1"
        place = Place(
            int(environment["SLURM_PROCID"]),
            int(environment["SLURM_STEP_NUM_TASKS"]),
            int(environment["SLURM_LOCALID"]),
            LOOPBACK if alone else SLURMEnvironment.resolve_root_node_address(environment["SLURM_STEP_NODELIST"]),
            int(environment.get("MASTER_PORT", 15000 + number % 15000)),
        )
    else:
        return None
    return place if place.processes > 1 else None


def follows(trainer: TrainerConfig) -> bool:
    """Whether this process was started to follow another through its trainings, and must write and say nothing."""
    place = placed(os.environ) if trainer.devices * trainer.nodes > 1 else None
    return place is not None and place.rank > 0
