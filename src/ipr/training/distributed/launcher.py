"""What rank 0 does for a fit over several processes: it starts the others, or calls those that were started."""

from __future__ import annotations

import gc
import io
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from datetime import timedelta
from pathlib import Path
from typing import TypeVar

import torch
from torch._C._distributed_c10d import FileStore, Store

from ipr.data.images import ImageData
from ipr.data.share import check_divisible
from ipr.errors import InputError
from ipr.files import aside_of, write_atomically
from ipr.machine.gpus import variables
from ipr.training.distributed.group import SOON, joined
from ipr.training.distributed.launch import START, Launch, launched
from ipr.training.distributed.worker import join_fits
from ipr.training.loop import Training

T = TypeVar("T")

END = timedelta(seconds=60)
"""For the others to hear that there are no more fits."""


def on_rank_0(execute: Callable[[], T]) -> T | None:
    """Executes a command on rank 0; processes that were started with it take part in its fits instead.

    Args:
        execute: the command.

    Returns:
        What it gives; None on the other processes.
    """
    launch = launched()
    if launch is None:
        return execute()
    if launch.rank > 0:
        join_fits(launch)
        return None
    try:
        return execute()
    finally:
        store = launch.next_fit()
        with suppress(RuntimeError):  # one has ended
            store.set("work", "")
            store.wait([f"ready {rank}" for rank in range(1, launch.world_size)], END)  # the store may end with this


@contextmanager
def process_group(
    training: Training, data: ImageData, open_images: Callable[[], ImageData], runs: Path
) -> Iterator[Store | None]:
    """Inside, the processes that are asked for are about to fit.

    They learn of the fit from a file that only this user can read: there may be a passport in it.

    Args:
        training: what is trained, and how.
        data: on what.
        open_images: gives the same in another process.
        runs: the folder of runs, which all machines see.

    Yields:
        The store of the fit; None for one process.

    Raises:
        InputError: the processes cannot share what a step takes, were not started, do not find the images, or one was
            killed.
        RuntimeError: one failed.
    """
    trainer, world_size = training.trainer, training.trainer.processes
    if world_size == 1:
        yield None
        return
    launch = launched()
    check_divisible("optimizer.batch_size", training.batch_size, world_size)
    training.scheme.check_shares(world_size)
    there = launch.world_size if launch is not None else trainer.devices
    if there != world_size:
        problem = f"with trainer.devices={trainer.devices} it asks for {world_size} processes; {there} are there"
        remedy = "start as many, with srun, hydra/launcher=slurm or torchrun"
        raise InputError("trainer.nodes", trainer.nodes, problem, remedy)
    gc.collect()  # what a fit that failed leaves behind would keep its connections open
    content, file = io.BytesIO(), aside_of(runs.absolute() / "fit")
    torch.save((training, open_images, data.fingerprint), content)
    file.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(file, content.getvalue(), 0o600)
    try:
        with started(world_size) if launch is None else nullcontext((launch, lambda: None)) as (others, check):
            store = others.next_fit()
            store.set("work", str(file))
            _wait_until_ready(store, world_size, check)
            with joined(store, 0, trainer):
                yield store
    finally:
        file.unlink(missing_ok=True)


def _wait_until_ready(store: Store, world_size: int, check: Callable[[], None]) -> None:
    deadline = time.monotonic() + START.total_seconds()
    try:
        for rank in range(1, world_size):
            while not store.check([f"ready {rank}"]):
                check()
                if time.monotonic() > deadline:
                    raise RuntimeError(f"process {rank} of {world_size} does not answer")
                time.sleep(0.02)
            if (problem := json.loads(store.get(f"ready {rank}"))) is not None:
                raise InputError(*map(str, problem))
    except BaseException:
        store.set("begin", "no")
        raise
    store.set("begin", "yes")


@contextmanager
def started(world_size: int) -> Iterator[tuple[Launch, Callable[[], None]]]:
    """Inside, there are other processes on this machine. They end with the block, or when this process does.

    They meet in a folder that only this user can enter. (`multiprocessing` would run the caller's script again.)

    Args:
        world_size: how many processes there are, with this one. They share its threads.

    Yields:
        The processes, and what raises if one has failed.
    """
    others: list[subprocess.Popen[bytes]] = []
    threads = torch.get_num_threads()
    each = max(1, threads // world_size)
    # for Lightning; a cluster may have set others
    ranks = {"NODE_RANK": "0", "LOCAL_RANK": "0", "OMP_NUM_THREADS": str(each)}
    with tempfile.TemporaryDirectory(prefix="ipr-") as folder, variables(ranks):
        file = str(Path(folder) / "store")
        public = {name: value for name, value in os.environ.items() if not name.startswith("IPR_HIDDEN_")}
        command = [sys.executable, "-P", "-m", "ipr.training.distributed.worker"]
        try:
            torch.set_num_threads(each)
            for rank in range(1, world_size):
                other = subprocess.Popen(  # noqa: S603
                    [*command, str(rank), str(world_size), file],
                    env=public | {"LOCAL_RANK": str(rank)},
                    stdin=subprocess.PIPE,
                    stdout=subprocess.DEVNULL,
                )
                others.append(other)
            yield Launch(0, world_size, FileStore(file, world_size)), lambda: _check(others)
        except RuntimeError:  # perhaps as another process has ended
            deadline = time.monotonic() + SOON.total_seconds()
            while time.monotonic() < deadline:
                _check(others)
                time.sleep(0.05)
            raise
        finally:
            torch.set_num_threads(threads)
            for other in others:
                other.kill()  # it has nothing to lose
                other.communicate()


def _check(others: Sequence[subprocess.Popen[bytes]]) -> None:
    for rank, other in enumerate(others, 1):
        who, code = f"process {rank} of {len(others) + 1}", other.poll() or 0
        if code < 0:
            problem = f"{who} was killed by {signal.Signals(-code).name}"
            remedy = "see to the machine's memory, and to whoever ends processes; the same command goes on"
            raise InputError("trainer.devices", len(others) + 1, problem, remedy)
        if code > 0:
            raise RuntimeError(f"{who} ended with code {code}; what it said stands above")
