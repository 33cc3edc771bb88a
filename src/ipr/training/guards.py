"""What ends a training: another process that has taken it over, a loss that is no number, a signal."""

from __future__ import annotations

import math
import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

import lightning as L
import torch
from torch import nn

from ipr.store.failure import DivergedError
from ipr.store.lease import Lease

Handler = Callable[[int, FrameType | None], Any] | int | None


class KeepLease(L.Callback):
    """Ends a training whose work another process has taken over."""

    def __init__(self, lease: Lease) -> None:
        self.lease = lease

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Raises what `Lease.check` does when another process has the run."""
        self.lease.check()


class StopWhenDiverged(L.Callback):
    """Ends a training at the end of an epoch in which the loss stopped being a number, before that is checkpointed."""

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Looks at the means of the epoch.

        Raises:
            DivergedError: a mean of the epoch is not finite.
        """
        for name, value in trainer.callback_metrics.items():
            if not math.isfinite(value):
                raise DivergedError(trainer.current_epoch, name, str(float(value)))


class KeepSigterm(L.Callback):
    """Leaves SIGTERM to whoever handled it before the training began, where somebody did.

    Lightning would end the training, and a job that ends by itself while it is preempted is not queued again: submitit
    passes SIGTERM over, and waits for its own signal.

    Of several processes each ends by itself where nobody handled it: Lightning's handler would have them broadcast in
    the midst of a step, and wait for one another for ever. Rank 0 is interrupted, as from a keyboard, which ends the
    others.

    Args:
        before: the handler before the training; the default one is replaced by Lightning's.
    """

    def __init__(self, before: Handler) -> None:
        self.before = before

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Puts it back, as Lightning has put its own in place by now."""
        handler = self.before
        if handler in (signal.SIG_DFL, None) and trainer.world_size > 1:
            handler = signal.default_int_handler if trainer.is_global_zero else signal.SIG_DFL
        elif handler in (signal.SIG_DFL, None):
            return
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, handler)


def check_weights(network: nn.Module, epochs: int) -> None:
    """Sees that what was trained is a number everywhere: the very last step is in no mean.

    Args:
        network: the network; or a scheme, where what was trained lies beside its network.
        epochs: how many were trained.

    Raises:
        DivergedError: a weight is not finite.
    """
    for name, tensor in (*network.named_parameters(), *network.named_buffers()):
        if not torch.isfinite(tensor).all():
            raise DivergedError(epochs - 1, name.removeprefix("network."), "nan" if tensor.isnan().any() else "inf")
