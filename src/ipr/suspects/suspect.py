"""`open_suspect` and `open_reference`: a plain network with the weights of somebody's file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ipr.digests import weights_digest
from ipr.errors import InputError
from ipr.models.claimed import without_memory
from ipr.models.inspection import is_norm
from ipr.suspects.checks import Refusal, check_finite, shown
from ipr.suspects.matching import by_graph, by_names, common_prefix, under
from ipr.suspects.other_forms import in_other_form
from ipr.suspects.weights import WeightsFile, read_file
from ipr.terminal.console import Console


@dataclass(frozen=True)
class Suspect:
    """A network that is judged, and the file it came from.

    Attributes:
        network: the plain architecture with the file's weights, on the CPU.
        digest: SHA-256 of the file's bytes, as hexadecimal digits.
        weights_digest: SHA-256 of the weights by their names in the network, as they were stored (`ipr.digests`): equal
            for the same weights in two formats.
        format: `safetensors`, `torch` or `onnx`.
        absent: parameters of the network that the file does not hold: scales and shifts of norms, which are 1 and 0.
        alignments: how many ways of matching layers were tried, which a p-value must be multiplied by.
    """

    network: nn.Module
    digest: str
    weights_digest: str
    format: str
    absent: tuple[str, ...] = ()
    alignments: int = 1


def open_suspect(
    path: Path, architecture: Mapping[str, Any], field: str = "suspect", *, other_forms: bool = False
) -> Suspect:
    """Opens a weights file as a network of an architecture; nothing in the file is executed.

    Names of another project's file, which begin alike (`net.`), are taken for the network's, which is said on stderr.
    Weights are converted to float32 whatever they were stored as. Norms without an affine (scheme V1) get 1 and 0. The
    architecture is built without memory first, and gets some when the file's tensors fit it: whatever sizes a claim
    names, no more is taken than the file brings.

    Args:
        path: see `read_weights`.
        architecture: `Claim.architecture`: `model` with `name`, `norm` and `width`, `channels_in`, `image_size`
            (pixels) and `num_classes`.
        field: what an error calls the file.
        other_forms: whether the file may have other widths, or lack batch norms (`other_forms.py`), for a judge who can
            match it to a reference.

    Raises:
        InputError: the file cannot be used, or does not fit the architecture.
    """
    network = without_memory(architecture)
    file = read_file(path, field)
    try:
        network, weights = _fitting(network, file, path, architecture if other_forms else None)
        for name, tensor in weights.items():
            if tensor.dtype is torch.float64:
                check_finite(name, tensor.float())
    except Refusal as refusal:
        raise InputError(field, path, refusal.problem, refusal.remedy) from refusal
    network.to_empty(device="cpu").to(memory_format=torch.channels_last)  # convolutions run faster
    for module in network.modules():
        if is_norm(module):
            module.reset_parameters()  # type: ignore[operator]
    network.load_state_dict(weights, strict=False)
    absent = tuple(name for name, _ in network.named_parameters() if name not in weights)
    return Suspect(network, file.digest, weights_digest(weights), file.format, absent)


def _fitting(
    network: nn.Module, file: WeightsFile, path: Path, architecture: Mapping[str, Any] | None
) -> tuple[nn.Module, dict[str, Tensor]]:
    """A network without memory that a file fits, and the file's tensors by its names.

    Raises:
        Refusal: they do not fit.
    """
    try:
        if file.format == "onnx":
            return network, by_graph(network, file.tensors, file.layers)
        prefix = common_prefix(network, file.tensors)
        weights = by_names(network, under(prefix, file.tensors))
    except Refusal:
        if architecture is None:
            raise
        size = (architecture["channels_in"], architecture["image_size"], architecture["image_size"])
        fitted = in_other_form(network, torch.zeros(1, *size, device="meta"), file)
        if fitted is None:
            raise
        return fitted
    if prefix:
        what = f"{path}: the network is taken from behind {shown(prefix)}, and what else is there left out"
        Console(stderr=True).say(what)
    return network, weights


def open_reference(path: Path, architecture: Mapping[str, Any], weights: str) -> nn.Module:
    """Opens the public weights to which an owner committed; they are read with as little trust as a suspect's.

    Args:
        path: the owner's weights file, in any format that `open_suspect` takes.
        architecture: `Claim.architecture`.
        weights: their digest, `Commitment.weights`.

    Raises:
        InputError: the file cannot be used, does not fit the architecture, or holds other weights than those committed
            to.
    """
    found = open_suspect(path, architecture, "reference")
    if found.weights_digest != weights:
        problem = "holds other weights than those that were committed to"
        raise InputError("reference", path, problem, "give the public weights that the commitment was made for")
    return found.network
