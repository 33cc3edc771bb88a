"""What the first of several processes tells the others when there is something to train, and what they do then."""

from __future__ import annotations

import io
import socket
from collections.abc import Sequence
from dataclasses import dataclass

import lightning as L
import torch

from ipr.config.schema import DatasetConfig, PathsConfig
from ipr.data.images import ImageData
from ipr.data.share import check_divisible
from ipr.errors import InputError
from ipr.store.failure import DivergedError
from ipr.training.distributed.ranks import Team, assembled, threads
from ipr.training.loop import Training, run
from ipr.workflows.build import open_images
from ipr.workflows.request import accelerator_of, processes_of


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


def lead(
    training: Training, data: ImageData, images: DatasetConfig, paths: PathsConfig, watching: Sequence[L.Callback]
) -> None:
    """Trains together with as many other processes as are asked for.

    Args:
        training: what, and how.
        data: on what.
        images: how the others open it.
        paths: where they do.
        watching: what watches, here alone.

    Raises:
        InputError: the processes cannot share what a step takes, were not started, or do not find the images.
        RuntimeError: one of them ended.
        DivergedError: the loss is no number any more.
    """
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
                        raise InputError(*map(str, problem))
                with threads(share):
                    run(training, data, watching, team)
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
        data = open_images(order.images, order.paths, told=False)
        if (data.fingerprint, data.train_labels.numel()) != order.expected:
            what = f"{who} finds other images than the first"
            problem = InputError("dataset", order.images.name, what, "give every machine the same images")
    except InputError as error:
        problem = InputError(error.field, error.value, f"{who}: {error.problem}", error.remedy)
    if any(team.ask(problem and [problem.field, str(problem.value), problem.problem, problem.remedy])):
        return  # the leader says so
    # a scheme is no file of another person: the process that this one follows has just sealed it
    training = torch.load(io.BytesIO(order.training), map_location="cpu", weights_only=False)
    with threads(order.threads):
        run(training, data, [], team)
