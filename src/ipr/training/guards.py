"""What ends a training that must not go on: one that another process has taken over, or whose loss is no number."""

from __future__ import annotations

import math

import lightning as L
import torch
from torch import nn

from ipr.store.failure import DivergedError
from ipr.store.lease import Lease


class KeepLease(L.Callback):
    """Ends a training whose work another process has taken over."""

    def __init__(self, lease: Lease) -> None:
        self.lease = lease

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """See `Lease.check`, which it is up to."""
        self.lease.check()


class StopWhenDiverged(L.Callback):
    """Ends a training at the end of an epoch in which the loss stopped being a number, before that is checkpointed."""

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """See the class.

        Raises:
            DivergedError: a mean of the epoch is not finite.
        """
        for name, value in trainer.callback_metrics.items():
            if not math.isfinite(value):
                raise DivergedError(trainer.current_epoch, name, str(float(value)))


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
