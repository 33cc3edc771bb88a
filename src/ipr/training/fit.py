"""Training with Lightning: a row of metrics.csv an epoch, a checkpoint a minute; an interrupted training goes on.

Of several processes (`trainer.devices`, `trainer.nodes`) only the first comes to `fit`; it calls the others
(`training/distributed/ranks.py`), and all of them `run` the same training, each on its share of every batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import lightning as L
from torch import nn

from ipr.config.schema import DatasetConfig, TrainConfig, TrainerConfig
from ipr.data.images import ImageData
from ipr.errors import InputError
from ipr.machine.device import training_device
from ipr.models.determinism import without_deterministic_gradient
from ipr.schemes.base import Scheme
from ipr.terminal.console import Console
from ipr.training.checkpoints import before, epochs_in, latest
from ipr.training.distributed.orders import lead
from ipr.training.guards import check_weights
from ipr.training.loop import Training, run
from ipr.training.metrics import MetricsFile, TellEpoch, Validate
from ipr.workflows.request import check_limit, processes_of


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
    validate: Validate | None = None,
    callbacks: Sequence[L.Callback] = (),
    images: DatasetConfig | None = None,
) -> None:
    """Trains a scheme's network in place; goes on from the checkpoint where there is one.

    Args:
        scheme: what is trained.
        data: on what.
        config: gives the trainer, the batch size and the augmentation.
        epochs: how long.
        clip_norm: the largest gradient norm; None for no clipping.
        seed: of the batches' order and the augmentation.
        checkpoint: where the state after a whole epoch is kept; see `CheckpointFiles`.
        metrics: where the rows of the epochs are kept.
        tell: is told of every epoch, those before a resumption included.
        validate: measures the network at the end of every epoch; see `training.validation`.
        callbacks: what else watches; what they keep in their `state_dict` is in the checkpoint.
        images: how other processes open the images; by default `config.dataset`.

    Raises:
        InputError: the processes that are asked for cannot share what a step takes, or were not started; or the network
            cannot be trained deterministically on a GPU.
        DivergedError: the loss, or a weight, is no number any more.
    """
    _check_deterministic(scheme.network, config.trainer)
    training = Training(
        scheme=scheme,
        trainer=config.trainer,
        batch_size=config.optimizer.batch_size,
        crop_padding=config.dataset.crop_padding,
        flip=config.dataset.flip,
        epochs=epochs,
        clip_norm=clip_norm,
        seed=seed,
        checkpoint=checkpoint,
        resumed=None if (newest := latest(checkpoint)) is None else newest.absolute(),
    )
    if training.resumed is not None:
        done = f"{epochs_in(training.resumed)} of {epochs} epochs are done"
        what = f"resumed: {metrics.parent} goes on from its checkpoint; {done}"
        Console(stderr=True).print(what, highlight=False, soft_wrap=True)
    check_limit(config.trainer, data.trained_on.numel() // max(1, config.optimizer.batch_size))
    watching = [*callbacks, MetricsFile(metrics, tell, validate)]
    if processes_of(config.trainer) == 1:
        run(training, data, watching)
    else:
        lead(training, data, images or config.dataset, config.paths, watching)
    check_weights(scheme, epochs)
    before(checkpoint).unlink(missing_ok=True)


def _check_deterministic(network: nn.Module, trainer: TrainerConfig) -> None:
    if not trainer.deterministic or training_device(trainer.accelerator).type != "cuda":
        return
    if (module := without_deterministic_gradient(network)) is not None:
        problem = f"torch has no deterministic gradient of {module} on a GPU"
        raise InputError(
            "trainer.deterministic", True, problem, "choose false, trainer.accelerator=cpu or another model"
        )
