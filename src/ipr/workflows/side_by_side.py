"""Several trainings of one request each at a time, in processes of this machine."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from ipr.config.schema import TrainConfig, TrainerConfig
from ipr.data.images import ImageData
from ipr.machine.gpus import claim_gpu, threads_each, visible_gpus
from ipr.machine.slots import Slots, cores_here, shared_memory, slots
from ipr.workflows.request import check, folder_of, with_limit
from ipr.workflows.train import Run, train


def train_all(
    requests: Sequence[TrainConfig],
    data: ImageData,
    asked: int | None = None,
    told: Callable[[], object] = lambda: None,
) -> list[Run]:
    """Finds or trains the run of each request; those that are missing, several at a time.

    A run is what `train` makes of its request alone: bit by bit, as long as it computes with as many threads. Without a
    GPU these are one, where there is a process for each core.

    Args:
        requests: they differ in their seeds alone.
        data: their images.
        asked: how many at a time; None for as many as a sweep with `hydra/launcher=joblib` runs. 1 trains one after the
            other in this process; so are trainings that have several processes each.
        told: is called whenever one of them is there.

    Raises:
        InputError: a request cannot be; or the first that fails does. Those beside it are ended, and the same requests
            later go on from their last checkpoints.
    """
    for request in requests:
        check(request)
    missing = [one for one in requests if not folder_of(with_limit(one), data).record.exists()]
    here = slots_for(requests[0].trainer, asked) if missing else None
    made: list[TrainConfig] = []
    if here is not None and here.count > 1 and len(missing) > 1:
        made = in_processes(missing, here, told)
    runs = []
    for request in requests:  # what is there is found; what a killed process has left is gone on with
        runs.append(train(request))
        if request not in made:
            told()
    return runs


def slots_for(trainer: TrainerConfig, asked: int | None) -> Slots:
    """How many trainings there are at a time, and on what.

    Args:
        trainer: of each.
        asked: see `train_all`.

    Raises:
        InputError: fewer than one is asked for.
    """
    if trainer.processes > 1:
        asked = 1
    gpus = () if trainer.accelerator == "cpu" else tuple(visible_gpus(os.environ))
    return slots(asked, gpus, cores_here(), "processes", memory=partial(shared_memory, os.environ))


def in_processes(
    requests: Sequence[TrainConfig], here: Slots, told: Callable[[], object] = lambda: None
) -> list[TrainConfig]:
    """Trains each in one of several processes.

    Args:
        requests: which.
        here: how many processes, and on what.
        told: is called whenever one is done.

    Returns:
        Those that are done: all, but where a process was killed, which takes the others with it.

    Raises:
        InputError: the first of them that fails does; the others are ended.
    """
    from joblib.externals.loky import ProcessPoolExecutor, as_completed
    from joblib.externals.loky.process_executor import TerminatedWorkerError

    done: list[TrainConfig] = []
    count = min(here.count, len(requests))
    with tempfile.TemporaryDirectory(prefix="ipr-") as place, threads_each(here.threads):
        pool = ProcessPoolExecutor(count, initializer=begin, initargs=(Path(place), here.gpus))
        try:
            running = {pool.submit(train_one, request): request for request in requests}
            for one in as_completed(running):
                one.result()
                done.append(running[one])
                told()
            pool.shutdown(wait=True)
        except TerminatedWorkerError:
            pool.shutdown(wait=True, kill_workers=True)
            print("ipr: a process was killed; what it and those beside it trained is gone on with", file=sys.stderr)
        except BaseException:
            pool.shutdown(wait=True, kill_workers=True)
            raise
    return done


def begin(place: Path, gpus: tuple[str, ...]) -> None:
    """Makes a process ready: it takes a GPU where there are some, and only its parent hears an interruption."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if gpus:
        os.environ["CUDA_VISIBLE_DEVICES"] = claim_gpu(place, gpus).gpu


def train_one(request: TrainConfig) -> None:
    """Trains it and says nothing of what came out: the store does."""
    train(request)
