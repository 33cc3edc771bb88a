"""Using any network from outside: evaluation mode, its parts by their kind, and its answers and features."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from ipr.errors import InputError

Projection = nn.Conv2d | nn.Linear
"""What a passport is applied to: W_p of Eq. 4."""


def projection_of(network: nn.Module, name: str) -> Projection:
    """The convolution or linear layer of a name.

    Raises:
        AttributeError: there is nothing of this name.
        TypeError: it is something else.
    """
    module = network.get_submodule(name)
    if not isinstance(module, Projection):
        raise TypeError(f"{name} is {type(module).__name__}: neither a convolution nor a linear layer")
    return module


def groups_of(projection: Projection) -> int:
    """G: the groups of a convolution; 1 of a linear layer."""
    return 1 if isinstance(projection, nn.Linear) else projection.groups


@contextmanager
def evaluating(network: nn.Module) -> Iterator[None]:
    """Inside, the network is in evaluation mode without gradients; afterwards every module is as it was."""
    with in_evaluation_mode(network), torch.no_grad():
        yield


@contextmanager
def frozen(network: nn.Module) -> Iterator[None]:
    """Inside, the network is in evaluation mode and its weights take no gradients, while its inputs may."""
    with in_evaluation_mode(network), _taking_gradients(network, False):
        yield


@contextmanager
def recorded(network: nn.Module) -> Iterator[None]:
    """Inside, the network is in evaluation mode, and autograd's graph of a pass holds all of its weights.

    What modules note meanwhile is forgotten: a tensor with a graph behind it could not be copied with them.
    """
    with _forgetting(network), in_evaluation_mode(network), _taking_gradients(network, True), torch.enable_grad():
        yield


@contextmanager
def _forgetting(network: nn.Module) -> Iterator[None]:
    noted = [module.__dict__ for module in network.modules()]
    before = [(dict(own), {name: dict(value) for name, value in own.items() if type(value) is dict}) for own in noted]
    try:
        yield
    finally:
        for own, (attributes, contents) in zip(noted, before, strict=True):
            own.clear()
            own.update(attributes)
            for name, content in contents.items():
                own[name].clear()
                own[name].update(content)


@contextmanager
def _taking_gradients(network: nn.Module, take: bool) -> Iterator[None]:
    learning = {parameter: parameter.requires_grad for parameter in network.parameters()}
    for parameter in learning:
        parameter.requires_grad_(take and parameter.is_floating_point())
    try:
        yield
    finally:
        for parameter, learns in learning.items():
            parameter.requires_grad_(learns)


@contextmanager
def in_evaluation_mode(network: nn.Module) -> Iterator[None]:
    """Inside, the network is in evaluation mode; afterwards every module is as it was."""
    modes = {module: module.training for module in network.modules()}
    network.eval()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode


def is_norm(module: nn.Module) -> bool:
    """Whether a module is a norm that may carry a passport: of batches, groups or layers, or RMS norm."""
    known = isinstance(module, nn.BatchNorm2d | nn.GroupNorm | nn.LayerNorm | nn.RMSNorm)
    return known or type(module).__name__.startswith("RmsNorm")


def logits_of(network: nn.Module, x: Tensor) -> Tensor:
    """A network's answers, (B, K).

    Raises:
        InputError: it answers with something else.
    """
    answer = answer_of(network, x)
    if answer.dim() != 2 or answer.shape[0] != x.shape[0]:
        raise _no_logits(network, f"a tensor of shape {tuple(answer.shape)} to {x.shape[0]} images")
    return answer


def answer_of(network: nn.Module, x: Tensor) -> Tensor:
    """A network's answer, of whatever shape.

    Raises:
        InputError: it is no tensor.
    """
    return tensor_of(network, network(x))


def tensor_of(network: nn.Module, answer: object) -> Tensor:
    """An answer of a network, if it is a tensor.

    Raises:
        InputError: it is none.
    """
    if not isinstance(answer, Tensor):
        raise _no_logits(network, type(answer).__name__)
    return answer


def _no_logits(network: nn.Module, answer: str) -> InputError:
    what, remedy = type(network).__name__, "wrap it in a module whose forward returns its logits alone"
    return InputError("network", what, f"answers with {answer}, and not with logits (B, K)", remedy)


def device_of(network: nn.Module) -> torch.device:
    """Where a network's weights are.

    Raises:
        InputError: it is no module, or has none.
    """
    if not isinstance(network, nn.Module):
        remedy = "give an nn.Module; to judge what only answers: ipr.BlackBox and ipr.judge_black_box"
        raise InputError("network", type(network).__name__, "is no module of torch", remedy)
    for tensor in (*network.parameters(), *network.buffers()):
        return tensor.device
    raise InputError("network", type(network).__name__, "has no weights", "give the network that has them")


def classifier_of(network: nn.Module) -> tuple[str, nn.Linear]:
    """The last linear layer of a network and its name.

    Raises:
        InputError: there is none.
    """
    found = [(name, module) for name, module in network.named_modules() if isinstance(module, nn.Linear)]
    if not found:
        raise InputError("model", type(network).__name__, "has no linear classifier", "choose another model")
    return found[-1]


def convolution_of(network: nn.Module, name: str) -> tuple[str, nn.Conv2d]:
    """A convolution by its name, or the first one in the module of that name; with its full name.

    Raises:
        InputError: there is none.
    """
    convolutions = {n: m for n, m in network.named_modules() if isinstance(m, nn.Conv2d)}
    for found, convolution in convolutions.items():
        if found == name or found.startswith(f"{name}."):
            return found, convolution
    raise InputError("scheme.layer", name, "is no convolution", f"choose among: {', '.join(convolutions)}")


def logits_and_features(network: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    """A network's logits (B, K) and what its classifier sees, (B, N), from one pass."""
    seen: list[Tensor] = []
    _, classifier = classifier_of(network)
    handle = classifier.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    try:
        logits = logits_of(network, x)
    finally:
        handle.remove()
    return logits, seen[0]
