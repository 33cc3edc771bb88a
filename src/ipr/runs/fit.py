"""Training with Lightning: a checkpoint and a row of metrics.csv an epoch; an interrupted training goes on."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import lightning as L
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.pytorch.callbacks import ModelCheckpoint

from ipr.data.images import ImageData
from ipr.data.module import ImageDataModule
from ipr.runs.checkpoints import CheckpointFiles, before, latest
from ipr.runs.config import TrainConfig
from ipr.runs.guards import StopWhenDiverged, check_weights
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

    Raises:
        DivergedError: the loss, or a weight, is no number any more.
    """
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    saving = ModelCheckpoint(
        checkpoint.parent, checkpoint.stem, save_on_train_epoch_end=True, enable_version_counter=False
    )
    recorder = MetricsFile(metrics, tell)
    with _quiet():
        trainer = L.Trainer(
            accelerator=config.trainer.accelerator,
            devices=1,
            precision=config.trainer.precision,  # type: ignore[arg-type]
            max_epochs=epochs,
            logger=False,
            # without an environment it would take itself for one of several in a Slurm job
            plugins=[LightningEnvironment(), CheckpointFiles()],
            callbacks=[*callbacks, recorder, StopWhenDiverged(), saving],
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
        with _quiet():
            trainer.fit(scheme, datamodule=batches, ckpt_path=resumed, weights_only=True)
        recorder.tell_rows()
        check_weights(scheme.network, epochs)
        before(checkpoint).unlink(missing_ok=True)
    except SystemExit as stopped:  # how Lightning ends when it is interrupted
        raise KeyboardInterrupt from stopped


@contextmanager
def _quiet() -> Iterator[None]:
    """Inside, Lightning does not say what is known here."""
    with warnings.catch_warnings():
        # Lightning 2.6 on torch 2.14: https://github.com/Lightning-AI/pytorch-lightning, utilities/_pytree.py
        warnings.filterwarnings("ignore", r"`isinstance\(treespec, LeafSpec\)` is deprecated")
        warnings.filterwarnings("ignore", r"Checkpoint directory .* exists and is not empty")  # resumed
        warnings.filterwarnings("ignore", r"The `srun` command is available")  # on a machine that has Slurm
        yield
