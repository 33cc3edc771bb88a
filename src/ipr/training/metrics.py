"""metrics.csv: one row an epoch, and whoever else wants to be told of it."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Mapping
from pathlib import Path

import lightning as L
from torch import nn

from ipr.files import write_atomically
from ipr.machine.device import now

TellEpoch = Callable[[Mapping[str, float]], None]
"""Is told of every epoch: `epoch`, counted from 0, and its means under their names in metrics.csv."""


Validate = Callable[[nn.Module], Mapping[str, float]]
"""Measures a network between two epochs, and leaves it as it was."""


def read_metrics(path: Path) -> list[dict[str, str]]:
    """The rows of a metrics.csv: epoch, step, seconds, and the epoch's means by name."""
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def curve(row: Mapping[str, str]) -> dict[str, float]:
    """A row of metrics.csv as it is told: the epoch and its means, without the clock."""
    means = {name: float(value) for name, value in row.items() if name not in ("epoch", "step", "seconds") and value}
    return {"epoch": int(row["epoch"])} | means


class MetricsFile(L.Callback):
    """Appends one row an epoch to metrics.csv; a resumed run continues it.

    Args:
        path: the file.
        tell: is told of every epoch, those before a resumption included; None for nobody.
        validate: measures the network at the end of every epoch; its time is not the epoch's. None for nothing.
    """

    def __init__(self, path: Path, tell: TellEpoch | None = None, validate: Validate | None = None) -> None:
        self.path, self.tell, self.validate, self.told = path, tell, validate, 0
        self.rows = read_metrics(path) if path.exists() else []

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Keeps the rows of the epochs that the checkpoint holds."""
        self.rows = [row for row in self.rows if int(row["epoch"]) < trainer.current_epoch]
        self._tell_rows()
        self.started = now(pl_module.device)

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Notes the learning rate that the epoch begins with."""
        self.rate = float(trainer.optimizers[0].param_groups[0]["lr"])

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Writes the epoch's means, and what the network comes to after it."""
        means = {name: float(value) for name, value in sorted(trainer.callback_metrics.items())}
        seconds = round(now(pl_module.device) - self.started, 3)
        row = {"epoch": trainer.current_epoch, "step": trainer.global_step, "seconds": seconds}
        row |= means | {"learning_rate": self.rate}
        if self.validate is not None and all(map(math.isfinite, means.values())):  # else the training ends here
            network = pl_module.network
            assert isinstance(network, nn.Module)
            row |= self.validate(network)
        self.started = now(pl_module.device)
        self.rows.append({name: str(value) for name, value in row.items()})
        written = io.StringIO(newline="")
        writer = csv.DictWriter(written, list(dict.fromkeys(name for r in self.rows for name in r)), restval="")
        writer.writeheader()
        writer.writerows(self.rows)
        write_atomically(self.path, written.getvalue())
        self._tell_rows()

    def on_fit_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Tells of a training that was complete already, which never started."""
        self._tell_rows()

    def _tell_rows(self) -> None:
        if self.tell is not None:
            for row in self.rows[self.told :]:
                self.tell(curve(row))
        self.told = len(self.rows)
