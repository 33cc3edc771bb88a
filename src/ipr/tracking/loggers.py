"""Who is told of a run beside its folder: W&B (`tracking/wandb_run.py`), MLflow or TensorBoard.

Loggers of Lightning's own are told what W&B is told, as far as it is numbers. docs/curves.md says what lies where.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from importlib.util import find_spec
from operator import methodcaller
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ipr.config.schema import LoggerConfig
from ipr.errors import InputError
from ipr.store.folder import RunFolder
from ipr.store.lease import Lease, announce
from ipr.store.tags import joined
from ipr.tracking.wandb_run import LONGEST_TAG, LOST, Tracker, bits_share, open_run, say, told

if TYPE_CHECKING:
    from lightning.pytorch.loggers import Logger

PACKAGES = {"csv": (), "wandb": (), "mlflow": ("mlflow",), "tensorboard": ("tensorboard", "tensorboardX")}
"""Loggers -> packages of which one must be installed; without wandb, which is the default, a run is not logged."""

WORDS = {"dryrun": "offline", "run": "online", "": "offline"}  # W&B's other words, as WANDB_MODE may say them
MODES = ("offline", "online", "disabled")


def check_logger(config: LoggerConfig) -> None:
    """Refuses a logger, or a mode, that there is not, and artifacts where nobody takes them.

    Raises:
        InputError: naming what to choose.
    """
    if config.name not in PACKAGES:
        raise InputError("logger.name", config.name, "is not a logger", f"choose among: {', '.join(PACKAGES)}")
    if WORDS.get(config.mode, config.mode) not in MODES:
        raise InputError("logger.mode", config.mode, "is unknown", "choose offline, online or disabled")
    if config.artifacts and config.name != "wandb":
        raise InputError(
            "logger.artifacts", True, f"is for W&B, not for {config.name}", "choose logger=wandb, or false"
        )


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


class LoggerTracker(Tracker):
    """What a run tells a logger of Lightning's. What that warns of is not shown: what matters is said in one line.

    Args:
        open_it: opens the logger; what it raises is said, and nothing is logged.
        facts: the configuration to show; no secret.
        say: is told of a failure, once.
    """

    def __init__(self, open_it: Callable[[], Logger], facts: Mapping[str, Any], say: Callable[[str], None]) -> None:
        super().__init__()
        self.say = say
        try:
            with warnings.catch_warnings(action="ignore"):
                self.run = open_it()
        except Exception as error:  # noqa: BLE001 (whatever a logger raises must not stop a training)
            self._lost(error)
        self._attempt(methodcaller("log_hyperparams", flat(facts)))

    def epoch(self, values: Mapping[str, float], training: str = "") -> None:
        """Adds an epoch to the curves, whose step is the epoch."""
        start = f"{training}/" if training else ""
        named = numbers({name: value for name, value in values.items() if name != "epoch"}, start)
        self._attempt(methodcaller("log_metrics", named, int(values["epoch"])))

    def point(self, values: Mapping[str, Any]) -> None:
        """Adds a judged point of an attack, under `point/`, whose step is its number."""
        number, self._points = self._points, self._points + 1
        self._attempt(methodcaller("log_metrics", numbers({**values, **bits_share(values)}, "point/"), number))

    def summary(self, values: Mapping[str, Any]) -> None:
        """Tells what came of the run, under `summary/`."""
        self._attempt(methodcaller("log_metrics", numbers({**values, **bits_share(values)}, "summary/"), 0))

    def table(self, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Nothing: the points have been told one by one."""

    def model(self, name: str, weights: Path, card: str, facts: Mapping[str, Any]) -> None:
        """Nothing: `check_logger` refuses to ask for it."""

    def finish(self, exit_code: int) -> None:
        """Ends the run."""
        self._attempt(methodcaller("save"))
        self._attempt(methodcaller("finalize", "success" if exit_code == 0 else "failed"))

    def _attempt(self, act: Callable[[Any], object]) -> None:
        with warnings.catch_warnings(action="ignore"):
            super()._attempt(act)

    def _lost(self, error: Exception) -> None:
        self.say(LOST.format(told(error)))


@contextmanager
def tracking(
    config: LoggerConfig,
    folder: RunFolder,
    *,
    name: str,
    group: str,
    job_type: str,
    tags: Sequence[str],
    facts: Mapping[str, Any],
) -> Iterator[Tracker]:
    """Tells W&B, or a logger of Lightning's, of a run for its duration, where that is asked for.

    Offline by default: no account, no prompt, no network. Online, a server that refuses, is silent or knows no login
    makes this run an offline one, in `ANSWER_SECONDS`. Console output and code are not captured, and `facts` must hold
    no secret. The W&B run is finished in any case, so that the jobs of a sweep do not share one.

    Args:
        config: which logger.
        folder: the run's.
        name: what W&B calls it; its key stands in the configuration, as `key`.
        group: the key of the victim, under which a training and the attacks on it gather.
        job_type: `train`, `attack`, ...
        tags: what a user filters by.
        facts: the configuration to show.

    Raises:
        InputError: see `check_logger`.
    """
    check_logger(config)
    mode = WORDS.get(config.mode, config.mode)
    tracker = Tracker()
    if config.name == "wandb" and mode != "disabled":
        asked: dict[str, Any] = {"name": name, "group": group, "job_type": job_type}
        asked |= {"config": {"key": folder.key, **facts}}
        asked |= {"project": config.project, "entity": config.entity}
        asked |= {"tags": list(dict.fromkeys(tag[:LONGEST_TAG] for tag in tags))}
        tracker = open_run(mode, folder.path, asked)
    elif config.name not in ("csv", "wandb") and mode != "disabled":
        about = {"group": group, "job_type": job_type, "tags": joined(tags)}
        opening = partial(open_logger, config, folder.path, folder.key, about)
        tracker = LoggerTracker(opening, facts, partial(say, who=config.name))
    exit_code = 1
    try:
        yield tracker
        exit_code = 0
    finally:
        tracker.finish(exit_code)
