"""How many runs a machine has room for at a time. Loads nothing heavy, and starts nothing on a GPU."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from ipr.errors import InputError

GIB_OF_A_RUN = 10.0
"""GiB of a GPU's memory for each run on it: several times what one of the paper's takes, CUDA's own share included."""

MOST_RUNS = 8
"""Runs that share a GPU, at the most, unless more are asked for."""

ASK_SECONDS = 60.0
"""For `nvidia-smi` to answer; the first to ask may have to wait for the driver."""


@dataclass(frozen=True)
class Slots:
    """How many runs are there at a time on this machine, and on what.

    Attributes:
        count: processes.
        threads: that each computes with.
        gpus: that they share, each as CUDA_VISIBLE_DEVICES names what one run takes: `0`, or `0,1` for a run over two;
            empty for none.
    """

    count: int
    threads: int
    gpus: tuple[str, ...]


def slots(
    asked: int | None,
    gpus: tuple[str, ...],
    cores: int,
    key: str,
    *,
    each: int | None = None,
    devices: int = 1,
    memory: Callable[[], float] = lambda: 0.0,
) -> Slots:
    """How many runs at a time: as many as asked for, else `runs_per_gpu` on each GPU, else one for each core.

    Args:
        asked: processes; None for the default.
        gpus: of this machine.
        cores: of this machine.
        key: the configuration key that asks.
        each: runs on each GPU; None for the default.
        devices: that the processes of one run take. Several make a training over several GPUs, which shares them with
            no other run unless `each` says so.
        memory: gives the GiB of each GPU, as `shared_memory` does; is asked only where it counts.

    Raises:
        InputError: fewer than one is asked for.
    """
    if asked is not None and asked < 1:
        raise InputError(key, asked, "must be at least 1", "leave it out for as many as the GPUs, or else cores, hold")
    if each is not None and each < 1:
        raise InputError("hydra.launcher.runs_per_gpu", each, "must be at least 1", "leave it out for the default")
    groups = tuple(",".join(gpus[i : i + devices]) for i in range(0, len(gpus) - devices + 1, devices))
    if gpus and not groups:  # too few: the run itself says so
        groups = (",".join(gpus),)
    if asked is not None:
        count = asked
    elif not groups:
        count = max(1, cores // devices)
    elif each is not None or devices > 1:
        count = len(groups) * (each or 1)
    else:
        count = len(groups) * runs_per_gpu(memory(), cores // len(groups))
    return Slots(count, max(1, cores // count), groups)


def runs_per_gpu(memory: float, cores: int) -> int:
    """How many runs share a GPU: one for each `GIB_OF_A_RUN`, at most one for each core, at most `MOST_RUNS`, and one.

    A run of small networks keeps a large GPU busy for a part of the time only, and a core for all of it.

    Args:
        memory: GiB of the GPU.
        cores: for the runs of this GPU.
    """
    return max(1, min(int(memory / GIB_OF_A_RUN), cores, MOST_RUNS))


def shared_memory(environment: Mapping[str, str]) -> float:
    """GiB of the smallest GPU of this machine that several processes may share; 0 where nobody says.

    `nvidia-smi` is asked, as torch would begin to use the GPUs. CUDA may number them in another order, so no GPU is
    told from the others. It is 0 where a GPU is in parts (MIG), or is for one process alone (compute mode
    Exclusive_Process, without MPS).

    Args:
        environment: of the process: `nvidia-smi` is looked for in its PATH, and CUDA_MPS_PIPE_DIRECTORY tells of MPS.
    """
    command = ["nvidia-smi", "--query-gpu=memory.total,mig.mode.current,compute_mode", "--format=csv,noheader,nounits"]
    try:
        answer = subprocess.run(  # noqa: S603
            command, env=dict(environment), check=True, capture_output=True, text=True, timeout=ASK_SECONDS
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return 0.0
    return smallest(answer, mps="CUDA_MPS_PIPE_DIRECTORY" in environment)


def smallest(answer: str, *, mps: bool) -> float:
    """GiB of the smallest GPU that several processes may share, of what `nvidia-smi` says: MiB, MIG, mode in a line."""
    found = []
    for line in filter(None, map(str.strip, answer.splitlines())):
        memory, mig, mode = (*map(str.strip, line.split(",")), "", "")[:3]
        shared = mig != "Enabled" and (mode == "Default" or (mode == "Exclusive_Process" and mps))
        found.append(int(memory) / 1024 if shared and memory.isdecimal() else 0.0)
    return min(found, default=0.0)


def cores_here() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0))
