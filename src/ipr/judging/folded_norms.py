"""Batch norms that were folded into convolutions, put back: a norm that does what the bias of its convolution did."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ipr.models.channels import BATCH_NORMS, Symmetry
from ipr.models.gauge import before_norms


@torch.no_grad()
def put_back(network: nn.Module, target: nn.Module, found: Symmetry) -> int:
    """Gives a network the batch norms that the target has between a convolution and what follows; how many.

    A norm that is put back has mean 0, variance 1 and the scale that makes it no more than a shift: that of the bias.
    The target's statistics and scales come later, with those of the other norms (`channel_scale.py`). The bias of a
    convolution that has none in the target moves into the mean of the batch norm behind it. No answer changes.

    Args:
        network: changed in place; of whatever widths, with an `nn.Identity` where a norm is gone.
        target: the network that was committed to.
        found: its symmetry.
    """
    count = 0
    for segment in before_norms(target, found):
        maker, name = segment.makers[0], segment.takers[0][0]
        wanted, there = target.get_submodule(name), _there(network, name)
        conv, model = _there(network, maker), target.get_submodule(maker)
        if not isinstance(wanted, BATCH_NORMS) or not isinstance(conv, type(model)):
            continue
        if type(there) is nn.Identity:
            there = _idle(wanted, conv)
            network.set_submodule(name, there)
            count += 1
        if isinstance(there, BATCH_NORMS) and isinstance(conv.bias, Tensor) and model.bias is None:
            assert there.running_mean is not None
            there.running_mean.sub_(conv.bias)
            conv.register_parameter("bias", None)
    return count


def _there(network: nn.Module, name: str) -> nn.Module | None:
    return dict(network.named_modules()).get(name)


def _idle(wanted: nn.Module, conv: nn.Module) -> nn.Module:
    """A batch norm that passes on what it gets, for as many channels as a convolution makes."""
    assert isinstance(wanted, BATCH_NORMS)
    weight = conv.get_parameter("weight")
    norm = type(wanted)(weight.shape[0], eps=wanted.eps).to(weight).eval().requires_grad_(False)
    norm.weight.fill_((1 + wanted.eps) ** 0.5)
    return norm
