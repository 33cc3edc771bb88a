"""A network of the same layers with other numbers of channels: channels left out, or in several copies."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ipr.models.channels import BATCH_NORMS, ChannelSet

MOST_WIDER = 4
"""How many times as many channels a stranger's network may have in a set: what matching costs grows with it."""


@torch.no_grad()
def gather(network: nn.Module, channels: ChannelSet, index: Tensor) -> None:
    """Channel c becomes a copy of what channel index[c] was, along every axis of the set.

    Columns are copied like rows. Whoever puts a channel in twice so that the answers stay has to share its columns out
    (`columns`). Parameters and buffers are replaced by new ones.

    Args:
        network: changed in place; on any device, `meta` too.
        channels: one of its sets that is not pinned, found before widths changed.
        index: (C',), int64, of what is there now; of a group norm whole groups, in the order of their channels.
    """
    for axis in channels.axes:
        name, _, part = axis.tensor.rpartition(".")
        module = network.get_submodule(name)
        tensor = getattr(module, part)
        places = (index[:, None] * axis.repeat + torch.arange(axis.repeat)).flatten().to(tensor.device)
        taken = tensor.detach().index_select(axis.axis, places)
        if isinstance(tensor, nn.Parameter):
            taken = nn.Parameter(taken, tensor.requires_grad)
        setattr(module, part, taken)
    for name in {axis.tensor.rpartition(".")[0] for axis in channels.axes}:
        _count(network.get_submodule(name), index.numel())


def _count(module: nn.Module, channels: int) -> None:
    """Writes what a layer notes of its widths anew, from its tensors; of a norm, from the number of its channels."""
    if isinstance(module, nn.Conv2d):
        rows, columns = module.weight.shape[:2]
        depthwise = module.groups == module.in_channels == module.out_channels and module.groups > 1
        module.groups = rows if depthwise else 1
        module.out_channels, module.in_channels = rows, columns * module.groups
    elif isinstance(module, nn.Linear):
        module.out_features, module.in_features = module.weight.shape
    elif isinstance(module, nn.GroupNorm):
        size = module.num_channels // module.num_groups
        module.num_channels, module.num_groups = channels, channels // min(size, channels)
    elif isinstance(module, BATCH_NORMS):
        module.num_features = channels


def columns(network: nn.Module, channels: ChannelSet) -> dict[str, Tensor]:
    """What takes the channels of a set: layer -> (C, rows, entries), a view of its weight that may be written to."""
    found = {}
    for name, repeat in channels.takers:
        weight = network.get_submodule(name).get_parameter("weight").detach()
        found[name] = by_channel(weight, repeat).transpose(0, 1)
    return found


def by_channel(weight: Tensor, repeat: int) -> Tensor:
    """(C, C_in * repeat, ...) as (C, C_in, repeat * ...): columns of one channel behind one another; a view."""
    split: Tensor = weight.flatten(2) if weight.dim() > 2 else weight.unflatten(1, (-1, repeat))
    return split


def unit(network: nn.Module, channels: ChannelSet) -> int:
    """How many channels come and go together: a group of the norm of groups that they pass, 1 where there is none.

    A group norm of one group looks at all channels at once. None can be put in or taken out beside them, so that this
    is C then.
    """
    names = {axis.tensor.rpartition(".")[0] for axis in channels.axes}
    norms = [module for name in names if isinstance(module := network.get_submodule(name), nn.GroupNorm)]
    return max((norm.num_channels // norm.num_groups for norm in norms), default=1)
