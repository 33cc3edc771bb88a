"""Loggers of Lightning's own beside the run's folder: MLflow, TensorBoard. Whatever becomes of them, the run goes on.

They are told what W&B is told (`tracking/wandb_run.py`), as far as it is numbers. docs/curves.md says what lies where.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ipr.config.schema import LoggerConfig
from ipr.errors import InputError
from ipr.store.lease import Lease, announce

if TYPE_CHECKING:
    from lightning.pytorch.loggers import Logger

PACKAGES = {"csv": (), "wandb": (), "mlflow": ("mlflow",), "tensorboard": ("tensorboard", "tensorboardX")}
"""Loggers -> packages of which one must be installed; without wandb, which is the default, a run is not logged."""

WORDS = {"dryrun": "offline", "run": "online", "": "offline"}  # W&B's other words, as WANDB_MODE may say them
MODES = ("offline", "online", "disabled")


def check_logger(config: LoggerConfig) -> None:
    """Refuses a logger, or a mode, that there is not.

    Raises:
        InputError: naming what to choose.
    """
    if config.name not in PACKAGES:
        raise InputError("logger.name", config.name, "is not a logger", f"choose among: {', '.join(PACKAGES)}")
    if WORDS.get(config.mode, config.mode) not in MODES:
        raise InputError("logger.mode", config.mode, "is unknown", "choose offline, online or disabled")


def check_installed(config: LoggerConfig) -> None:
    """Refuses a logger whose package is not installed; W&B, which nobody may have asked for, is said and passed over.

    Raises:
        InputError: naming what to install.
    """
    packages = PACKAGES[config.name]
    if packages and config.mode != "disabled" and not any(map(find_spec, packages)):
        problem = f"the package {packages[0]} is not installed"
        raise InputError("logger", config.name, problem, f"pip install {packages[0]}, or choose logger=csv")


def open_logger(config: LoggerConfig, folder: Path, key: str, tags: Mapping[str, str]) -> Logger:
    """Lightning's logger of a run.

    Args:
        config: which one.
        folder: of the run; TensorBoard's files go into it.
        key: the run's name.
        tags: what MLflow shows of it besides.
    """
    from lightning.pytorch.loggers import MLFlowLogger, TensorBoardLogger

    if config.name == "tensorboard":
        return TensorBoardLogger(folder, name="", version="tensorboard", default_hp_metric=False)
    # a server that is away must not hold a training up; MLflow itself tries for minutes
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    # stays in this store unless asked for otherwise: a server that the environment names may be anybody's
    place = folder.parents[1].resolve()
    store = os.environ.get("MLFLOW_TRACKING_URI") if config.mode == "online" else None
    store = store or f"sqlite:///{place / 'mlflow.db'}"
    logger = MLFlowLogger(experiment_name=config.project, run_name=key, tracking_uri=store, tags=dict(tags))
    with Lease(place / ".mlflow.lease", announce("is opening MLflow's store")):
        _ = logger.experiment  # makes store and experiment where there is none: one job of a sweep after the other
    return logger


def flat(facts: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration as one level: `optimizer.lr`."""
    return {
        (f"{name}.{inner}" if inner else name): value
        for name, group in facts.items()
        for inner, value in (flat(group).items() if isinstance(group, Mapping) else [("", group)])
    }


def numbers(values: Mapping[str, Any], start: str = "") -> dict[str, float]:
    """Those of the values that are numbers, truth values as 0 and 1."""
    return {f"{start}{name}": float(value) for name, value in values.items() if isinstance(value, int | float)}


@contextmanager
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what matters of it is said in one line
        yield


class LoggerTracker:
    """What a run tells a logger of Lightning's: see `tracking.Tracker`, whose methods it has.

    Args:
        open_it: opens the logger; what it raises is said, and nothing is logged.
        facts: the configuration to show; no secret.
        say: is told of a failure, once.
    """

    def __init__(self, open_it: Callable[[], Logger], facts: Mapping[str, Any], say: Callable[[str], None]) -> None:
        self.logger: Logger | None = None
        self.say, self._points = say, 0
        try:
            with _quiet():
                self.logger = open_it()
        except Exception as error:  # noqa: BLE001 (whatever a logger raises must not stop a training)
            self._lost(error)
        self._attempt(lambda logger: logger.log_hyperparams(flat(facts)))

    def epoch(self, values: Mapping[str, float], training: str = "") -> None:
        """Adds an epoch to the curves, whose step is the epoch."""
        start = f"{training}/" if training else ""
        named = numbers({name: value for name, value in values.items() if name != "epoch"}, start)
        self._attempt(lambda logger: logger.log_metrics(named, int(values["epoch"])))

    def point(self, values: Mapping[str, Any]) -> None:
        """Adds a judged point of an attack, under `point/`, whose step is its number."""
        number, self._points = self._points, self._points + 1
        self._attempt(lambda logger: logger.log_metrics(numbers(values, "point/"), number))

    def summary(self, values: Mapping[str, Any]) -> None:
        """Tells what came of the run, under `summary/`."""
        self._attempt(lambda logger: logger.log_metrics(numbers(values, "summary/"), 0))

    def table(self, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Nothing: the points have been told one by one."""

    def finish(self, exit_code: int) -> None:
        """Ends the run."""
        self._attempt(lambda logger: logger.save())
        self._attempt(lambda logger: logger.finalize("success" if exit_code == 0 else "failed"))

    def _attempt(self, act: Callable[[Logger], object]) -> None:
        if self.logger is None:
            return
        try:
            with _quiet():
                act(self.logger)
        except Exception as error:  # noqa: BLE001 (likewise)
            self.logger = None
            self._lost(error)

    def _lost(self, error: Exception) -> None:
        told = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        self.say(f"logging failed ({told}) and stops here; the run itself goes on and is recorded in its folder")
