"""`trainer.fast_dev_run`: a request tried from end to end with a few batches, of which nothing is kept."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from tempfile import TemporaryDirectory

from ipr.config.schema import LoggerConfig, TrainerConfig
from ipr.data.opening import open_images
from ipr.errors import InputError
from ipr.judging.fidelity import BATCH
from ipr.workflows.request import Asked, scheme_of, with_per_step


@contextmanager
def rehearsal(config: Asked) -> Iterator[Asked]:
    """The same request, but short: one epoch of `trainer.fast_dev_run` batches, judged on at most `BATCH` images.

    Its runs lie in a folder that is gone afterwards, its claim included, and no logger is told of them.

    Args:
        config: a request with `trainer.fast_dev_run`.

    Raises:
        InputError: its scheme begins with what few batches do not give.
    """
    if scheme_of(config).tunes:
        problem = f"scheme={config.scheme.name} marks what a trained network confuses: few batches train none"
        remedy = "try it with scheme=trigger_set, which trains alike"
        raise InputError("trainer.fast_dev_run", config.trainer.fast_dev_run, problem, remedy)
    data = open_images(config.dataset, config.paths)
    config = with_per_step(config, data)  # as the whole training has them
    with TemporaryDirectory(prefix="ipr-") as place:
        yield replace(
            config,
            dataset=replace(config.dataset, limit_test=min(BATCH, data.test_labels.numel())),
            trainer=replace(
                config.trainer,
                fast_dev_run=False,
                limit_train_batches=int(config.trainer.fast_dev_run),
                max_epochs=1,
            ),
            logger=LoggerConfig("csv"),
            paths=replace(config.paths, runs=place),
        )


def check_no_rehearsal(trainer: TrainerConfig) -> None:
    """Refuses `trainer.fast_dev_run` where what was trained is needed afterwards.

    Raises:
        InputError: saying so.
    """
    if trainer.fast_dev_run:
        problem = "is for ipr train and ipr attack: nothing of it is kept"
        raise InputError("trainer.fast_dev_run", trainer.fast_dev_run, problem, "leave it out, or train fewer epochs")
