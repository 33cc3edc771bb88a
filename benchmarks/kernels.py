"""What a device is sent in a step of training: operations, copies and waits, counted on the emulated device.

    python benchmarks/kernels.py

The whole step in Lightning's loop: input, forward pass, gradients, clipping, SGD, bookkeeping. It does not depend on
batch or width. A GPU launches several kernels for some operations (docs/results/gpu has its own count).
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import lightning as L

import networks
from gpu.emulated import NAME, Counts, counting, emulated, registered
from gpu.setting import KINDS, Setting, noise, train_on

BATCH, WARM, STEPS = 2, 3, 5


class Counting(L.Callback):
    """Counts what some steps in the middle of an epoch send."""

    def __init__(self) -> None:
        self.stack = ExitStack()
        self.counts = Counts()

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *rest: Any) -> None:
        """Begins and ends."""
        if trainer.global_step == WARM:
            self.counts = self.stack.enter_context(counting())
        if trainer.global_step == WARM + STEPS:
            self.stack.close()


def counted(model: str, kind: str) -> Counts:
    """What `STEPS` steps send to the emulated device, inside of which this is called."""
    of, norm = KINDS[kind]
    watching = Counting()
    data = noise(BATCH * (WARM + STEPS + 2))
    train_on(Setting(NAME, True), networks.scheme(of, model, norm, 0.0625), BATCH, watching, data)
    return watching.counts


def main(models: tuple[str, ...]) -> None:
    """Prints a table."""
    registered()
    print("| network | scheme | operations a step | copies | waits |\n|---|---|---|---|---|")
    for model in models:
        for kind in KINDS:
            with emulated():
                counts = counted(model, kind)
            cells = (counts.kernels / STEPS, counts.copies / STEPS, counts.waits / STEPS)
            print(f"| {model} | {kind} | " + " | ".join(f"{cell:g}" for cell in cells) + " |", flush=True)


if __name__ == "__main__":
    main(tuple(networks.LAYERS))
