"""metrics.csv: one row an epoch, and whoever else wants to be told of it."""

from __future__ import annotations

import csv
import io
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import lightning as L

from ipr.files import write_atomically

TellEpoch = Callable[[Mapping[str, float]], None]
"""Is told of every epoch: `epoch`, counted from 0, and its means under their names in metrics.csv."""


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
    """

    def __init__(self, path: Path, tell: TellEpoch | None = None) -> None:
        self.path, self.tell, self.told = path, tell, 0
        self.rows = read_metrics(path) if path.exists() else []

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Keeps the rows of the epochs that the checkpoint holds."""
        self.rows = [row for row in self.rows if int(row["epoch"]) < trainer.current_epoch]
        self._tell_rows()
        self.started = time.perf_counter()

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Writes the epoch's means."""
        now = time.perf_counter()
        row = {"epoch": trainer.current_epoch, "step": trainer.global_step, "seconds": round(now - self.started, 3)}
        self.started = now
        row |= {name: float(value) for name, value in sorted(trainer.callback_metrics.items())}
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
