"""A fit with Lightning, in one process or in one of several, each on its share of every batch."""

from __future__ import annotations

import logging
import signal
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import lightning as L
import torch
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.pytorch.callbacks import LambdaCallback, ModelCheckpoint
from lightning.pytorch.profilers import PassThroughProfiler
from lightning.pytorch.utilities.exceptions import SIGTERMException
from torch._C._distributed_c10d import Store

from ipr.config.schema import DatasetConfig, TrainerConfig
from ipr.data.images import ImageData
from ipr.data.module import ImageDataModule
from ipr.errors import InputError
from ipr.machine.device import device_for
from ipr.randomness import derive_seed
from ipr.schemes.base import Scheme
from ipr.schemes.gather import joint_statistics
from ipr.training.checkpoints import CheckpointFiles, WriteHeld
from ipr.training.distributed.group import GroupStrategy
from ipr.training.guards import KeepSigterm, StopWhenDiverged
from ipr.training.numerics import MEMORY_FORMATS, computing, layout


@dataclass(frozen=True)
class Training:
    """What every process of a fit must know; see `fit`.

    Attributes:
        dataset: gives the augmentation.
        resumed: the checkpoint to go on from; None to begin.
    """

    scheme: Scheme
    trainer: TrainerConfig
    dataset: DatasetConfig
    batch_size: int
    epochs: int
    clip_norm: float | None
    seed: int
    checkpoint: Path
    resumed: Path | None


@contextmanager
def prepared(
    training: Training,
    data: ImageData,
    callbacks: Sequence[L.Callback],
    store: Store | None,
    batches: L.LightningDataModule | None = None,
) -> Iterator[Callable[[], None]]:
    """Everything about a fit but the fit: Lightning's trainer, how torch computes, and what errors mean.

    Args:
        training: what is trained, and how.
        data: on what.
        callbacks: what watches.
        store: of the processes that fit together, whose group this one has joined; None for one alone.
        batches: what gives the batches; None for the images of `data`.

    Yields:
        What fits.

    Raises:
        InputError: a norm cannot take the statistics of a batch.
        DivergedError: the loss is no number any more.
        KeyboardInterrupt: it was interrupted.
    """
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    scheme, asked = training.scheme, training.trainer
    with _quiet():
        trainer = _trainer(training, callbacks, store)
    memory_format = MEMORY_FORMATS[layout(asked.memory_format, scheme.network, trainer.strategy.root_device)]
    scheme.network.to(memory_format=memory_format)
    scheme.capture = asked.capture
    if asked.compile:
        scheme.compile_network()
    batches = batches or ImageDataModule(
        data if scheme.left_out is None else data.without(scheme.left_out),
        batch_size=training.batch_size,
        crop_padding=training.dataset.crop_padding,
        flip=training.dataset.flip,
        seed=training.seed,
        memory_format=memory_format,
    )
    statistics = nullcontext() if store is None else joint_statistics(scheme.network)
    with _errors(training), _quiet(), computing(asked), statistics:
        yield partial(trainer.fit, scheme, datamodule=batches, ckpt_path=training.resumed, weights_only=True)


def _trainer(training: Training, callbacks: Sequence[L.Callback], store: Store | None) -> L.Trainer:
    asked, files = training.trainer, CheckpointFiles(training.trainer.checkpoint_seconds)
    saving = ModelCheckpoint(
        training.checkpoint.parent, training.checkpoint.stem, save_on_train_epoch_end=True, enable_version_counter=False
    )

    def seed_epoch(trainer: L.Trainer, _: L.LightningModule) -> None:
        torch.manual_seed(derive_seed(training.seed, f"network in epoch {trainer.current_epoch}"))

    return L.Trainer(
        accelerator=asked.accelerator if store is None else device_for(asked.accelerator).type,
        devices=asked.devices,
        num_nodes=asked.nodes,
        strategy="auto" if store is None else GroupStrategy(store, training.scheme.moves_all),
        precision=asked.precision,  # type: ignore[arg-type]
        max_epochs=training.epochs,
        limit_train_batches=_limit(asked.limit_train_batches),
        logger=False,
        # without an environment it would take itself for one of several in a Slurm job
        plugins=[LightningEnvironment(), files],
        # several processes compute the means of an epoch together, when the first of these asks for them
        callbacks=[
            # what a network draws by itself (dropout) follows from seed and epoch alone, as the images' order does
            LambdaCallback(on_train_epoch_start=seed_epoch),
            *callbacks,
            StopWhenDiverged(),
            saving,
            WriteHeld(files),
            KeepSigterm(signal.getsignal(signal.SIGTERM)),
        ],
        use_distributed_sampler=False,
        enable_progress_bar=asked.progress_bar,
        enable_model_summary=False,
        profiler=Unprofiled(),
        deterministic=asked.deterministic,
        benchmark=asked.autotune,
        gradient_clip_val=training.clip_norm,
        reload_dataloaders_every_n_epochs=1,
        num_sanity_val_steps=0,
    )


@contextmanager
def _errors(training: Training) -> Iterator[None]:
    """Inside, what torch and Lightning raise becomes what a user understands."""
    try:
        yield
    except ValueError as error:
        if "more than 1 value per channel" in str(error):  # torch, of a batch or a group without a variance
            problem = f"a norm of this network cannot take the statistics of so little ({error})"
            remedy = "give larger batches or images, or a wider network"
            raise InputError("optimizer.batch_size", training.batch_size, problem, remedy) from error
        raise
    except SystemExit as stopped:
        if isinstance(stopped, SIGTERMException) or isinstance(stopped.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from stopped  # how Lightning ends when it is interrupted
        raise  # how a job ends that goes back to its queue


def _limit(batches: float | None) -> int | float:
    """As Lightning takes it: a fraction is a float, and 1.0 is all of them."""
    return 1.0 if batches is None else int(batches) if batches >= 1 else batches


class Unprofiled(PassThroughProfiler):
    """Times nothing, and makes nothing to time with: Lightning asks some fifty times a step."""

    _nothing = nullcontext()

    def profile(self, action_name: str) -> nullcontext[None]:  # type: ignore[override]
        """Does nothing."""
        return self._nothing


@contextmanager
def _quiet() -> Iterator[None]:
    """Inside, Lightning does not say what is known here."""
    with warnings.catch_warnings():
        # Lightning 2.6 on torch 2.14: https://github.com/Lightning-AI/pytorch-lightning, utilities/_pytree.py
        warnings.filterwarnings("ignore", r"`isinstance\(treespec, LeafSpec\)` is deprecated")
        # torch 2.14 has another name for it, which torch 2.11 does not know
        warnings.filterwarnings("ignore", r"`broadcast_buffers` is deprecated")
        warnings.filterwarnings("ignore", r"Checkpoint directory .* exists and is not empty")  # resumed
        warnings.filterwarnings("ignore", r"`training_step` returned `None`")  # a captured step, which did all
        warnings.filterwarnings("ignore", r"The dirpath has changed from")  # a store that was moved
        warnings.filterwarnings("ignore", r"GPU available but not used")  # asked for: trainer.accelerator=cpu
        warnings.filterwarnings("ignore", r"The `srun` command is available")  # on a machine that has Slurm
        yield
