"""Training with Lightning: a row of metrics.csv an epoch, a checkpoint a minute; an interrupted training goes on.

Of several processes (`trainer.devices`, `trainer.nodes`) only that of rank 0 comes to `fit`; the others take part in it
(`training/distributed/`), each on its share of every batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import lightning as L
from torch import nn

from ipr.config.schema import DatasetConfig, TrainConfig
from ipr.data.images import ImageData
from ipr.data.module import batches_per_epoch
from ipr.data.opening import open_images
from ipr.errors import InputError
from ipr.machine.device import training_device
from ipr.models.determinism import without_deterministic_gradient
from ipr.schemes.base import Scheme
from ipr.terminal.console import Console
from ipr.training.checkpoints import before, epochs_in, latest
from ipr.training.distributed.launcher import process_group
from ipr.training.guards import check_weights
from ipr.training.loop import Training, prepared
from ipr.training.metrics import MetricsFile, TellEpoch, Validate


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
        InputError: the images or the network do not fit the trainer; see also `process_group`.
        DivergedError: the loss, or a weight, is no number any more.
    """
    _check(scheme.network, data, config)
    newest = _resumed(checkpoint, metrics.parent, epochs)
    training = Training(
        scheme, config.trainer, config.dataset, config.optimizer.batch_size, epochs, clip_norm, seed, checkpoint, newest
    )
    reopen = partial(open_images, images or config.dataset, config.paths, told=False)
    callbacks = [*callbacks, MetricsFile(metrics, tell, validate)]
    with (
        process_group(training, data, reopen, Path(config.paths.runs)) as store,
        prepared(training, data, callbacks, store) as lightning_fit,
    ):
        lightning_fit()
    check_weights(scheme, epochs)
    before(checkpoint).unlink(missing_ok=True)


def _check(network: nn.Module, data: ImageData, config: TrainConfig) -> None:
    batches_per_epoch(data.trained_on.numel(), config.optimizer.batch_size, config.trainer.limit_train_batches)
    if not config.trainer.deterministic or training_device(config.trainer.accelerator).type != "cuda":
        return
    if (module := without_deterministic_gradient(network)) is not None:
        problem = f"torch has no deterministic gradient of {module} on a GPU"
        remedy = "choose false, trainer.accelerator=cpu or another model"
        raise InputError("trainer.deterministic", True, problem, remedy)


def _resumed(checkpoint: Path, run: Path, epochs: int) -> Path | None:
    """The checkpoint that a fit goes on from, which is printed; None to begin."""
    if (newest := latest(checkpoint)) is None:
        return None
    what = f"resumed: {run} goes on from its checkpoint; {epochs_in(newest)} of {epochs} epochs are done"
    Console(stderr=True).say(what)
    return newest.absolute()
