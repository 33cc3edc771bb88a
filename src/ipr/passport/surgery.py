"""Into and out of any network of convolutions and norms: `protect` and `strip`.

Which norm follows which convolution is found by following one forward pass, never guessed from names.
"""

from __future__ import annotations

import copy
import gc
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from types import FunctionType, ModuleType

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.nn.utils.fusion import fuse_conv_bn_eval

from ipr.errors import InputError
from ipr.models.feeding import fed_norms
from ipr.models.inspection import Projection, answer_of, evaluating, projection_of
from ipr.passport.fork import norms_behind
from ipr.passport.kinds import behind, known_norms, passport_kind
from ipr.passport.layer import Branch, PassportLayer, affines_of, filters, presenting
from ipr.passport.statistics import of_one_batch
from ipr.world import own_world

Passport = Mapping[str, Tensor]
"""Layer name (its convolution's) -> P_gamma and P_beta, shape (2, C_in, H, W): inputs of that convolution."""

AFFINE = ("weight", "bias")
"""What a norm calls its scale and its shift."""

_NORMS = (nn.modules.batchnorm._NormBase, nn.GroupNorm, nn.LayerNorm, nn.RMSNorm, nn.LocalResponseNorm)


@dataclass(frozen=True)
class ConvNorm:
    """A norm and the convolution, or linear layer, that feeds it, by their names in the network.

    Attributes:
        conv: the convolution; also the name of the passport layer.
        norm: the norm.
        input_shape: (C_in, H, W) of the convolution's input, which is the shape of a passport; of a linear layer
            (C_in, T, 1).
        channels: C, the capacity of the layer in bits.
    """

    conv: str
    norm: str
    input_shape: tuple[int, int, int]
    channels: int


@contextmanager
def hooked(handles: list[torch.utils.hooks.RemovableHandle]) -> Iterator[None]:
    """Inside, hooks are in place; afterwards they are removed."""
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@own_world()
def find_layers(network: nn.Module, example: Tensor, layers: Sequence[str] | None = None) -> list[ConvNorm]:
    """The convolutions of a network that a norm follows, found by one forward pass (`feeding.py`).

    Args:
        network: any network; left as it was.
        example: an input for it, e.g. one image, shape (1, C, H, W).
        layers: names of convolutions, or of modules that hold them (`conv3`, `layer4`); None for all.

    Returns:
        The matching pairs in the order in which the network runs them.

    Raises:
        InputError: a name matches nothing, or only a norm that cannot be protected; or the network answers with
            something else than one tensor.
    """
    names = {module: name for name, module in network.named_modules()}
    fed = fed_norms(network, example, [module for module in network.modules() if _is_norm(module)])
    wanted = list(layers) if layers is not None else None
    if wanted == []:
        raise InputError("scheme.layers", wanted, "names no layer", "name some, e.g. [conv4,conv5]")
    chosen: list[ConvNorm] = []
    refused: list[str] = []
    matched: set[str] = set()
    for one in fed:
        conv, norm = one.conv, one.norm
        hits = {w for w in wanted or [] if (names[conv] + ".").startswith(w + ".")}
        if wanted is not None and not hits:
            continue
        matched |= hits
        problem = _why_not(norm, sum(other.norm is norm for other in fed), sum(other.conv is conv for other in fed))
        if problem:
            refused.append(f"{names[norm]} ({problem})")
        else:
            chosen.append(ConvNorm(names[conv], names[norm], one.input_shape, conv.weight.shape[0]))
    available = ", ".join(dict.fromkeys(names[one.conv] for one in fed if passport_kind(one.norm))) or "none"
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
            "passports need a Conv2d with a BatchNorm2d or GroupNorm behind it, or a LayerNorm or RMSNorm of channels",
        )
    return chosen


def _is_norm(module: nn.Module) -> bool:
    """What counts as a norm when one is looked for, so that a refusal can name it: torch's, and what is called so."""
    if isinstance(module, _NORMS):
        return True
    called_so = "norm" in type(module).__name__.lower()
    return called_so and not any(isinstance(inner, nn.Conv2d | nn.Linear) for inner in module.modules())


