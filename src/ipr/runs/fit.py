"""Training with Lightning: a checkpoint and a row of metrics.csv an epoch; an interrupted training goes on."""

from __future__ import annotations

import logging
import pickle
import warnings
from collections.abc import Sequence
from pathlib import Path

import lightning as L
import torch
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.pytorch.callbacks import ModelCheckpoint

from ipr.data.images import ImageData
from ipr.data.module import ImageDataModule
from ipr.errors import InputError
from ipr.runs.config import TrainConfig
from ipr.runs.logging import MetricsFile, TellEpoch
from ipr.runs.request import MEMORY_FORMATS
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
        plugins=[LightningEnvironment()],  # inside a Slurm job Lightning would take itself for one task of several
        callbacks=[*callbacks, saving, recorder],
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
    resumed = checkpoint if checkpoint.exists() else None
    if resumed is not None:
        check_checkpoint(resumed)
    try:
        with warnings.catch_warnings():
            # Lightning 2.6 on torch 2.14: https://github.com/Lightning-AI/pytorch-lightning, utilities/_pytree.py
            warnings.filterwarnings("ignore", r"Checkpoint directory .* exists and is not empty")  # resumed
            warnings.filterwarnings("ignore", r"`isinstance\(treespec, LeafSpec\)` is deprecated")
            trainer.fit(scheme, datamodule=batches, ckpt_path=resumed, weights_only=True)
        recorder.tell_rows()
    except SystemExit as stopped:  # how Lightning ends when it is interrupted
        raise KeyboardInterrupt from stopped


def check_checkpoint(path: Path) -> None:
    """Reads a checkpoint without executing anything in it.

    Raises:
        InputError: it is damaged.
    """
    try:
        torch.load(path, map_location="cpu", weights_only=True)["state_dict"]
    except (RuntimeError, pickle.UnpicklingError, KeyError, TypeError, EOFError, OSError) as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(
            "checkpoint", path, f"cannot be resumed from ({first})", "delete it to train this run anew"
        ) from error
