"""What `hydra/launcher=local|joblib|submitit_local|slurm` starts.

hydra-core 1.3 looks for launchers in this namespace; 1.4 goes by the entry points `hydra.plugins`, one for each class
(pyproject.toml).
"""

from __future__ import annotations

from collections.abc import Sequence

from hydra._internal.core_plugins.basic_launcher import BasicLauncher
from hydra.core.utils import JobReturn
from hydra_plugins.hydra_joblib_launcher.joblib_launcher import JoblibLauncher
from hydra_plugins.hydra_submitit_launcher.submitit_launcher import LocalLauncher, SlurmLauncher

# What these import of ours is imported when a sweep begins: Hydra reads this file for every command.


class OneByOne(BasicLauncher):
    """One job after the other in this process; each says what it is when it begins."""

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Runs the jobs."""
        from ipr.cli.jobs import Job

        if isinstance(self.task_function, Job) and self.config is not None:
            self.task_function.numbered(job_overrides, initial_job_idx, self.config)
        return super().launch(job_overrides, initial_job_idx)


class Processes(JoblibLauncher):  # type: ignore[misc]
    """Several processes of this machine; goes on where one of them dies."""

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Runs the jobs; every one has an outcome then. See `ipr.cli.launchers.processes`."""
        from ipr.cli.launchers.processes import run_in_processes

        return run_in_processes(self, super().launch, job_overrides, initial_job_idx)


class LocalQueue(LocalLauncher):  # type: ignore[misc]
    """A process of its own for each job, on this machine, stopped and started again as Slurm would."""

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Runs the jobs; every one has an outcome then. See `ipr.cli.launchers.submitted`."""
        from ipr.cli.launchers.local_queue import local_queue
        from ipr.cli.launchers.submitted import run_in_queue

        return run_in_queue(self, local_queue, job_overrides, initial_job_idx)


class SlurmQueue(SlurmLauncher):  # type: ignore[misc]
    """A job array of a Slurm cluster."""

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Runs the jobs; every one has an outcome then. See `ipr.cli.launchers.submitted`."""
        from ipr.cli.launchers.slurm import slurm_queue
        from ipr.cli.launchers.submitted import run_in_queue

        return run_in_queue(self, slurm_queue, job_overrides, initial_job_idx)
