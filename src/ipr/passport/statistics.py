"""Running statistics of batch norms behind a passport layer: one network, several scales, statistics for each.

With other scales a batch norm in the tail sees other numbers. What a network keeps are the statistics of one answer,
the one that is given away; those of any other are taken from images with the weights as they are, never brought by
whoever presents the scales: they would be free parameters of his.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ipr.errors import InputError

Statistics = Mapping[_BatchNorm, tuple[Tensor, Tensor]]
"""Batch norm -> mean and variance, each (C,)."""


def batch_norms(modules: Iterable[nn.Module]) -> tuple[_BatchNorm, ...]:
    """Those among modules that keep running statistics."""
    return tuple(module for module in modules if isinstance(module, _BatchNorm) and module.running_mean is not None)


@contextmanager
def untracked(norms: Iterable[_BatchNorm]) -> Iterator[None]:
    """Inside, batch norms in training normalise by the batch and leave their running statistics as they are."""
    tracked = [norm for norm in norms if norm.track_running_stats]
    try:
        for norm in tracked:
            norm.track_running_stats = False
        yield
    finally:
        for norm in tracked:
            norm.track_running_stats = True


@contextmanager
def using(statistics: Statistics) -> Iterator[None]:
    """Inside, batch norms have these running statistics; afterwards their own."""
    own = {norm: _running(norm) for norm in statistics}
    try:
        for norm, (mean, var) in statistics.items():
            norm.running_mean, norm.running_var = mean, var
        yield
    finally:
        for norm, (mean, var) in own.items():
            norm.running_mean, norm.running_var = mean, var


def of_one_batch(norms: Sequence[_BatchNorm], run: Callable[[], object]) -> Statistics:
    """What batch norms see in one pass over one batch, each with the norms before it normalising by that batch.

    It depends on the batch as a set: neither on the order of its images nor on how they are cut into smaller batches.

    Args:
        norms: which; others, and the network's mode, stay as they are.
        run: one pass of a network in evaluation mode.

    Raises:
        InputError: the batch has no variance, being one image.
    """
    modes = {norm: (norm.training, norm.momentum) for norm in norms}
    fresh = {norm: (torch.zeros_like(mean), torch.ones_like(var)) for norm in norms for mean, var in [_running(norm)]}
    counted = {norm: norm.num_batches_tracked for norm in norms}
    try:
        for norm in norms:
            norm.training, norm.momentum, norm.num_batches_tracked = True, 1.0, None  # the batch's own, not an average
        with using(fresh), torch.no_grad():
            run()
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):  # torch, of one value
            raise
        what = "have no variance, which a batch norm behind a passport needs"
        raise InputError("images", "one image", what, "give more images") from error
    finally:
        for norm, (training, momentum) in modes.items():
            norm.training, norm.momentum, norm.num_batches_tracked = training, momentum, counted[norm]
    return fresh


def _running(norm: _BatchNorm) -> tuple[Tensor, Tensor]:
    assert norm.running_mean is not None
    assert norm.running_var is not None
    return norm.running_mean, norm.running_var
