"""A job array of a Slurm cluster, with submitit; several jobs of a sweep may share one of Slurm."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import redirect_stderr
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import submitit
from hydra_plugins.hydra_submitit_launcher.config import BaseQueueConf
from omegaconf import DictConfig
from submitit.core.utils import FailedJobError, FailedSubmissionError

from ipr.cli.launchers.packed import Pack, logs, over
from ipr.cli.launchers.submitted import Calls, Jobs, Overrides
from ipr.errors import InputError
from ipr.requests.launchers import check_keys, most_devices

ASK_SECONDS = (2.0, 30.0)
"""Between two questions to Slurm: from so many, at the beginning, to so many."""

LARGEST_ARRAY = 1000
"""Jobs of one array: Slurm's default MaxArraySize allows one more."""


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
        sent = Jobs()
        for part in _batches(calls, LARGEST_ARRAY * self.packed):
            try:
                with redirect_stderr(io.StringIO()):  # submitit prints what it raises
                    jobs = self._map(function, part)
            except (FailedJobError, FailedSubmissionError) as error:
                self.cancel(sent)
                remedy = "see `sinfo` for partitions and limits"
                said = " ".join(str(error).split())
                raise InputError("hydra/launcher", "slurm", f"refused ({said})", remedy) from error
            sent |= dict(zip(part, jobs, strict=True))
        return sent

    def _map(self, function: Callable[..., Any], calls: Calls) -> list[Any]:
        """One array of jobs, which has one of Slurm's for each `packed` of the sweep."""
        if self.packed == 1:
            return self.executor.map_array(function, *zip(*calls.values(), strict=True))
        packs = _batches(calls, self.packed)
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


def _batches(calls: Calls, size: int) -> list[Calls]:
    numbers = list(calls)
    return [{n: calls[n] for n in numbers[start : start + size]} for start in range(0, len(numbers), size)]


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
        said = " ".join(str(error).split())
        raise InputError("hydra/launcher", "slurm", said, "see conf/hydra/launcher/slurm.yaml") from error
    return SlurmQueue(executor, folder, packed, None if "OMP_NUM_THREADS" in os.environ else cores)


def packing(params: dict[str, Any], config: DictConfig, jobs: Overrides) -> int:
    """How many jobs of a sweep run in one of Slurm, where `config` is what all have in common; takes `runs_per_gpu` out
    of the launcher's parameters, and asks for the cores and the memory of all.

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
