"""Training with Lightning: a checkpoint and a row of metrics.csv an epoch; an interrupted training goes on."""

from __future__ import annotations

import logging
import math
import signal
import warnings
from collections.abc import Sequence
from pathlib import Path

import lightning as L
import torch
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.utilities.exceptions import SIGTERMException
from torch import nn

from ipr.data.images import ImageData
from ipr.data.module import ImageDataModule
from ipr.lease import Lease
from ipr.runs.checkpoints import CheckpointFiles, before, latest
from ipr.runs.config import TrainConfig
from ipr.runs.failure import DivergedError
from ipr.runs.logging import MetricsFile, TellEpoch
from ipr.runs.request import MEMORY_FORMATS
from ipr.runs.signals import KeepSigterm
from ipr.schemes.base import Scheme


def fit(
    scheme: Scheme,
    data: ImageData,
    config: TrainConfig,
    *,
    epochs: int,
    clip_norm: float | None,
    seed: int,
    checkpoint: Path,
    metrics: Path,
    tell: TellEpoch | None = None,
    callbacks: Sequence[L.Callback] = (),
) -> None:
    """Trains a scheme's network in place; goes on from the checkpoint where there is one.

    Args:
        scheme: what is trained.
        data: on what.
        config: gives the trainer, the batch size and the augmentation.
        epochs: how long.
        clip_norm: the largest gradient norm; None for no clipping.
        seed: of the batches' order and the augmentation.
        checkpoint: where the state after the last whole epoch is kept.
        metrics: where the rows of the epochs are kept.
        tell: is told of every epoch, those before a resumption included.
        callbacks: what else watches; what they keep in their `state_dict` is in the checkpoint.

    Raises:
        DivergedError: the loss, or a weight, is no number any more.
    """
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    saving = ModelCheckpoint(
        checkpoint.parent, checkpoint.stem, save_on_train_epoch_end=True, enable_version_counter=False
    )
    recorder = MetricsFile(metrics, tell)
    trainer = L.Trainer(
        accelerator=config.trainer.accelerator,
        devices=1,
        precision=config.trainer.precision,  # type: ignore[arg-type]
        max_epochs=epochs,
        logger=False,
        plugins=[LightningEnvironment(), CheckpointFiles()],  # in a Slurm job it would take itself for one of several
        callbacks=[*callbacks, recorder, StopWhenDiverged(), saving, KeepSigterm(signal.getsignal(signal.SIGTERM))],
        enable_progress_bar=config.trainer.progress_bar,
        enable_model_summary=False,
        deterministic=config.trainer.deterministic,
        gradient_clip_val=clip_norm,
        reload_dataloaders_every_n_epochs=1,
        num_sanity_val_steps=0,
    )
    memory_format = MEMORY_FORMATS[config.trainer.memory_format]
    scheme.network.to(memory_format=memory_format)
    if config.trainer.compile:
        scheme.compile_network()
    batches = ImageDataModule(
        data,
        batch_size=config.optimizer.batch_size,
        crop_padding=config.dataset.crop_padding,
        flip=config.dataset.flip,
        seed=seed,
        memory_format=memory_format,
    )
    resumed = latest(checkpoint)
    try:
        with warnings.catch_warnings():
            # Lightning 2.6 on torch 2.14: https://github.com/Lightning-AI/pytorch-lightning, utilities/_pytree.py
            warnings.filterwarnings("ignore", r"Checkpoint directory .* exists and is not empty")  # resumed
            warnings.filterwarnings("ignore", r"The `srun` command is available")  # a plain process is meant
            warnings.filterwarnings("ignore", r"`isinstance\(treespec, LeafSpec\)` is deprecated")
            trainer.fit(scheme, datamodule=batches, ckpt_path=resumed, weights_only=True)
        recorder.tell_rows()
        check_weights(scheme.network, epochs)
        before(checkpoint).unlink(missing_ok=True)
    except SystemExit as stopped:
        if isinstance(stopped, SIGTERMException) or isinstance(stopped.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from stopped  # how Lightning ends when it is interrupted
        raise  # how a job ends that goes back to its queue


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
    """Sees that a trained network is one: its very last step is in no mean.

    Raises:
        DivergedError: a weight is not finite.
    """
    for name, tensor in network.state_dict().items():
        if not torch.isfinite(tensor).all():
            raise DivergedError(epochs - 1, name, "nan" if tensor.isnan().any() else "inf")