def _why_not(norm: nn.Module, norm_calls: int, conv_calls: int) -> str | None:
    if passport_kind(norm) is None:
        return f"{type(norm).__name__} is none of {', '.join(known_norms())}"
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
        public_affine: keep the norms' own scale and shift, where they have them, as the public branch (schemes V2 and
            V3), or not (V1).

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
        conv, norm = projection_of(protected, found.conv), protected.get_submodule(found.norm)
        _become_passport_layer(norm, conv, passport[found.conv], public_affine)
    return protected


# A layer changes its class and stays the same object: whatever it is called, and wherever else the network keeps it
# (under a second name, in a list), it is the passport layer there too, and the plain norm again once it is stripped.


def _become_passport_layer(norm: nn.Module, conv: Projection, passport: Tensor, public_affine: bool) -> None:
    plain_affine = tuple(name for name in AFFINE if getattr(norm, name, None) is not None)
    if not public_affine:
        _set_affine(norm, {})
    plain, kind = type(norm), passport_kind(norm)
    assert kind is not None
    norm.__class__ = kind
    assert isinstance(norm, kind)
    norm._tie(conv, passport, plain, plain_affine)
    norm.to(conv.weight)


def _become_plain(layer: PassportLayer, branch: Branch) -> None:
    found = layer.public_affine() if branch is Branch.PUBLIC else layer.folded(*_rounded_once(layer))
    affine = dict(zip(AFFINE, found, strict=True))
    if branch is Branch.PRIVATE:
        _set_affine(layer, affine)
    elif any(layer._parameters[name] is None for name in layer.plain_affine):  # scheme V1 has taken them out
        _set_affine(layer, {name: affine[name] for name in layer.plain_affine})
    plain = layer.plain_kind
    layer._untie()
    layer.__class__ = plain  # type: ignore[assignment]


def _rounded_once(layer: PassportLayer) -> tuple[Tensor, Tensor]:
    """The passport's scale and shift as they are stored, each (1, C): summed in float64, alike on every processor."""
    weight, means = layer.conv.weight, layer.patch_means[0].double()  # (2, G, D)
    rows = filters(weight.detach()).double().unflatten(0, (means.shape[1], -1))  # no product of matrices: its buffers
    gamma, beta = ((rows * mean[:, None]).sum(-1).flatten().to(weight) for mean in means)  # are larger than all of this
    return gamma[None], beta[None]


def _set_affine(norm: nn.Module, values: Mapping[str, Tensor]) -> None:
    """Gives a norm a scale and a shift, each (1, C), one of them, or none; RMS norm has no place for a shift."""
    setattr(norm, "affine" if hasattr(norm, "affine") else "elementwise_affine", bool(values))
    for name in AFFINE:
        if name in norm._parameters:
            norm.register_parameter(name, nn.Parameter(values[name][0].detach().clone()) if name in values else None)


@own_world()
def strip(network: nn.Module, branch: Branch = Branch.PUBLIC, images: Tensor | None = None) -> nn.Module:
    """A plain copy of a protected network: what is given away.

    Args:
        network: a protected network; left as it was.
        branch: PUBLIC keeps the public scale and shift (1 and 0 where scheme V1 has taken them out); PRIVATE folds the
            passport's scale and shift into the norms as constants.
        images: what batch norms behind the passport layers take their running statistics from, (N, C, H, W), in one
            batch. None keeps the network's own, which in V2 and V3 are those of the public branch.

    Returns:
        The plain architecture; its `state_dict` loads into the plain class, and no passport is in it. One exception: a
        norm that never had a scale and shift (`affine=False`) gets them with PRIVATE, as there is no other place for
        the passport's.

    Raises:
        InputError: something else in the network holds a passport layer, or what was computed from the passport.
    """
    plain = copy.deepcopy(network)
    layers = [module for module in plain.modules() if isinstance(module, PassportLayer)]
    secrets = [layer.patch_means for layer in layers]
    if images is not None:
        _take_statistics(plain, branch, images)
    for layer in layers:
        _become_plain(layer, branch)
    _check_plain(plain, secrets)
    return plain


