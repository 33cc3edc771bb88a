"""A file of the claimed layers with other widths, or without batch norms: the network that it fits.

The shapes of its tensors tell the widths. A set of channels may be up to `MOST_WIDER` times as wide as claimed and no
narrower, and nothing else may differ, so that a hostile file decides no more than how much of its own is read.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ipr.errors import InputError
from ipr.models.channels import BATCH_NORMS, Symmetry, symmetry
from ipr.models.gauge import before_norms
from ipr.models.widths import MOST_WIDER, gather, unit
from ipr.suspects.checks import Refusal
from ipr.suspects.matching import by_names, by_order, common_prefix, under
from ipr.suspects.weights import WeightsFile


def in_other_form(network: nn.Module, example: Tensor, file: WeightsFile) -> tuple[nn.Module, dict[str, Tensor]] | None:
    """The network in the form that a file has, and the file's tensors by its names; None where no such form fits.

    Args:
        network: of the claimed architecture, without memory (on the device `meta`); changed in place.
        example: an input for it, there too.
        file: what was read.
    """
    try:
        found = symmetry(network, example)
        if file.format == "onnx":
            tensors = by_order(network, example, file.layers)
        else:
            tensors = under(common_prefix(network, file.tensors), file.tensors)
        _widen(network, found, tensors)
        _fold(network, found, tensors)
        weights = by_names(network, tensors)
        network(example)  # on meta: shapes alone
    except (Refusal, InputError, RuntimeError):
        return None
    return network, weights


def _widen(network: nn.Module, found: Symmetry, tensors: dict[str, Tensor]) -> None:
    """Gives each set of channels the width of the rows that make it.

    Raises:
        Refusal: it is narrower than claimed, or too wide.
    """
    for one in found.free:
        rows = tensors.get(f"{one.makers[0]}.weight") if one.makers else None
        width = rows.shape[0] if rows is not None and rows.dim() else one.channels
        if width == one.channels:
            continue
        if not one.channels < width <= MOST_WIDER * one.channels or width % unit(network, one):
            raise Refusal(f"has {width} channels behind {one.makers[0]}", "")
        gather(network, one, torch.arange(width) % one.channels)


def _fold(network: nn.Module, found: Symmetry, tensors: dict[str, Tensor]) -> None:
    """Takes out batch norms that are missing in the file; their convolutions get the bias that it has instead."""
    for segment in before_norms(network, found):
        conv, name = network.get_submodule(segment.makers[0]), segment.takers[0][0]
        if isinstance(network.get_submodule(name), BATCH_NORMS) and f"{name}.running_mean" not in tensors:
            network.set_submodule(name, nn.Identity())
            bias = tensors.get(f"{segment.makers[0]}.bias")
            if bias is not None and conv.bias is None:
                rows = conv.get_parameter("weight").shape[0]
                conv.register_parameter("bias", nn.Parameter(torch.empty(rows, device="meta")))
