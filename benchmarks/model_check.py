"""One classifier of torchvision or timm, protected and stripped again: does every branch answer as it should?

Followed first without memory; what can be protected is then built with fresh weights on the CPU and tried out.
"""

from __future__ import annotations

import re
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import timm
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torchvision import models

from ipr.errors import InputError
from ipr.models.feeding import is_sum_norm
from ipr.models.inspection import evaluating
from ipr.passport.fork import fork
from ipr.passport.generate import random_passport, with_energy
from ipr.passport.layer import Branch, affines_of, presenting
from ipr.passport.surgery import ConvNorm, find_layers, protect, strip

SIZES = (64, 96, 128)
"""Pixels of an edge that are tried, from the left, before the model's own."""

CLASSES = 10
TWO_ANSWERS = ("googlenet", "inception_v3")
"""Of torchvision, which answer with two more in training unless they are asked not to."""

ENERGY = 3.0
TOLERANCE = 1e-3
"""How far an answer may be off, as a share of the largest: float32 through a hundred layers in another order."""


@dataclass
class Row:
    """What became of one model.

    Attributes:
        library: torchvision or timm.
        name: the library's.
        family: the module of the library that it stands in.
        kind: `supported`, `refused` (in words), `followed` (its layers were found, and no more was tried), `failed`.
        reason: why it was refused or what failed.
        has_both: whether it has a Conv2d, and a batch norm or group norm of two dimensions.
        has_layer_norm: whether it has a layer norm or RMS norm.
        parameters: how many.
        size: pixels of an edge of the images.
        refused_sizes: of these, those that the network did not take, and what it raised.
        pairs: convolutions whose norm can be protected.
        layers: of them those that were.
        shares_trunk: whether the branches share a trunk at rest, and in training.
        error: the largest difference of answers that ought to be equal, as a share of the largest answer.
        seconds: that it took.
    """

    library: str
    name: str
    family: str
    kind: str = "failed"
    reason: str = ""
    has_both: bool = False
    has_layer_norm: bool = False
    parameters: int = 0
    size: int = 0
    pairs: int = 0
    layers: list[str] = field(default_factory=list)
    shares_trunk: list[bool] = field(default_factory=list)
    error: float = 0.0
    seconds: float = 0.0
    refused_sizes: list[str] = field(default_factory=list)


def names() -> list[tuple[str, str]]:
    """Every classifier: library and name."""
    mine = [("torchvision", name) for name in models.list_models(module=models)]
    return mine + [("timm", name) for name in timm.list_models()]


def family_of(library: str, name: str) -> str:
    """The module of the library that a model stands in."""
    if library == "torchvision":
        return str(models.get_model_builder(name).__module__).rpartition(".")[2]
    return str(timm.model_entrypoint(name).__module__).rpartition(".")[2]


def build(library: str, name: str) -> nn.Module:
    """The network with fresh weights, in evaluation mode."""
    network: nn.Module
    if library == "torchvision":
        alone = {"aux_logits": False, "init_weights": False} if name in TWO_ANSWERS else {}
        network = models.get_model(name, weights=None, num_classes=CLASSES, **alone)
    else:
        network = timm.create_model(name, pretrained=False, num_classes=CLASSES)
    return network.eval()


def check(library: str, name: str, most: int) -> Row:
    """Tries one model out.

    Args:
        library: torchvision or timm.
        name: the library's.
        most: parameters that a network may have to be tried out; larger ones are but followed.
    """
    begun, row = time.monotonic(), Row(library, name, family_of(library, name))
    try:
        with warnings.catch_warnings(action="ignore"):
            if _followed(row) and row.parameters <= most:
                _try_out(row)
    except Exception as error:  # noqa: BLE001 (whatever a library's class raises is what is to be seen)
        row.kind, row.reason = "failed", _told(error)
    row.seconds = round(time.monotonic() - begun, 2)
    return row


def _told(error: Exception) -> str:
    """The kind of an error and its first line."""
    return f"{type(error).__name__}: {str(error).partition(chr(10))[0][:200]}"


@contextmanager
def _nowhere() -> Iterator[None]:
    with torch.device("meta"):
        yield


