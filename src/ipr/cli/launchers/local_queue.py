"""A queue of processes of this machine, with submitit."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import submitit

from ipr.cli.launchers.submitted import Calls, Jobs, Overrides
from ipr.machine.gpus import OnGpu, threads_each
from ipr.machine.slots import Slots
from ipr.requests.launchers import check_keys, slots_here


@dataclass
class LocalQueue:
    """One of processes of this machine."""

    executor: submitit.LocalExecutor
    here: Slots

    @property
    def room(self) -> int:
        """See `Queue`."""
        return self.here.count

    def submit(self, function: Callable[..., Any], calls: Calls) -> Jobs:
        """See `Queue`."""
        with threads_each(self.here.threads), without_stderr():
            return {number: self.executor.submit(function, *call) for number, call in calls.items()}

    def name(self, jobs: Jobs) -> str:
        """See `Queue`."""
        return f"{self.room} at a time"

    def over(self, jobs: Jobs) -> list[int]:
        """See `Queue`."""
        return [number for number, job in jobs.items() if job.done()]

    def cancel(self, jobs: Jobs) -> None:
        """See `Queue`."""
        for job in jobs.values():
            job.cancel()


def local_queue(launcher: Any, folder: Path, jobs: Overrides) -> LocalQueue:
    """A queue of processes of this machine, as the launcher's parameters ask; a job takes the GPU with fewest others.

    Raises:
        InputError: a parameter cannot be used.
    """
    params = launcher.params
    check_keys("submitit_local", params)
    asked, each = params["array_parallelism"], params["runs_per_gpu"]
    key = "hydra.launcher.array_parallelism"
    here = slots_here(asked, launcher.config, key, each=each, jobs=jobs.values())
    executor = submitit.LocalExecutor(folder, max_num_timeout=params["max_num_timeout"])
    executor.update_parameters(
        timeout_min=params["timeout_min"],
        signal_delay_s=params["signal_delay_s"],
        stderr_to_stdout=params["stderr_to_stdout"],
    )
    launcher.task_function = OnGpu(launcher.task_function, folder, here.gpus, os.getpid())
    return LocalQueue(executor, here)


@contextmanager
def without_stderr() -> Iterator[None]:
    """Inside, processes are started whose errors nobody sees: those that watch over jobs, when they are interrupted."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
