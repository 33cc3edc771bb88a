"""Several jobs of a sweep in one job of Slurm, each in a process of its own, side by side on the job's GPUs."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from multiprocessing import connection, get_context
from multiprocessing.context import SpawnProcess
from pathlib import Path
from types import FrameType
from typing import Any

from submitit.core.utils import DelayedSubmission

from ipr.cli.jobs import EXIT_INTERRUPTED
from ipr.cli.launchers.outcomes import read_outcome
from ipr.machine.gpus import THREADS, variables, visible_gpus

END_SECONDS = 10.0
"""For processes to end by themselves where their job is to end; then they are killed."""


@dataclass(frozen=True)
class Pack:
    """What submitit calls in a job of Slurm that runs several of a sweep.

    Whatever becomes of one, the others go on. A job that goes back to the queue runs again those that had not ended.

    Attributes:
        function: what is called for each.
        folder: where they leave their outcomes, and their logs.
        threads: that each computes with; None for as many as the job's OMP_NUM_THREADS says.
    """

    function: Callable[..., Any]
    folder: Path
    threads: int | None

    def __call__(self, calls: Mapping[int, tuple[Any, ...]]) -> None:
        """Runs what each of the sweep's jobs, by number, is called with, and returns when all have ended."""
        left = {number: call for number, call in calls.items() if not has_ended(self.folder, number)}
        # without the variable all see whatever there is, and nobody need load torch here to count it
        gpus = visible_gpus(os.environ) if "CUDA_VISIBLE_DEVICES" in os.environ else []
        running: dict[int, SpawnProcess] = {}
        try:
            for place, (number, call) in enumerate(left.items()):
                own = {"CUDA_VISIBLE_DEVICES": gpus[place % len(gpus)]} if gpus else {}
                if self.threads is not None:
                    own |= dict.fromkeys(THREADS, str(self.threads))
                running[number] = self._started(number, call, own)
            while running:
                connection.wait([process.sentinel for process in running.values()])
                for number in [number for number, process in running.items() if process.exitcode is not None]:
                    del running[number]
                    over(self.folder, number).touch()
        finally:  # the job is to end, or to go back to the queue
            end([*running.values()])

    def checkpoint(self, calls: Mapping[int, tuple[Any, ...]]) -> DelayedSubmission:
        """What submitit runs when the job comes back from the queue."""
        return DelayedSubmission(self, calls)

    def _started(self, number: int, call: tuple[Any, ...], own: Mapping[str, str]) -> SpawnProcess:
        what = self.folder / f"{number}.pkl"
        DelayedSubmission(self.function, *call).dump(what)
        process = get_context("spawn").Process(target=run_part, args=(what, *logs(self.folder, number)))
        with variables(own):
            process.start()
        return process


def run_part(what: Path, out: Path, err: Path) -> None:
    """One job of the sweep, in a process of its own.

    Args:
        what: holds what is called, in a folder that only its owner can write to.
        out: where it prints.
        err: where its errors go.
    """
    for number, path in ((1, out), (2, err)):
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(descriptor, number)
        os.close(descriptor)
    # Slurm tells every process of a job; the first alone answers, and interrupts the others
    for signalled in (signal.SIGTERM, signal.SIGCONT, signal.SIGUSR2):
        signal.signal(signalled, _bypass)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        DelayedSubmission.load(what).result()
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)


def _bypass(number: int, frame: FrameType | None) -> None:
    """Nothing; unlike SIG_IGN it is not handed on to what this process starts."""


def end(processes: list[SpawnProcess]) -> None:
    """Interrupts processes, and kills those that do not hear it."""
    for process in processes:
        if process.pid is not None and process.exitcode is None:
            os.kill(process.pid, signal.SIGINT)
    sentinels = {process.sentinel for process in processes}
    while sentinels and (ready := connection.wait([*sentinels], END_SECONDS)):
        sentinels -= {*ready}
    for process in processes:
        process.kill()
        process.join()


def logs(folder: Path, number: int) -> tuple[Path, Path]:
    """Where a job of the sweep prints, and where its errors go."""
    return folder / f"run-{number}_log.out", folder / f"run-{number}_log.err"


def over(folder: Path, number: int) -> Path:
    """What says that the process of a job of the sweep has ended, well or not."""
    return folder / f"{number}.over"


def has_ended(folder: Path, number: int) -> bool:
    """Whether it has."""
    return over(folder, number).exists() or read_outcome(folder, number) is not None
