"""Training with Lightning: a checkpoint and a row of metrics.csv an epoch; an interrupted training goes on.

Of several processes (`trainer.devices`, `trainer.nodes`) only the first comes to `fit`; it calls the others
(`runs/ranks.py`), and all of them `run` the same training, each on its share of every batch.
"""

from __future__ import annotations

import io
import logging
import socket
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import lightning as L
import torch
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.strategies import DDPStrategy

from ipr.data.images import ImageData
from ipr.data.module import ImageDataModule
from ipr.data.share import check_divisible
from ipr.errors import InputError
from ipr.runs.build import open_images
from ipr.runs.checkpoints import CheckpointFiles, before, latest
from ipr.runs.config import DatasetConfig, PathsConfig, TrainConfig, TrainerConfig
from ipr.runs.failure import DivergedError
from ipr.runs.guards import StopWhenDiverged, check_weights
from ipr.runs.logging import MetricsFile, TellEpoch
from ipr.runs.place import Place
from ipr.runs.ranks import Assembled, Team, assembled, threads
from ipr.runs.request import MEMORY_FORMATS, accelerator_of, processes_of
from ipr.schemes.base import Scheme
from ipr.schemes.together import joint_statistics


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
        checkpoint: where the state after the last whole epoch is kept.
        metrics: where the rows of the epochs are kept.
        tell: is told of every epoch, those before a resumption included.
        callbacks: what else watches; what they keep in their `state_dict` is in the checkpoint.
        images: how other processes open the images; by default `config.dataset`.

    Raises:
        InputError: the processes that are asked for cannot share what a step takes, or were not started.
        DivergedError: the loss, or a weight, is no number any more.
    """
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
    watching = [*callbacks, MetricsFile(metrics, tell)]
    if processes_of(config.trainer) == 1:
        run(training, data, watching)
    else:
        _lead(training, data, images or config.dataset, config.paths, watching)
    check_weights(scheme.network, epochs)
    before(checkpoint).unlink(missing_ok=True)


@dataclass(frozen=True)
class Training:
    """What every process must know that takes part in a training; see `fit`.

    Attributes:
        resumed: the checkpoint to go on from; None to begin.
    """

    scheme: Scheme
    trainer: TrainerConfig
    batch_size: int
    crop_padding: int
    flip: bool
    epochs: int
    clip_norm: float | None
    seed: int
    checkpoint: Path
    resumed: Path | None


@dataclass(frozen=True)
class Order:
    """What the leader tells those who follow.

    Attributes:
        training: a `Training` as bytes, to be read without a GPU.
        images: which images to open.
        paths: where they are.
        expected: fingerprint and number of the training images.
        threads: how many each process computes with; None for as many as it has.
    """

    training: bytes
    images: DatasetConfig
    paths: PathsConfig
    expected: tuple[str, int]
    threads: int | None


def _lead(
    training: Training, data: ImageData, images: DatasetConfig, paths: PathsConfig, watching: Sequence[L.Callback]
) -> None:
    processes, where = processes_of(training.trainer), accelerator_of(training.trainer)
    check_divisible("optimizer.batch_size", training.batch_size, processes)
    training.scheme.check_shares(processes)
    content = io.BytesIO()
    torch.save(training, content)
    with assembled(training.trainer) as team:
        share = max(1, torch.get_num_threads() // processes) if team.started and where == "cpu" else None
        expected = (data.fingerprint, data.train_labels.numel())
        team.call(where)
        with team.group(where):
            try:
                team.tell(Order(content.getvalue(), images, paths, expected, share))
                for problem in team.ask():
                    if problem is not None:
                        raise problem
                with threads(share):
                    run(training, data, watching, team.place)
            except BaseException as error:
                team.break_off()
                if isinstance(error, RuntimeError):
                    team.blame(error)
                raise


def follow(team: Team) -> None:
    """Takes part in every training that the leader calls to, until there is none any more.

    Raises:
        DesertedError: the leader has ended without a word.
    """
    while (where := team.called()) is not None:
        try:
            with team.group(where):
                _take_part(team)
        except DivergedError:
            pass  # as the leader found too
        except RuntimeError:
            if not team.broken_off():
                raise


def _take_part(team: Team) -> None:
    order, problem = team.tell(), None
    assert isinstance(order, Order)
    who = f"process {team.place.rank} ({socket.gethostname()})"
    try:
        data = open_images(order.images, order.paths)
        if (data.fingerprint, data.train_labels.numel()) != order.expected:
            what = f"{who} finds other images than the first"
            problem = InputError("dataset", order.images.name, what, "give every machine the same images")
    except InputError as error:
        problem = InputError(error.field, error.value, f"{who}: {error.problem}", error.remedy)
    if any(team.ask(problem)):
        return  # the leader says so
    training = torch.load(io.BytesIO(order.training), map_location="cpu", weights_only=False)
    with threads(order.threads):
        run(training, data, [], team.place)


def run(training: Training, data: ImageData, callbacks: Sequence[L.Callback], place: Place | None = None) -> None:
    """Trains, alone or as one of several processes.

    Args:
        training: what, and how.
        data: on what.
        callbacks: what watches.
        place: where this process stands; None for alone.

    Raises:
        DivergedError: the loss is no number any more.
    """
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    scheme, asked = training.scheme, training.trainer
    saving = ModelCheckpoint(
        training.checkpoint.parent, training.checkpoint.stem, save_on_train_epoch_end=True, enable_version_counter=False
    )
    with _quiet():
        trainer = L.Trainer(
            accelerator=asked.accelerator if place is None else accelerator_of(asked),
            devices=asked.devices,
            num_nodes=asked.nodes,
            strategy="auto" if place is None else Together(scheme),
            precision=asked.precision,  # type: ignore[arg-type]
            max_epochs=training.epochs,
            logger=False,
            # without an environment it would take itself for one of several in a Slurm job
            plugins=[LightningEnvironment() if place is None else Assembled(place, asked.devices), CheckpointFiles()],
            # several processes compute the means of an epoch together, when the first of these asks for them
            callbacks=[*callbacks, StopWhenDiverged(), saving],
            use_distributed_sampler=False,
            enable_progress_bar=asked.progress_bar,
            enable_model_summary=False,
            deterministic=asked.deterministic,
            gradient_clip_val=training.clip_norm,
            reload_dataloaders_every_n_epochs=1,
            num_sanity_val_steps=0,
        )
    memory_format = MEMORY_FORMATS[asked.memory_format]
    scheme.network.to(memory_format=memory_format)
    if asked.compile:
        scheme.compile_network()
    batches = ImageDataModule(
        data,
        batch_size=training.batch_size,
        crop_padding=training.crop_padding,
        flip=training.flip,
        seed=training.seed,
        memory_format=memory_format,
    )
    statistics = nullcontext() if place is None else joint_statistics(scheme.network)
    try:
        with _quiet(), statistics:
            trainer.fit(scheme, datamodule=batches, ckpt_path=training.resumed, weights_only=True)
    except SystemExit as stopped:  # how Lightning ends when it is interrupted
        raise KeyboardInterrupt from stopped


class Together(DDPStrategy):
    """Lightning's DDP, among processes that are there.

    Args:
        scheme: what is trained.
    """

    def __init__(self, scheme: Scheme) -> None:
        # buffers are the same everywhere: constants, or statistics over the batches of all
        super().__init__(find_unused_parameters=not scheme.moves_all, broadcast_buffers=False)

    def _configure_launcher(self) -> None:
        self._launcher = None  # Lightning's would change how many threads this process computes with


@contextmanager
def _quiet() -> Iterator[None]:
    """Inside, Lightning does not say what is known here."""
    with warnings.catch_warnings():
        # Lightning 2.6 on torch 2.14: https://github.com/Lightning-AI/pytorch-lightning, utilities/_pytree.py
        warnings.filterwarnings("ignore", r"`isinstance\(treespec, LeafSpec\)` is deprecated")
        # torch 2.14 has another name for it, which torch 2.11 does not know
        warnings.filterwarnings("ignore", r"`broadcast_buffers` is deprecated")
        warnings.filterwarnings("ignore", r"Checkpoint directory .* exists and is not empty")  # resumed
        warnings.filterwarnings("ignore", r"The `srun` command is available")  # on a machine that has Slurm
        yield