def _take_statistics(network: nn.Module, branch: Branch, images: Tensor) -> None:
    norms = norms_behind(network)
    with evaluating(network), presenting(network, affines_of(network, branch)):
        seen = of_one_batch(norms, lambda: answer_of(network, images))
    for norm, (mean, var) in seen.items():
        norm.running_mean, norm.running_var = mean, var


def _check_plain(network: nn.Module, secrets: Sequence[Tensor]) -> None:
    """Sees that nothing of a passport is left, wherever a network may keep it.

    Raises:
        InputError: something is.
    """
    storages = {secret.untyped_storage().data_ptr() for secret in secrets} - {0}  # of no memory at all
    telling = [secret.flatten() for secret in secrets if secret.unique().numel() > 1]  # not the passport of zeros
    for thing in reachable(network):
        held = "a passport layer" if isinstance(thing, PassportLayer) else None
        if isinstance(thing, Tensor) and not is_lazy(thing) and thing.layout is torch.strided:
            same = any(
                thing.numel() == secret.numel() and torch.equal(thing.detach().flatten().to(secret), secret)
                for secret in telling
            )
            if same or thing.untyped_storage().data_ptr() in storages:
                held = "a passport's patch means"
        if held:
            raise InputError(
                "network",
                type(network).__name__,
                f"holds {held} besides its modules, so it cannot be given away",
                "keep no norm or buffer in a function or an object of your own, or load the state_dict of the "
                "protected network's public branch into a plain network",
            )


def reachable(root: object) -> Iterator[object]:
    """An object and all that it holds: attributes, items, what its functions close over; not classes and modules."""
    seen: dict[int, object] = {}
    waiting = [root]
    while waiting:
        thing = waiting.pop()
        if id(thing) in seen or isinstance(thing, type | ModuleType):
            continue
        seen[id(thing)] = thing  # kept, so that nothing new gets its id
        yield thing
        if isinstance(thing, FunctionType):  # all its globals are not its own
            waiting += [thing.__closure__, thing.__defaults__, thing.__kwdefaults__, thing.__dict__]
        else:
            waiting += gc.get_referents(thing)


@own_world()
def fold(network: nn.Module, example: Tensor) -> nn.Module:
    """A plain copy for inference, with every batch norm folded into the convolution before it.

    Args:
        network: a plain network; left as it was. Give `strip(network, Branch.PRIVATE)` for one that works with its
            passport, as in scheme V1.
        example: an input for the network, used to follow one forward pass.

    Returns:
        The network in evaluation mode: faster, with the same answers, and no longer to be trained or protected. A norm
        that cannot be folded (group norm, batch norm without running statistics) stays.

    Raises:
        InputError: the network is still protected, or answers differently once it is folded.
    """
    if any(isinstance(module, PassportLayer) for module in network.modules()):
        raise InputError("network", type(network).__name__, "has passport layers", "strip it first")
    folded = copy.deepcopy(network).eval()
    for found in find_layers(folded, example):
        conv, norm = folded.get_submodule(found.conv), folded.get_submodule(found.norm)
        if isinstance(norm, nn.BatchNorm2d) and norm.running_mean is not None:
            assert isinstance(conv, nn.Conv2d)
            _replace(folded, conv, fuse_conv_bn_eval(conv, norm))
            _replace(folded, norm, behind(norm))
    with evaluating(network), evaluating(folded):
        same = torch.allclose(answer_of(folded, example), answer_of(network, example), rtol=1e-3, atol=1e-3)
    if not same:
        raise InputError(
            "network", type(network).__name__, "uses a convolution's output twice", "run it with its norms as they are"
        )
    return folded


def _replace(network: nn.Module, old: nn.Module, new: nn.Module) -> None:
    """Puts a module in another's place, under every name that it has."""
    for holder in network.modules():
        for name, child in holder._modules.items():
            if child is old:
                holder._modules[name] = new
