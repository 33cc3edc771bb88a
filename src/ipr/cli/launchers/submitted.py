"""The jobs of a sweep in a queue, with submitit: Slurm's, or one of processes of this machine."""

from __future__ import annotations

import os
import shutil
import stat
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn

from ipr.cli.jobs import EXIT_DEFECT, Job
from ipr.cli.launchers.outcomes import JobOutcome, look_again, read_outcome
from ipr.cli.launchers.processes import ended, tell_death
from ipr.errors import InputError
from ipr.files import expanded
from ipr.requests.launchers import context_for_jobs
from ipr.store.lease import Lease
from ipr.texts import printable

LOOK_SECONDS = 0.5
"""Between two looks at the files that jobs leave."""

CANCEL_SECONDS = 90.0
"""For jobs to end that were cancelled; Slurm kills after its KillWait, 30 by default."""

SIGHT_SECONDS = 5.0
"""Within which what a job has written is seen from here, on a slow network file system."""

Overrides = Mapping[int, Sequence[str]]
Calls = dict[int, tuple[Any, ...]]
Jobs = dict[int, Any]
"""submitit's, or a `slurm.Part` of one."""


class Queue(Protocol):
    """Where jobs are sent."""

    @property
    def room(self) -> int:
        """How many may be in it."""

    def submit(self, function: Callable[..., Any], calls: Calls) -> Jobs:
        """Sends jobs.

        Raises:
            InputError: the queue refuses them.
        """

    def name(self, jobs: Jobs) -> str:
        """What the queue calls them."""

    def over(self, jobs: Jobs) -> list[int]:
        """The numbers of those that no longer run and will not be started again."""

    def cancel(self, jobs: Jobs) -> None:
        """Ends jobs."""


def run_in_queue(
    launcher: Any, make_queue: Callable[[Any, Path, Overrides], Queue], overrides: Sequence[Sequence[str]], first: int
) -> list[JobReturn]:
    """Runs the jobs of a sweep with a submitit launcher, and waits for all of them, whatever becomes of one.

    Jobs, their logs and outcomes lie in a folder that only its owner can read, as arguments may hold secrets. It goes
    when the sweep has ended, but for the logs of jobs that died or failed by a defect. If this process is killed it
    stays, and the jobs go on.

    Args:
        launcher: Hydra's, set up.
        make_queue: gives the queue for a launcher, a folder, and the jobs; may raise `InputError`.
        overrides: of each job.
        first: the number of the first job.

    Raises:
        InputError: the launcher was given what it cannot use.
        KeyboardInterrupt: the jobs were cancelled.
    """
    job: Job = launcher.task_function
    jobs = job.numbered(overrides, first, launcher.config)
    folder = private_folder(expanded(launcher.params["submitit_folder"], "hydra.launcher.submitit_folder").absolute())
    launcher.task_function = replace(job, place=folder)
    launcher.hydra_context = context_for_jobs(launcher.hydra_context)
    try:
        with Lease(folder / ".lease"):  # tells `ipr gc` that somebody waits for these jobs
            queue = make_queue(launcher, folder, jobs)
            logs = await_jobs(queue, launcher, jobs, folder, job)
    except (KeyboardInterrupt, InputError):  # nothing was sent, or it was cancelled
        shutil.rmtree(folder, ignore_errors=True)
        raise
    finally:
        launcher.task_function = job
    remove_but(folder, logs)
    return [ended(given, job.outcomes.get(number)) for number, given in jobs.items()]


def await_jobs(queue: Queue, launcher: Any, jobs: Overrides, folder: Path, job: Job) -> list[Path]:
    """Sends jobs as there is room, and says what becomes of each.

    Args:
        queue: where to.
        launcher: what is called in each.
        jobs: number -> overrides.
        folder: where they leave their outcomes.
        job: what each does; has their names, and takes their exit codes and outcomes, by number.

    Returns:
        The logs that are worth keeping.
    """
    named, logs = job.named, list[Path]()
    waiting, running, done, told = calls(jobs, folder), Jobs(), 0, False
    try:
        while waiting or running:
            batch = {number: waiting.pop(number) for number in list(waiting)[: queue.room - len(running)]}
            if batch:
                running |= queue.submit(launcher, batch)
            if not told:
                told = True
                print(
                    f"{len(jobs)} jobs, {queue.name(running)}; their logs, until they have ended: {folder}", flush=True
                )
            look_again(folder)
            for number in queue.over(running):
                paths, done = running.pop(number).paths, done + 1
                outcome = outcome_in_time(folder, number)
                well = outcome is not None and outcome.code == 0
                print(printable(f"[{done}/{len(jobs)}] {named[number]}: {'done' if well else 'failed'}"), flush=True)
                job.codes[number] = EXIT_DEFECT if outcome is None else outcome.code
                if outcome is not None:
                    job.outcomes[number] = outcome
                if outcome is None:
                    tell_death(number, named[number], paths.stderr if paths.stderr.exists() else paths.stdout)
                elif not well:
                    print(printable(f"ipr: error: {outcome.line} (job {number})"), file=sys.stderr, flush=True)
                if outcome is None or outcome.traced:
                    logs += [paths.stdout, paths.stderr]
            time.sleep(LOOK_SECONDS)
    except (KeyboardInterrupt, InputError):
        queue.cancel(running)
        patience = time.monotonic() + CANCEL_SECONDS
        while running.keys() - queue.over(running) and time.monotonic() < patience:
            time.sleep(LOOK_SECONDS)
        raise
    return logs


def private_folder(base: Path) -> Path:
    """A new folder that only its owner can read, from the first moment; what lies in it is unpickled, and so is run.

    Args:
        base: where it lies, made readable by its owner alone if missing. Whoever may rename what is in it could put
            jobs of his own in our place, so nobody else may.

    Raises:
        InputError: there can be none.
    """
    field = "hydra.launcher.submitit_folder"
    try:
        base.parent.mkdir(parents=True, exist_ok=True)
        base.mkdir(mode=0o700, exist_ok=True)
        found = base.stat()
        others_write = found.st_mode & 0o022 and not found.st_mode & stat.S_ISVTX
        if others_write or found.st_uid not in (os.getuid(), 0):
            problem = "lets others put jobs in the place of yours"
            raise InputError(field, base, problem, "chmod go-w, or choose a folder of your own")
        return Path(tempfile.mkdtemp(dir=base, prefix=""))
    except OSError as error:
        raise InputError(field, base, f"cannot be written ({error.strerror})", "choose another folder") from error


def calls(jobs: Overrides, folder: Path) -> Calls:
    """What Hydra's submitit launcher is called with in each job: its output goes to the folder, wherever it runs."""
    quoted = str(folder).replace("\\", "\\\\").replace("'", "\\'")
    state = Singleton.get_state()
    return {
        number: ([*overrides, f"hydra.sweep.dir='{quoted}'"], "hydra.sweep.dir", number, str(number), state)
        for number, overrides in jobs.items()
    }


def outcome_in_time(folder: Path, number: int) -> JobOutcome | None:
    """The outcome of a job that is over; None if it died."""
    patience = time.monotonic() + SIGHT_SECONDS
    while (outcome := read_outcome(folder, number)) is None and time.monotonic() < patience:
        time.sleep(LOOK_SECONDS)
        look_again(folder)
    return outcome


def remove_but(folder: Path, logs: Sequence[Path]) -> None:
    """Removes a sweep's folder, or what is in it besides some logs."""
    if not logs:
        shutil.rmtree(folder, ignore_errors=True)
        return
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        elif path not in logs:
            path.unlink(missing_ok=True)
