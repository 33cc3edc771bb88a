"""Several processes, one batch: sums and statistics over the rows of all of them, gradients included.

Whatever averages over the rows of a batch needs nothing of this: gradients are averaged over the processes. Batch norm
and class means are other functions of the whole batch.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, distributed, nn

from ipr.passport.kinds import behind
from ipr.passport.layer import PassportBatchNorm2d


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, part: Tensor) -> Tensor:
        parts = [torch.empty_like(part) for _ in range(distributed.get_world_size())]
        distributed.all_gather(parts, part)
        return torch.stack(parts)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (gradient,) = gradients
        summed = gradient.contiguous()
        distributed.all_reduce(summed)
        return summed[distributed.get_rank()]


@torch.compiler.disable  # type: ignore[untyped-decorator]
def gather(part: Tensor) -> Tensor:
    """The tensors of all processes, (processes, ...), in the order of their ranks.

    The gradient of a process's own tensor is that of the sum of what all processes make of the result.

    Args:
        part: this process's; of the same shape everywhere.
    """
    gathered: Tensor = _Gather.apply(part.contiguous())
    return gathered


@contextmanager
def joint_statistics(network: nn.Module) -> Iterator[None]:
    """Inside, every batch norm in training takes its statistics over the batches of all processes, in equal shares.

    (torch's `SyncBatchNorm` would replace the passport layers, and knows no CPU.) Afterwards each is as it was.
    """
    changed: list[tuple[nn.Module, str]] = []
    try:
        for module in network.modules():
            if isinstance(module, PassportBatchNorm2d):
                changed.append((module, "normalise"))
                object.__setattr__(module, "normalise", partial(batch_norm, module))
            elif isinstance(module, nn.BatchNorm2d):
                changed.append((module, "forward"))
                object.__setattr__(module, "forward", partial(_plain, module))
        yield
    finally:
        for module, name in changed:
            object.__delattr__(module, name)


def _plain(layer: nn.BatchNorm2d, x: Tensor) -> Tensor:
    y: Tensor = behind(layer)(batch_norm(layer, x, layer.weight, layer.bias))
    return y


def _move(layer: nn.BatchNorm2d, mean: Tensor, variance: Tensor) -> None:
    """Moves the running statistics by those of a batch, (C,)."""
    assert layer.running_mean is not None
    assert layer.running_var is not None
    assert layer.num_batches_tracked is not None
    layer.num_batches_tracked.add_(1)
    momentum = 1 / float(layer.num_batches_tracked) if layer.momentum is None else layer.momentum
    layer.running_mean.lerp_(mean, momentum)
    layer.running_var.lerp_(variance, momentum)


def batch_norm(layer: nn.BatchNorm2d, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Batch norm over the batches of all processes, with the affine given; in evaluation, over none.

    Args:
        layer: gives the running statistics, which move as they would over the joined batch, and the constants.
        x: this process's share, (B, C, H, W).
        weight: the scale, (C,).
        bias: the shift, (C,).
    """
    assert layer.running_mean is not None
    assert layer.running_var is not None
    if not layer.training:
        return nn.functional.batch_norm(x, layer.running_mean, layer.running_var, weight, bias, False, 0.0, layer.eps)
    with torch.autocast(x.device.type, enabled=False):
        precise = x.to(torch.promote_types(x.dtype, layer.running_var.dtype))
        variances, means = torch.var_mean(precise, (0, 2, 3), correction=0)
        means, variances = gather(torch.stack([means, variances])).unbind(1)
        mean = means.mean(0)
        variance = (variances + (means - mean).square()).mean(0)
        if layer.track_running_stats:
            count = means.shape[0] * x.numel() // x.shape[1]
            _move(layer, mean.detach(), variance.detach() * (count / (count - 1)))
        scale = weight * torch.rsqrt(variance + layer.eps)
        shift = bias - mean * scale
        normalised = torch.addcmul(shift[:, None, None], precise, scale[:, None, None])
    return normalised.to(x.dtype)
