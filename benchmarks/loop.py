"""A step in Lightning's loop, input and bookkeeping included, against the same work in a bare loop of PyTorch.

    python benchmarks/loop.py

Both train ResNet-18 in scheme V2; a step lasts from the end of one batch to the end of the next. That none waits for
the device is a test: tests/training/test_options.py.
"""

from __future__ import annotations

import logging
import statistics
import time
import warnings

import lightning as L
import torch
from lightning.pytorch.utilities.types import STEP_OUTPUT
from torch import Tensor

import measure
from ipr.data.images import ImageData, augment, normalise
from ipr.data.module import Batches, ImageDataModule
from ipr.schemes.passport_v2 import PassportV2
from measure import Row
from networks import scheme

BATCH = 64


class StepSeconds(L.Callback):
    """CPU seconds between the starts of two batches."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self.started = 0.0

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Starts anew."""
        self.started = time.process_time()

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: STEP_OUTPUT, batch: object, batch_idx: int
    ) -> None:
        """One step more."""
        now = time.process_time()
        self.seconds.append(now - self.started)
        self.started = now


def images(count: int) -> ImageData:
    """Noise."""
    source = torch.Generator().manual_seed(7)
    pixels = torch.randint(256, (count, 32, 32, 3), dtype=torch.uint8, generator=source)
    labels = torch.randint(10, (count,), generator=source)
    return ImageData(pixels, labels, pixels, labels, tuple(map(str, range(10))), (0.5,) * 3, (0.25,) * 3, "noise")


def lightning_loop(data: ImageData, width: float) -> list[float]:
    """Seconds of each step of an epoch, as `ipr train` runs it."""
    clock = StepSeconds()
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    trainer = L.Trainer(
        accelerator="cpu",
        devices=1,
        max_epochs=1,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[clock],
        gradient_clip_val=1.0,
        log_every_n_steps=1,
    )
    batches = ImageDataModule(data, batch_size=BATCH, crop_padding=4, flip=True, seed=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Lightning's remarks on workers and torch's deprecations
        trainer.fit(scheme(PassportV2, "resnet18", "gn", width), datamodule=batches)
    return clock.seconds


def bare_loop(data: ImageData, width: float) -> list[float]:
    """The same in a dozen lines."""
    module = scheme(PassportV2, "resnet18", "gn", width)
    recipe = module.recipe
    optimizer = torch.optim.SGD(module.trained(), recipe.lr, momentum=recipe.momentum, weight_decay=recipe.weight_decay)
    source = torch.Generator().manual_seed(0)
    order = torch.randperm(data.train_labels.numel(), generator=source)
    seconds, started = [], time.process_time()
    for pixels, labels in Batches(data.train_pixels, data.train_labels, order, BATCH):
        x: Tensor = normalise(augment(pixels, 4, True, source), data.mean, data.std)
        optimizer.zero_grad()
        torch.stack(list(module.terms(x, labels).values())).sum().backward()
        torch.nn.utils.clip_grad_norm_(module.trained(), 1.0)
        optimizer.step()
        now = time.process_time()
        seconds.append(now - started)
        started = now
    return seconds


def table_rows(rounds: int, width: float) -> list[Row]:
    """One row; a round is a median over the steps of a short epoch."""
    data = images(6 * BATCH)
    loops = {"lightning": lightning_loop, "bare": bare_loop, "control": bare_loop}
    steps: dict[str, list[float]] = {name: [] for name in loops}
    for _ in range(rounds):
        for name, loop in loops.items():
            steps[name].append(statistics.median(loop(data, width)[1:]))
    measured, control = (measure.ratios(steps, name, "bare") for name in ("lightning", "control"))
    return [Row("Lightning's loop / bare PyTorch loop, V2 on resnet18", 1.03, measured, control)]


if __name__ == "__main__":
    measure.show(table_rows(*measure.rounds_and_width(__doc__, 5)))
