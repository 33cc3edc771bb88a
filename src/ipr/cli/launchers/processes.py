"""The jobs of a sweep in several processes of this machine, with joblib.

Why not submitit's local queue: it starts two processes for each job, joblib's run one job after the other. Eight
trainings of one epoch of digits, two at a time, took 51 s of CPU with `hydra/launcher=submitit_local` and 16 s with
`joblib`, which also print as they go.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn, JobStatus

from ipr.cli.jobs import AGAIN, EXIT_DEFECT
from ipr.cli.launchers.outcomes import JobOutcome, has_begun, read_outcome
from ipr.errors import InputError
from ipr.machine.gpus import OnGpu, threads_each
from ipr.requests.launchers import check_keys, context_for_jobs, slots_here
from ipr.texts import printable


@dataclass(frozen=True)
class Uninterrupted:
    """A job's task in a process that does not hear a terminal's interruption: the asker does, and ends it.

    Interrupted itself it would say so in its own way, at whatever it was about.

    Attributes:
        task: what to do there.
        asker: the process that asked for the sweep, which goes on hearing it.
    """

    task: Callable[[Any], Any]
    asker: int

    def __call__(self, config: Any) -> Any:
        """Runs the task."""
        if os.getpid() != self.asker:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
        return self.task(config)


Launch = Callable[[Sequence[Sequence[str]], int], Sequence[JobReturn]]


def run_in_processes(launcher: Any, launch: Launch, overrides: Sequence[Sequence[str]], first: int) -> list[JobReturn]:
    """Runs the jobs of a sweep with a joblib launcher. Those that a dying process takes with it are run again.

    joblib ends all processes when one of them dies. The jobs that were under way are then gone on with one at a time:
    a job that dies alone is the one that dies.

    Args:
        launcher: Hydra's, set up.
        launch: what it does by itself.
        overrides: of each job.
        first: the number of the first job.

    Raises:
        InputError: the launcher was given what it cannot use.
    """
    from joblib.externals.loky import get_reusable_executor
    from joblib.externals.loky.process_executor import TerminatedWorkerError

    check_keys("joblib", launcher.joblib)
    asked, config = launcher.joblib, launcher.config
    here = slots_here(asked["n_jobs"], config, "hydra.launcher.n_jobs", each=asked["runs_per_gpu"], jobs=overrides)
    launcher.joblib = {key: value for key, value in asked.items() if key != "runs_per_gpu"}  # what joblib knows
    job = launcher.task_function
    launcher.task_function = Uninterrupted(OnGpu(job, job.place, here.gpus, os.getpid()), os.getpid())
    launcher.hydra_context = context_for_jobs(launcher.hydra_context)
    jobs = job.numbered(overrides, first, config)
    try:
        with threads_each(here.threads):
            for number in _interrupted(launcher, launch, jobs, job.place, here.count):
                launcher.joblib["n_jobs"] = 2  # one would be this process itself
                try:
                    launch([jobs[number]], number)
                except TerminatedWorkerError:
                    tell_death(number, job.named[number])
                    job.codes[number] = EXIT_DEFECT
        get_reusable_executor().shutdown(wait=True)
    except BaseException:
        get_reusable_executor().shutdown(wait=True, kill_workers=True)
        raise
    finally:
        launcher.task_function, launcher.joblib = job, asked  # a sweeper may launch again
    if any(read_outcome(job.place, number) is None and number not in job.codes for number in jobs):
        raise InputError("TMPDIR", job.place.parent, "cannot be written", f"make room; {AGAIN}")
    return [ended(overrides, read_outcome(job.place, number)) for number, overrides in jobs.items()]


def _interrupted(
    launcher: Any, launch: Launch, jobs: Mapping[int, Sequence[str]], place: Path, count: int
) -> list[int]:
    """Runs the jobs, `count` at a time; gives the numbers of those that somebody else's death has interrupted."""
    from joblib.externals.loky.process_executor import TerminatedWorkerError

    waiting, last, interrupted = min(jobs), max(jobs) + 1, list[int]()
    while waiting < last:
        launcher.joblib["n_jobs"] = min(count, last - waiting)
        try:
            launch([jobs[number] for number in range(waiting, last)], waiting)
            break
        except TerminatedWorkerError:
            begun = [number for number in range(waiting, last) if has_begun(place, number)]
            further = begun[-1] + 1 if begun else last
            interrupted += [number for number in range(waiting, further) if read_outcome(place, number) is None]
            waiting = further
            print("ipr: a process of this sweep was killed; its jobs are run again, one by one", file=sys.stderr)
    return interrupted


def tell_death(number: int, name: str, log: Path | None = None) -> None:
    """Says on the terminal that a job died."""
    where = f"; its log: {log}" if log is not None else ""
    line = f"job {number} ({name}) died without a word: killed, or out of memory{where}"
    told = printable(f"ipr: error: {line}; the same command goes on where it stopped")
    print(told, file=sys.stderr, flush=True)


def ended(overrides: Sequence[str], outcome: JobOutcome | None) -> JobReturn:
    """What Hydra's sweeper is told of a job that has ended, well or not: the number that it came to, or None."""
    value = None if outcome is None or outcome.code else outcome.value
    return JobReturn(overrides=overrides, status=JobStatus.COMPLETED, _return_value=value)
