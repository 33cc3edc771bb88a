"""The jobs of a sweep in a queue, with submitit: Slurm's, or one of processes of this machine."""

from __future__ import annotations

import io
import os
import shutil
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import submitit
from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn
from hydra_plugins.hydra_submitit_launcher.config import BaseQueueConf
from omegaconf import DictConfig
from submitit.core.utils import FailedJobError, FailedSubmissionError

from ipr.cli.jobs import EXIT_DEFECT, Job
from ipr.cli.launchers.outcomes import JobOutcome, descriptions, look_again, read_outcome
from ipr.cli.launchers.packed import Pack, logs, over
from ipr.cli.launchers.processes import ended, tell_death
from ipr.errors import InputError
from ipr.files import expanded
from ipr.machine.gpus import OnGpu, threads_each
from ipr.machine.slots import Slots
from ipr.requests.launchers import check_keys, context_for_jobs, most_devices, slots_here
from ipr.store.lease import Lease
from ipr.texts import printable

LOOK_SECONDS = 0.5
"""Between two looks at the files that jobs leave."""

ASK_SECONDS = (2.0, 30.0)
"""Between two questions to Slurm: from so many, at the beginning, to so many."""

CANCEL_SECONDS = 90.0
"""For jobs to end that were cancelled; Slurm kills after its KillWait, 30 by default."""

SIGHT_SECONDS = 5.0
"""Within which what a job has written is seen from here, on a slow network file system."""

LARGEST_ARRAY = 1000
"""Jobs of one array: Slurm's default MaxArraySize allows one more."""

Overrides = Mapping[int, Sequence[str]]
Calls = dict[int, tuple[Any, ...]]
Jobs = dict[int, Any]
"""submitit's, or a `Part` of one."""


@dataclass(frozen=True)
class Part:
    """A job of the sweep that runs beside others in one of Slurm.

    Attributes:
        job: Slurm's.
        folder: the sweep's.
        number: the sweep's.
    """

    job: submitit.Job[Any]
    folder: Path
    number: int

    @property
    def job_id(self) -> str:
        """Slurm's name for the job that it is in."""
        return self.job.job_id

    @property
    def paths(self) -> PartPaths:
        """Its files; the logs are those of Slurm's job where it did not begin."""
        out, err = logs(self.folder, self.number)
        whole = self.job.paths
        returned = over(self.folder, self.number)
        if not returned.exists():
            returned = whole.result_pickle
        return PartPaths(out, err, returned) if err.exists() else PartPaths(whole.stdout, whole.stderr, returned)


class PartPaths(NamedTuple):
    """As submitit's: what is printed, what is told, and what is there when it has ended."""

    stdout: Path
    stderr: Path
    result_pickle: Path


