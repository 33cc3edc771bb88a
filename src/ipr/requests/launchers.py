"""What `hydra/launcher=joblib|submitit_local|slurm` may be given, and how many jobs run at a time on one machine."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from functools import partial
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins
from hydra.types import HydraContext
from hydra_plugins.hydra_joblib_launcher.config import JobLibLauncherConf
from hydra_plugins.hydra_submitit_launcher.config import LocalQueueConf, SlurmQueueConf
from omegaconf import DictConfig

from ipr.errors import InputError
from ipr.machine.gpus import visible_gpus
from ipr.machine.slots import Slots, cores_here, shared_memory, slots


@dataclass
class JoblibConfig(JobLibLauncherConf):  # type: ignore[misc]
    """`hydra/launcher=joblib`."""

    _target_: str = "hydra_plugins.ipr_launchers.Processes"
    n_jobs: int | None = None
    runs_per_gpu: int | None = None


@dataclass
class SubmititLocalConfig(LocalQueueConf):  # type: ignore[misc]
    """`hydra/launcher=submitit_local`."""

    _target_: str = "hydra_plugins.ipr_launchers.LocalQueue"
    array_parallelism: int | None = None
    runs_per_gpu: int | None = None
    signal_delay_s: int = 120
    max_num_timeout: int = 5


@dataclass
class SlurmConfig(SlurmQueueConf):  # type: ignore[misc]
    """`hydra/launcher=slurm`."""

    _target_: str = "hydra_plugins.ipr_launchers.SlurmQueue"
    runs_per_gpu: int = 1


SCHEMAS = {"joblib": JoblibConfig, "submitit_local": SubmititLocalConfig, "slurm": SlurmConfig}


def enter_launchers() -> None:
    """Puts the schemas of the launchers into Hydra's store.

    What their packages entered under the same names as ours is taken out: Hydra would take it for the schema of ours.
    """
    Plugins.instance()  # reads the packages, if that is still to be done
    store = ConfigStore.instance()
    for name, settings in SCHEMAS.items():
        store.store(group="schema/launcher", name=name, node=settings)
        store.repo["hydra"]["launcher"].pop(f"{name}.yaml", None)


@contextmanager
def one_by_one() -> Iterator[None]:
    """Inside, Hydra's own launcher is ours, which has every job of a sweep say what it is."""
    Plugins.instance()  # reads Hydra's own, if that is still to be done
    store = ConfigStore.instance()
    before = store.repo["hydra"]["launcher"]["basic.yaml"]
    store.store(group="hydra/launcher", name="basic", node={"_target_": "hydra_plugins.ipr_launchers.OneByOne"})
    try:
        yield
    finally:
        store.repo["hydra"]["launcher"]["basic.yaml"] = before


@dataclass(frozen=True)
class SweepLoader:
    """Composes the configuration of a job in a process of its own, where Hydra has read the packages once more."""

    loader: ConfigLoader

    def load_sweep_config(self, master_config: DictConfig, sweep_overrides: list[str]) -> DictConfig:
        """See Hydra's."""
        enter_launchers()
        return self.loader.load_sweep_config(master_config, sweep_overrides)


def context_for_jobs(context: HydraContext) -> HydraContext:
    """A launcher's context, fit for other processes."""
    return HydraContext(config_loader=SweepLoader(context.config_loader), callbacks=context.callbacks)  # type: ignore[arg-type]


def slots_here(
    asked: int | None, config: DictConfig, key: str, *, each: int | None = None, jobs: Iterable[Sequence[str]] = ()
) -> Slots:
    """`slots` for this machine and the jobs of a sweep, which may want no GPU, or several each.

    Args:
        asked: processes; None for the default.
        config: what all jobs have in common.
        key: the configuration key that asks.
        each: runs on each GPU; None for the default.
        jobs: the overrides of each.
    """
    trainer = config.get("trainer") or {}
    gpus = () if trainer.get("accelerator") == "cpu" else tuple(visible_gpus(os.environ))
    devices = most_devices(trainer.get("devices") or 1, jobs)
    memory = partial(shared_memory, os.environ)
    return slots(asked, gpus, cores_here(), key, each=each, devices=devices, memory=memory)


def most_devices(common: int, jobs: Iterable[Sequence[str]]) -> int:
    """`trainer.devices` of the job that takes most: of what all have in common, and the overrides of each."""
    given = [override.partition("=")[2] for job in jobs for override in job if override.startswith("trainer.devices=")]
    return max([common, *(int(devices) for devices in given if devices.isdecimal())])


def check_keys(name: str, given: Mapping[str, Any]) -> None:
    """Refuses what Hydra lets in by `++`.

    Raises:
        InputError: a key that the launcher does not know.
    """
    known = [field.name for field in fields(SCHEMAS[name]) if not field.name.startswith("_")]
    for key in given:
        if key not in known:
            raise InputError(f"hydra.launcher.{key}", given[key], "there is no such key", f"known: {', '.join(known)}")
