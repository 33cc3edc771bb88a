"""What `hydra/launcher=joblib|submitit_local|slurm` may be given, and how many jobs run at a time on one machine."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins
from hydra.types import HydraContext
from hydra_plugins.hydra_joblib_launcher.config import JobLibLauncherConf
from hydra_plugins.hydra_submitit_launcher.config import LocalQueueConf, SlurmQueueConf
from omegaconf import DictConfig

from ipr.cli.gpus import visible_gpus
from ipr.errors import InputError


@dataclass
class JoblibConfig(JobLibLauncherConf):  # type: ignore[misc]
    """`hydra/launcher=joblib`."""

    _target_: str = "hydra_plugins.ipr_launchers.Processes"
    n_jobs: int | None = None


@dataclass
class SubmititLocalConfig(LocalQueueConf):  # type: ignore[misc]
    """`hydra/launcher=submitit_local`."""

    _target_: str = "hydra_plugins.ipr_launchers.LocalQueue"
    array_parallelism: int | None = None
    signal_delay_s: int = 120
    max_num_timeout: int = 5


@dataclass
class SlurmConfig(SlurmQueueConf):  # type: ignore[misc]
    """`hydra/launcher=slurm`."""

    _target_: str = "hydra_plugins.ipr_launchers.SlurmQueue"


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


def elsewhere(context: HydraContext) -> HydraContext:
    """A launcher's context, fit for other processes."""
    return HydraContext(config_loader=SweepLoader(context.config_loader), callbacks=context.callbacks)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Places:
    """How many jobs run at a time on this machine, and on what.

    Attributes:
        count: processes.
        threads: that each computes with.
        gpus: that they share; empty for none.
    """

    count: int
    threads: int
    gpus: tuple[str, ...]


def places(asked: int | None, gpus: tuple[str, ...], cores: int, key: str) -> Places:
    """How many: as many as asked for, else one for each GPU, else one for each core.

    Args:
        asked: None for the default.
        gpus: of this machine.
        cores: of this machine.
        key: the configuration key that asks.

    Raises:
        InputError: fewer than one is asked for.
    """
    if asked is not None and asked < 1:
        raise InputError(key, asked, "must be at least 1", "leave it out for one for each GPU, or else each core")
    count = asked or len(gpus) or cores
    return Places(count, max(1, cores // count), gpus)


def places_here(asked: int | None, config: DictConfig, key: str) -> Places:
    """`places` for this machine and a configuration, which may want no GPU."""
    trainer = config.get("trainer") or {}
    gpus = () if trainer.get("accelerator") == "cpu" else tuple(visible_gpus(os.environ))
    return places(asked, gpus, len(os.sched_getaffinity(0)), key)


def check_keys(name: str, given: Mapping[str, Any]) -> None:
    """Refuses what Hydra lets in by `++`.

    Raises:
        InputError: a key that the launcher does not know.
    """
    known = [field.name for field in fields(SCHEMAS[name]) if not field.name.startswith("_")]
    for key in given:
        if key not in known:
            raise InputError(f"hydra.launcher.{key}", given[key], "there is no such key", f"known: {', '.join(known)}")