class Queue(Protocol):
    """Where jobs are sent."""

    @property
    def room(self) -> int:
        """How many may be in it."""
        ...

    def submit(self, function: Callable[..., Any], calls: Calls) -> Jobs:
        """Sends jobs.

        Raises:
            InputError: the queue refuses them.
        """
        ...

    def name(self, jobs: Jobs) -> str:
        """What the queue calls them."""
        ...

    def over(self, jobs: Jobs) -> list[int]:
        """The numbers of those that no longer run and will not be started again."""
        ...

    def cancel(self, jobs: Jobs) -> None:
        """Ends jobs."""
        ...


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
    job, jobs = launcher.task_function, dict(enumerate(overrides, first))
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
        job: what each does; takes their exit codes and outcomes, by number.

    Returns:
        The logs that are worth keeping.
    """
    named, logs = descriptions(jobs, launcher.config.hydra.overrides.task), list[Path]()
    job.named.update(named)
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


@dataclass
class SlurmQueue:
    """Slurm's, in which every sweep is an array.

    Attributes:
        folder: the sweep's.
        packed: jobs of the sweep in one of Slurm.
        threads: that each of these computes with; None for as many as Slurm's job is told.
    """

    executor: submitit.AutoExecutor
    folder: Path
    packed: int = 1
    threads: int | None = None
    room: int = sys.maxsize
    asked: float = 0.0
    patience: float = ASK_SECONDS[0]

    def submit(self, function: Callable[..., Any], calls: Calls) -> Jobs:
        """See `Queue`."""
        sent, numbers = Jobs(), list(calls)
        for start in range(0, len(numbers), LARGEST_ARRAY * self.packed):
            part = numbers[start : start + LARGEST_ARRAY * self.packed]
            try:
                with redirect_stderr(io.StringIO()):  # submitit prints what it raises
                    jobs: list[Any]
                    if self.packed == 1:
                        jobs = self.executor.map_array(function, *zip(*(calls[number] for number in part), strict=True))
                    else:
                        jobs = self._packs(function, {number: calls[number] for number in part})
            except (FailedJobError, FailedSubmissionError) as error:
                self.cancel(sent)
                remedy = "see `sinfo` for partitions and limits"
                raise InputError("hydra/launcher", "slurm", f"refused ({one(str(error))})", remedy) from error
            sent |= dict(zip(part, jobs, strict=True))
        return sent

    def _packs(self, function: Callable[..., Any], calls: Calls) -> list[Part]:
        """One job of Slurm for each `packed` of the sweep."""
        numbers = list(calls)
        packs = [
            {number: calls[number] for number in numbers[first : first + self.packed]}
            for first in range(0, len(numbers), self.packed)
        ]
        jobs = self.executor.map_array(Pack(function, self.folder, self.threads), packs)
        return [Part(job, self.folder, number) for job, pack in zip(jobs, packs, strict=True) for number in pack]

    def name(self, jobs: Jobs) -> str:
        """See `Queue`."""
        return "Slurm " + ", ".join(dict.fromkeys(job.job_id.split("_")[0] for job in jobs.values()))

    def over(self, jobs: Jobs) -> list[int]:
        """See `Queue`: those that have returned, and those that Slurm no longer lists."""
        returned = [number for number, job in jobs.items() if job.paths.result_pickle.exists()]
        now = time.monotonic()
        if now < self.asked + self.patience:
            return returned
        self.asked, self.patience = now, min(self.patience * 1.5, ASK_SECONDS[1])
        listed = listed_by_slurm()
        if listed is None:  # it does not answer; another time
            return returned
        return [number for number, job in jobs.items() if number in returned or job.job_id not in listed]

    def cancel(self, jobs: Jobs) -> None:
        """See `Queue`."""
        self.patience = ASK_SECONDS[0]
        if jobs:
            subprocess.run(["scancel", *{job.job_id for job in jobs.values()}], check=False)  # noqa: S603, S607


def listed_by_slurm() -> set[str] | None:
    """The jobs of this user that have not ended, each of an array as `array_task`; None if Slurm does not answer."""
    command = ["squeue", "--noheader", "--array", "--format=%i", f"--user={os.getuid()}"]
    answer = subprocess.run(command, check=False, capture_output=True, text=True)  # noqa: S603
    return set(answer.stdout.split()) if answer.returncode == 0 else None


def slurm_queue(launcher: Any, folder: Path, jobs: Overrides) -> SlurmQueue:
    """Slurm's queue, as the launcher's parameters ask.

    Raises:
        InputError: there is no Slurm here, or a parameter cannot be used.
    """
    check_keys("slurm", launcher.params)
    if shutil.which("sbatch") is None or shutil.which("srun") is None:
        remedy = "start the sweep on a machine of a cluster, or choose joblib or submitit_local"
        raise InputError("hydra/launcher", "slurm", "needs sbatch and srun, which are not here", remedy)
    params = {name: value for name, value in launcher.params.items() if name != "submitit_folder"}
    cores, packed = params["cpus_per_task"], packing(params, launcher.config, jobs)
    executor = submitit.AutoExecutor(folder, cluster="slurm", slurm_max_num_timeout=params.pop("max_num_timeout"))
    shared = BaseQueueConf.__dataclass_fields__
    try:
        executor.update_parameters(**{name if name in shared else f"slurm_{name}": v for name, v in params.items()})
    except (ValueError, NameError, AssertionError, TypeError) as error:
        raise InputError("hydra/launcher", "slurm", one(str(error)), "see conf/hydra/launcher/slurm.yaml") from error
    return SlurmQueue(executor, folder, packed, None if "OMP_NUM_THREADS" in os.environ else cores)


def packing(params: dict[str, Any], config: DictConfig, jobs: Overrides) -> int:
    """How many jobs of a sweep run in one of Slurm; takes `runs_per_gpu` out of the launcher's parameters, and asks for
    the cores and the memory of all.

    Args:
        params: what the launcher was given; changed.
        config: what all jobs have in common.
        jobs: those of the sweep.

    Raises:
        InputError: they cannot share a GPU.
    """
    each: int = params.pop("runs_per_gpu")
    key = "hydra.launcher.runs_per_gpu"
    if each < 1:
        raise InputError(key, each, "must be at least 1", "give e.g. 4, or leave it out")
    if each == 1:
        return 1
    trainer = config.get("trainer") or {}
    several = most_devices(trainer.get("devices") or 1, jobs.values()) * (trainer.get("nodes") or 1)
    if several * params["nodes"] * params["tasks_per_node"] > 1:
        problem = "puts runs of one process each beside one another, and here a run, or a job, has several"
        raise InputError(key, each, problem, "leave it out, or nodes, tasks_per_node and trainer.devices at 1")
    packed = min(each * max(1, params["gpus_per_node"] or 0), len(jobs))
    for name in ("cpus_per_task", "mem_gb"):
        if params[name] is not None:
            params[name] *= packed
    return packed


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


def one(text: str) -> str:
    """A text of several lines as one."""
    return " ".join(text.split())
