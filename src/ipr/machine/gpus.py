"""Which GPU of this machine a process takes that has others beside it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")
"""What says with how many threads a process computes."""


def visible_gpus(environment: Mapping[str, str]) -> list[str]:
    """The GPUs of this machine, as CUDA_VISIBLE_DEVICES names them: those in it, or all where it is not set.

    Args:
        environment: of the process, e.g. `os.environ`.
    """
    named = environment.get("CUDA_VISIBLE_DEVICES")
    if named is None:
        import torch

        return [str(index) for index in range(torch.cuda.device_count())]
    gpus: list[str] = []
    for name in map(str.strip, named.split(",")):
        if name in ("", "-1"):  # CUDA does not look beyond these either
            break
        gpus.append(name)
    return gpus


def choose(gpus: Sequence[str], taken: Sequence[str]) -> str:
    """The GPU that the fewest have taken, the first of several.

    Args:
        gpus: at least one.
        taken: one for each process that has one.
    """
    return min(gpus, key=taken.count)


@dataclass(frozen=True)
class HeldGpu:
    """A GPU, and the lock that says so for as long as this process lives."""

    gpu: str
    lock: FileLock


@cache  # a process that has begun to use one GPU cannot change to another
def claim_gpu(folder: Path, gpus: tuple[str, ...]) -> HeldGpu:
    """Takes the GPU that the fewest processes of a sweep have, until this process ends, however it ends.

    Args:
        folder: the sweep's, on a disk of this machine.
        gpus: those there are, at least one.
    """
    with FileLock(folder / "gpus.lock"):
        slots = sorted(folder.glob("gpu-*.lock"))
        taken = [gpus[int(slot.stem.split("-")[1])] for slot in slots if _is_held(slot)]
        gpu = choose(gpus, taken)
        lock = FileLock(folder / f"gpu-{gpus.index(gpu)}-{os.getpid()}.lock")
        lock.acquire()
        return HeldGpu(gpu, lock)


def _is_held(slot: Path) -> bool:
    try:
        with FileLock(slot, timeout=0):
            return False
    except Timeout:
        return True


@dataclass(frozen=True)
class OnGpu:
    """A job's task that takes a GPU first, in a process of its own.

    Attributes:
        task: what to do there.
        folder: the sweep's.
        gpus: those there are; none for a task that needs none.
        asker: the process that asked for the sweep, whose GPUs stay as they are.
    """

    task: Callable[[Any], Any]
    folder: Path
    gpus: tuple[str, ...]
    asker: int

    def __call__(self, config: Any) -> Any:
        """Runs the task."""
        if self.gpus and os.getpid() != self.asker:
            os.environ["CUDA_VISIBLE_DEVICES"] = claim_gpu(self.folder, self.gpus).gpu
        return self.task(config)


@contextmanager
def threads_each(count: int) -> Iterator[None]:
    """Inside, processes that are started compute with so many threads, unless OMP_NUM_THREADS was set."""
    names = [name for name in THREADS if "OMP_NUM_THREADS" not in os.environ]
    with variables(dict.fromkeys(names, str(count))):
        yield


@contextmanager
def variables(own: Mapping[str, str]) -> Iterator[None]:
    """Inside, processes that are started have these environment variables besides."""
    before = {name: os.environ.get(name) for name in own}
    os.environ.update(own)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
