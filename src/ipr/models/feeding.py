"""What feeds a norm, found by one forward pass: a convolution directly, or the projection added last to what it sees.

Norms over the batch or over groups follow their convolution: its output is their input. Layer norms and RMS norms see
a residual sum. There autograd's graph is walked back from what the norm is given, through additions, products and
changes of shape, to the outputs of convolutions and linear layers; of those with as many channels as the norm it is the
one that ran last.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from ipr.models.inspection import Projection, answer_of, evaluating, recorded

SUM_NORMS = ("LayerNorm", "RMSNorm", "RmsNorm")
"""What the class of a norm that may see a sum is called, wherever it stands in the name."""

VIEWS = frozenset((
    "View", "UnsafeView", "ReshapeAlias", "Permute", "Transpose", "T", "Clone", "Expand", "Slice", "Select", "Squeeze",
    "Unsqueeze", "Roll", "Index", "IndexSelect", "Copy", "ToCopy", "Dropout", "NativeDropout", "Alias", "Split",
    "SplitWithSizes", "Unbind", "Mean", "ConstantPadNd",
))  # fmt: skip
"""What leaves channels what they are: names of nodes in autograd's graph, without `Backward0`."""

_SUMMED = VIEWS | {"Add", "Sub", "Mul", "Div", "Cat", "Where"}
"""What adds others to them, or scales them."""


@dataclass(frozen=True)
class Fed:
    """A norm in one forward pass, and what feeds it.

    Attributes:
        conv: the convolution or linear layer.
        norm: the norm.
        input_shape: of what `conv` received, (C_in, H, W); of a linear layer (C_in, T, 1).
    """

    conv: Projection
    norm: nn.Module
    input_shape: tuple[int, int, int]


@dataclass(frozen=True)
class _Made:
    """An output of a projection: when it was made, and autograd's node for it."""

    output: Tensor
    conv: Projection
    input_shape: tuple[int, int, int]


def is_sum_norm(norm: nn.Module) -> bool:
    """Whether a norm may see a residual sum."""
    return any(part in kind.__name__ for kind in type(norm).__mro__ for part in SUM_NORMS)


def fed_norms(network: nn.Module, example: Tensor, norms: Iterable[nn.Module]) -> list[Fed]:
    """Norms and what feeds them in one forward pass, in its order.

    Args:
        network: left as it was.
        example: an input for it.
        norms: those of its modules that are looked at.

    Raises:
        InputError: the network answers with something else than one tensor.
    """
    wanted = list(norms)
    made: list[_Made] = []
    found: list[Fed] = []

    def after_projection(module: nn.Module, args: tuple[Tensor, ...], output: Any) -> None:
        if isinstance(module, nn.MultiheadAttention):  # uses the weights of its last projection without calling it
            made.append(_Made(output[0], module.out_proj, _shape(args[0], module.out_proj)))
        elif isinstance(module, Projection) and args and isinstance(output, Tensor):
            made.append(_Made(output, module, _shape(args[0], module)))

    def before_norm(module: nn.Module, args: tuple[Tensor, ...]) -> None:
        one = _feeding(module, args[0], made) if args else None
        if one is None or (
            is_sum_norm(module) and any(other.conv is one.conv for other in found if other.norm is not module)
        ):
            return  # a sum is seen by the next norm, too, where what was added between is not called as a module
        found.append(Fed(one.conv, module, one.input_shape))

    with ExitStack() as stack:
        for module in network.modules():
            if isinstance(module, Projection | nn.MultiheadAttention):
                stack.callback(module.register_forward_hook(after_projection).remove)
        for norm in wanted:
            stack.callback(norm.register_forward_pre_hook(before_norm).remove)
        summed = any(is_sum_norm(norm) for norm in wanted)  # a graph is recorded where one is walked
        stack.enter_context(recorded(network) if summed else evaluating(network))
        answer_of(network, example.detach().requires_grad_() * 1 if summed else example)
    return found


def _shape(x: Tensor, projection: Projection) -> tuple[int, int, int]:
    if isinstance(projection, nn.Linear):
        return projection.in_features, max(x[0].numel() // projection.in_features, 1), 1
    channels, height, width = x.shape[1:]
    return channels, height, width


def _feeding(norm: nn.Module, x: Tensor, made: list[_Made]) -> _Made | None:
    """What feeds a norm that is given `x`."""
    if not is_sum_norm(norm):
        return next((one for one in reversed(made) if one.output is x and isinstance(one.conv, nn.Conv2d)), None)
    nodes = {one.output.grad_fn: rank for rank, one in enumerate(made) if one.output.grad_fn is not None}
    ranks = [nodes[node] for node in behind(x.grad_fn, _SUMMED, nodes)]
    channels = getattr(norm, "normalized_shape", ())
    fitting = [rank for rank in ranks if channels == (made[rank].conv.weight.shape[0],)]
    return made[max(fitting)] if fitting else None


def readers_of(network: nn.Module, example: Tensor, norm: nn.Module) -> list[tuple[Tensor, Tensor | None]]:
    """The weights that read a norm's output, (N, C), and their biases: of linear layers, and of torch's attention.

    Whether nothing else reads it, it does not tell.

    Args:
        network: left as it was.
        example: an input for it.
        norm: one of its modules.
    """
    given: list[Any] = []
    found: list[tuple[Tensor, Tensor | None]] = []

    def before(module: nn.Module, args: tuple[Any, ...]) -> None:
        if isinstance(module, nn.MultiheadAttention):
            weight, bias = module._parameters["in_proj_weight"], module._parameters["in_proj_bias"]
        else:
            weight, bias = module._parameters["weight"], module._parameters["bias"]
        if weight is not None and args and any(True for _ in behind(args[0].grad_fn, VIEWS, given)):
            found.append((weight.data, None if bias is None else bias.data))

    with ExitStack() as stack:
        stack.callback(norm.register_forward_hook(lambda _, __, output: given.append(output.grad_fn)).remove)
        for module in network.modules():
            if isinstance(module, nn.Linear | nn.MultiheadAttention):
                stack.callback(module.register_forward_pre_hook(before).remove)
        stack.enter_context(recorded(network))
        answer_of(network, example.detach().requires_grad_() * 1)
    return found


def behind(node: Any, passed: Container[str], ends: Container[Any]) -> Iterator[Any]:
    """The nodes of `ends` that autograd's graph reaches from a node, through nodes of the names given."""
    seen, waiting = set(), [node]
    while waiting:
        here = waiting.pop()
        if here is None or here in seen:
            continue
        seen.add(here)
        if here in ends:
            yield here
        elif here.name().partition("Backward")[0] in passed:
            waiting += [source for source, _ in here.next_functions]