def _followed(row: Row) -> bool:
    """Counts a network and finds its layers without memory; whether any can be protected."""
    try:
        with _nowhere():
            network = build(row.library, row.name)
    except NotImplementedError:  # RegNets ask for numbers while they are built
        network = build(row.library, row.name).to("meta")
    row.parameters = sum(parameter.numel() for parameter in network.parameters())
    kinds = [type(module) for module in network.modules()]
    normed = any(issubclass(kind, nn.BatchNorm2d | nn.GroupNorm) for kind in kinds)
    row.has_layer_norm = any(is_sum_norm(module) for module in network.modules())
    row.has_both = normed and any(issubclass(kind, nn.Conv2d) for kind in kinds)
    row.size = _size(network, row)
    try:
        found = find_layers(network, torch.zeros(1, 3, row.size, row.size, device="meta"))
    except InputError as error:
        row.kind, row.reason = "refused", _in_words(error)
        return False
    row.pairs, row.kind = len(found), "followed"
    row.layers = list(dict.fromkeys(layer.conv for layer in (found[len(found) // 2], found[-1])))
    return True


def _size(network: nn.Module, row: Row) -> int:
    """The smallest size of images that a network takes."""
    own = 224
    if row.library == "timm" and (known := timm.get_pretrained_cfg(row.name, allow_unregistered=True)):
        own = int(known.input_size[-1])
    for size in (*SIZES, own):
        try:
            with evaluating(network):
                network(torch.zeros(1, 3, size, size, device="meta"))
        except Exception as error:  # noqa: BLE001 (whatever it raises, this size is none)
            row.refused_sizes.append(f"{size}: {_told(error)}")
            continue
        return size
    return own


def _in_words(error: InputError) -> str:
    """A refusal without the names of layers."""
    if isinstance(error.value, list):
        whys = dict.fromkeys(re.sub(r"^\S+ \((.*)\)$", r"\1", str(value)) for value in error.value)
        return f"{error.problem}: {'; '.join(whys)}"
    return error.problem


def _try_out(row: Row) -> None:
    torch.manual_seed(1)
    plain = build(row.library, row.name)
    for parameter in plain.parameters():
        if parameter.numel() and not parameter.any():  # nothing would come through
            nn.init.normal_(parameter, std=0.02)
    x = torch.randn(2, 3, row.size, row.size)
    layers = [layer for layer in find_layers(plain, x[:1]) if layer.conv in row.layers]
    network = _protected(plain, layers, x)
    forked = fork(network, x[:1])
    both = [affines_of(network, branch) for branch in Branch]
    with torch.no_grad():
        public, private = forked(x, both)
        with presenting(network, both[0]):
            alone = network(x)
        whole = network(x)
        errors = [_off(public, alone), _off(private, whole), _off(public, plain(x))]
        stripped = strip(network)
        errors += [_off(stripped(x), public), _off(strip(network, Branch.PRIVATE)(x), whole)]
        row.error = max(errors)
        row.shares_trunk = [forked.shares_trunk]
    _assert_plain(stripped, plain)
    if row.error > TOLERANCE:
        raise ValueError(f"answers differ by {row.error:.1e}: {', '.join(f'{one:.0e}' for one in errors)}")
    if torch.equal(public, private):
        raise ValueError("the passport changes no answer")
    if row.size <= max(SIZES):
        row.shares_trunk.append(_trains(network, plain, x, layers))
    row.kind = "supported"


def _protected(plain: nn.Module, layers: list[ConvNorm], x: Tensor) -> nn.Module:
    passport = with_energy(random_passport(layers, torch.Generator().manual_seed(2)), plain, ENERGY)
    return protect(plain, passport, x[:1], public_affine=True)


def _off(one: Tensor, other: Tensor) -> float:
    """The largest difference, as a share of the largest of `other`; infinite where there is none of numbers."""
    if not (torch.isfinite(one).all() and torch.isfinite(other).all()):
        return float("inf")
    return float((one - other).abs().max() / other.abs().max().clamp_min(1e-30))


def _assert_plain(stripped: nn.Module, plain: nn.Module) -> None:
    if [*stripped.state_dict()] != [*plain.state_dict()]:
        raise ValueError("a stripped network has other names")
    if [type(module) for module in stripped.modules()] != [type(module) for module in plain.modules()]:
        raise ValueError("a stripped network has other classes")


def _trains(network: nn.Module, plain: nn.Module, x: Tensor, layers: list[ConvNorm]) -> bool:
    """One step of both branches: every filter of a passport gets a gradient, and statistics move once, as the plain
    network's do. Whether the branches shared a trunk.
    """
    forked = fork(network, x[:1])
    torch.manual_seed(3)
    answers = forked(x, [affines_of(network.train(), branch) for branch in Branch])
    torch.stack([answer.square().mean() for answer in answers]).sum().backward()
    for layer in layers:
        gradient = network.get_parameter(f"{layer.conv}.weight").grad
        if gradient is None or not torch.isfinite(gradient).all():
            raise ValueError(f"{layer.conv} has no gradient")
    torch.manual_seed(3)
    with torch.no_grad():
        plain.train()(x)
    if _counts(network) != _counts(plain):
        raise ValueError("statistics did not move as often as the plain network's")
    return forked._split(training=True) is not None


def _counts(network: nn.Module) -> list[int]:
    """How often the statistics of each batch norm were moved."""
    norms = [module for module in network.modules() if isinstance(module, _BatchNorm)]
    return [int(norm.num_batches_tracked) for norm in norms if norm.num_batches_tracked is not None]
