"""Where metrics go: metrics.csv always, Weights & Biases where asked. Nothing else in `ipr` knows W&B."""

from __future__ import annotations

import csv
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import lightning as L
from lightning.pytorch.loggers import Logger

from ipr.errors import InputError
from ipr.runs.config import LoggerConfig
from ipr.runs.record import Record


def read_metrics(path: Path) -> list[dict[str, str]]:
    """The rows of a metrics.csv: epoch, step, seconds, and the epoch's means by name."""
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


class MetricsFile(L.Callback):
    """Appends one row an epoch to metrics.csv; a resumed run continues it.

    Args:
        path: the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: list[dict[str, str]] = []

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Keeps the rows of the epochs that the checkpoint holds."""
        if self.path.exists():
            self.rows = [row for row in read_metrics(self.path) if int(row["epoch"]) < trainer.current_epoch]
        self.started = time.perf_counter()

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Writes the epoch's means."""
        now = time.perf_counter()
        row = {"epoch": trainer.current_epoch, "step": trainer.global_step, "seconds": round(now - self.started, 3)}
        self.started = now
        row |= {name: float(value) for name, value in sorted(trainer.callback_metrics.items())}
        self.rows.append({name: str(value) for name, value in row.items()})
        with self.path.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(dict.fromkeys(name for r in self.rows for name in r)), restval="")
            writer.writeheader()
            writer.writerows(self.rows)


@contextmanager
def dashboard(
    config: LoggerConfig, folder: Path, *, key: str, job_type: str, tags: list[str], facts: Mapping[str, Any]
) -> Iterator[Logger | bool]:
    """A Lightning logger for the duration of a run, or False where none is asked for.

    Offline by default: no account, no prompt, no network. Console output and code are not captured, and `facts` must
    hold no secret. The run is finished in any case, so that the jobs of a sweep do not share one.

    Args:
        config: which logger.
        folder: the run folder.
        key: the run's name; also its group, under which attacks on it gather.
        job_type: `train`, `attack`, ...
        tags: what a user filters by.
        facts: the configuration to show.
    """
    if config.name == "csv" or config.mode == "disabled":
        yield False
        return
    if config.name != "wandb":
        raise InputError("logger.name", config.name, "is not a logger", "choose wandb or csv")
    if config.mode not in ("offline", "online"):
        raise InputError("logger.mode", config.mode, "is unknown", "choose offline, online or disabled")
    import wandb
    from lightning.pytorch.loggers import WandbLogger

    run = wandb.init(
        name=key,
        group=key,
        job_type=job_type,
        tags=tags,
        project=config.project,
        entity=config.entity,
        dir=folder.resolve(),  # its service keeps the working directory of the first run of a process
        mode="offline" if config.mode == "offline" else "online",
        config=dict(facts),
        settings=wandb.Settings(console="off", save_code=False, disable_git=True, silent=True, x_disable_meta=True),
    )
    exit_code = 1
    try:
        yield WandbLogger(experiment=run)
        exit_code = 0
    finally:
        run.finish(exit_code=exit_code)


def show_record(logger: Logger | bool, record: Record) -> None:
    """Puts the record into the summary of a dashboard."""
    if not isinstance(logger, bool):
        logger.experiment.summary.update(asdict(record))  # type: ignore[attr-defined]
