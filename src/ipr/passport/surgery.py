"""Into and out of any network of convolutions and norms: `protect` and `strip`.

Which norm follows which convolution is found by following one forward pass, never guessed from names.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from ipr.errors import InputError
from ipr.models.use import answer_of, evaluating
from ipr.passport.layer import (
    Branch,
    PassportBatchNorm2d,
    PassportGroupNorm,
    PassportLayer,
)
from ipr.world import own_world

Passport = Mapping[str, Tensor]
"""Layer name (its convolution's) -> P_gamma and P_beta, shape (2, C_in, H, W): inputs of that convolution."""

PASSPORT_NORMS: dict[type[nn.Module], type[PassportLayer]] = {
    nn.BatchNorm2d: PassportBatchNorm2d,
    nn.GroupNorm: PassportGroupNorm,
}
"""Which norms can be protected, and what replaces each. A subclass may do more than normalise, so it is not listed."""

_NORMS = (nn.modules.batchnorm._NormBase, nn.GroupNorm, nn.LayerNorm, nn.LocalResponseNorm)
"""What counts as a norm when one is looked for, so that a refusal can name it."""


@dataclass(frozen=True)
class ConvNorm:
    """A norm and the convolution that feeds it, by their names in the network.

    Attributes:
        conv: the convolution; also the name of the passport layer.
        norm: the norm.
        input_shape: (C_in, H, W) of the convolution's input, which is the shape of a passport.
        channels: C, the capacity of the layer in bits.
    """

    conv: str
    norm: str
    input_shape: tuple[int, int, int]
    channels: int


@contextmanager
def _hooks(handles: list[torch.utils.hooks.RemovableHandle]) -> Iterator[None]:
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@own_world()
def find_layers(network: nn.Module, example: Tensor, layers: Sequence[str] | None = None) -> list[ConvNorm]:
    """The convolutions of a network that a norm follows directly, found by one forward pass.

    Args:
        network: any network; left as it was.
        example: an input for it, e.g. one image, shape (1, C, H, W).
        layers: names of convolutions, or of modules that hold them (`conv3`, `layer4`); None for all.

    Returns:
        The matching pairs in the order in which the network runs them.

    Raises:
        InputError: a name matches nothing, or only a norm that cannot be protected.
    """
    names = {module: name for name, module in network.named_modules()}
    produced: list[tuple[Tensor, nn.Conv2d, tuple[int, ...]]] = []
    fed: list[tuple[nn.Conv2d, nn.Module, tuple[int, ...]]] = []

    def after_conv(module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> None:
        assert isinstance(module, nn.Conv2d)
        produced.append((output, module, tuple(args[0].shape[1:])))

    def before_norm(module: nn.Module, args: tuple[Tensor, ...]) -> None:
        fed.extend((conv, module, shape) for output, conv, shape in produced if args and args[0] is output)

    handles = []
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            handles.append(module.register_forward_hook(after_conv))
        elif isinstance(module, _NORMS):
            handles.append(module.register_forward_pre_hook(before_norm))
    with _hooks(handles), evaluating(network):
        network(example)

    wanted = list(layers) if layers is not None else None
    chosen: list[ConvNorm] = []
    refused: list[str] = []
    matched: set[str] = set()
    for conv, norm, shape in fed:
        hits = {w for w in wanted or [] if (names[conv] + ".").startswith(w + ".")}
        if wanted is not None and not hits:
            continue
        matched |= hits
        problem = _why_not(norm, sum(n is norm for _, n, _ in fed), sum(c is conv for c, _, _ in fed))
        if problem:
            refused.append(f"{names[norm]} ({problem})")
        else:
            c_in, height, width = shape
            chosen.append(ConvNorm(names[conv], names[norm], (c_in, height, width), conv.out_channels))
    available = ", ".join(dict.fromkeys(names[conv] for conv, norm, _ in fed if type(norm) in PASSPORT_NORMS)) or "none"
    if missing := [w for w in wanted or [] if w not in matched]:
        raise InputError(
            "scheme.layers", missing, "no convolution that a norm follows has this name", f"choose among: {available}"
        )
    if refused and (wanted is not None or not chosen):
        raise InputError("scheme.layers", refused, "cannot be protected", f"choose among: {available}")
    if not chosen:
        raise InputError(
            "network",
            type(network).__name__,
            "no convolution is followed by a norm",
            "passports need a Conv2d with a BatchNorm2d or GroupNorm behind it",
        )
    return chosen


def _why_not(norm: nn.Module, norm_calls: int, conv_calls: int) -> str | None:
    if type(norm) not in PASSPORT_NORMS:
        return f"{type(norm).__name__} is neither BatchNorm2d nor GroupNorm"
    if isinstance(norm, nn.BatchNorm2d) and (norm.momentum is None or not norm.track_running_stats):
        return "it keeps no running average with a fixed momentum"
    if norm_calls > 1 or conv_calls > 1:
        return "it or its convolution runs more than once in a forward pass"
    return None


@own_world()
def protect(network: nn.Module, passport: Passport, example: Tensor, *, public_affine: bool) -> nn.Module:
    """A copy of the network with passport layers in place of the norms behind the passport's convolutions.

    Args:
        network: a plain network; left as it was.
        passport: what to protect it with; its names choose the layers.
        example: an input for the network, used to follow one forward pass.
        public_affine: keep the norms' own scale and shift as the public branch (schemes V2 and V3), or not (V1).

    Returns:
        The protected copy, answering with the private branch. Its `state_dict` is the plain network's (without the
        replaced affines where `public_affine` is False) and holds nothing of the passport.

    Raises:
        InputError: the passport names no layer, layers that the network lacks, or has other shapes.
    """
    if not passport:
        raise InputError("passport", "{}", "names no layer, so nothing would be protected", "name at least one")
    protected = copy.deepcopy(network)
    for found in find_layers(protected, example, list(passport)):
        if found.conv not in passport:
            raise InputError(
                "passport", found.conv, "is not among the passport's layers", "name convolutions, not blocks"
            )
        expected, got = (2, *found.input_shape), tuple(passport[found.conv].shape)
        if got != expected:
            raise InputError(
                "passport",
                f"{found.conv}: {got}",
                f"its shape must be {expected}",
                "generate it for this network and image size",
            )
        conv, norm = protected.get_submodule(found.conv), protected.get_submodule(found.norm)
        assert isinstance(conv, nn.Conv2d)
        _set_submodule(protected, found.norm, _passport_layer(norm, conv, passport[found.conv], public_affine))
    return protected


def _passport_layer(norm: nn.Module, conv: nn.Conv2d, passport: Tensor, public_affine: bool) -> PassportLayer:
    if isinstance(norm, nn.BatchNorm2d):
        layer: PassportLayer = PassportBatchNorm2d(norm.num_features, norm.eps, norm.momentum, affine=public_affine)
    else:
        assert isinstance(norm, nn.GroupNorm)
        layer = PassportGroupNorm(norm.num_groups, norm.num_channels, norm.eps, affine=public_affine)
    return _take_over(layer, norm, conv, passport)


def _take_over(layer: PassportLayer, norm: nn.Module, conv: nn.Conv2d, passport: Tensor) -> PassportLayer:
    layer._become_passport_layer(conv, passport)
    layer.to(conv.weight)
    layer.train(norm.training)
    layer.load_state_dict({k: v for k, v in norm.state_dict().items() if k in layer.state_dict()}, strict=False)
    return layer


@own_world()
def strip(network: nn.Module, branch: Branch = Branch.PUBLIC) -> nn.Module:
    """A plain copy of a protected network: what is given away.

    Args:
        network: a protected network; left as it was.
        branch: PUBLIC keeps the public scale and shift (1 and 0 where the scheme has none); PRIVATE folds the
            passport's scale and shift into the norms as constants.

    Returns:
        The plain architecture; its `state_dict` loads into the plain class, and no passport is in it.
    """
    plain = copy.deepcopy(network)
    for name, layer in [(n, m) for n, m in plain.named_modules() if isinstance(m, PassportLayer)]:
        if isinstance(layer, PassportBatchNorm2d):
            norm: nn.Module = nn.BatchNorm2d(layer.num_features, layer.eps, layer.momentum)
        else:
            assert isinstance(layer, PassportGroupNorm)
            norm = nn.GroupNorm(layer.num_groups, layer.num_channels, layer.eps)
        norm.to(layer.conv.weight)
        norm.train(layer.training)
        with torch.no_grad():
            gamma, beta = layer.public_affine() if branch is Branch.PUBLIC else layer.passport_affine()
        norm.load_state_dict(layer.state_dict() | {"weight": gamma[0].clone(), "bias": beta[0].clone()})
        _set_submodule(plain, name, norm)
    return plain


@own_world()
def fold(network: nn.Module, example: Tensor) -> nn.Module:
    """A plain copy for inference, with every batch norm folded into the convolution before it.

    Args:
        network: a plain network; left as it was. Give `strip(network, Branch.PRIVATE)` for one that works with its
            passport, as in scheme V1.
        example: an input for the network, used to follow one forward pass.

    Returns:
        The network in evaluation mode: faster, with the same answers, and no longer to be trained or protected. A norm
        that cannot be folded (group norm) stays.

    Raises:
        InputError: the network is still protected, or answers differently once it is folded.
    """
    if any(isinstance(module, PassportLayer) for module in network.modules()):
        raise InputError("network", type(network).__name__, "has passport layers", "strip it first")
    folded = copy.deepcopy(network).eval()
    for found in find_layers(folded, example):
        conv, norm = folded.get_submodule(found.conv), folded.get_submodule(found.norm)
        if isinstance(norm, nn.BatchNorm2d):
            assert isinstance(conv, nn.Conv2d)
            _set_submodule(folded, found.conv, fuse_conv_bn_eval(conv, norm))
            _set_submodule(folded, found.norm, nn.Identity())
    with evaluating(network), evaluating(folded):
        same = torch.allclose(answer_of(folded, example), answer_of(network, example), rtol=1e-3, atol=1e-3)
    if not same:
        raise InputError(
            "network", type(network).__name__, "uses a convolution's output twice", "run it with its norms as they are"
        )
    return folded


def _set_submodule(network: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, child = name.rpartition(".")
    holder = network.get_submodule(parent)
    if isinstance(holder, nn.Sequential | nn.ModuleList):
        holder[int(child)] = module
    else:
        setattr(holder, child, module)
