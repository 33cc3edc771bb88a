"""What is free within a transformer's blocks: the order of an MLP's hidden units, and the basis of a head's values.

Hidden units may change places: rows of the layer that makes them, columns of the one that takes them. What a head of
attention says is V x mixed by O: any invertible A may stand between them, A V and O A^-1.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ipr.models.feeding import VIEWS, behind
from ipr.models.inspection import answer_of, recorded

_BENT = frozenset(("Gelu", "Relu", "Silu", "QuickGelu", "Hardswish", "Elu", "LeakyRelu", "Tanh"))
"""What acts on each hidden unit alone: names of nodes in autograd's graph, without `Backward0`."""


@dataclass(frozen=True)
class Hidden:
    """The hidden units of an MLP: what makes them, (N, C), and what takes them, (C, N)."""

    maker: nn.Linear
    taker: nn.Linear


@dataclass(frozen=True)
class Values:
    """Attention's values: views of its weights, to be changed in place.

    Attributes:
        weight: V, (heads, C / heads, C).
        bias: of V, (heads, C / heads); None where there is none.
        out: O, (C, heads, C / heads).
    """

    weight: Tensor
    bias: Tensor | None
    out: Tensor


def hidden_of(network: nn.Module, example: Tensor) -> list[Hidden]:
    """The MLPs of a network, in its order, by one forward pass: two linear layers with an activation between them."""
    made: dict[Any, nn.Linear] = {}
    found: list[Hidden] = []

    def before(module: nn.Module, args: tuple[Any, ...]) -> None:
        assert isinstance(module, nn.Linear)
        makers = [made[node] for node in behind(args[0].grad_fn, VIEWS | _BENT, made)] if args else []
        if len(makers) == 1 and makers[0].out_features == module.in_features:
            found.append(Hidden(makers[0], module))

    def after(module: nn.Module, args: Any, output: Any) -> None:
        assert isinstance(module, nn.Linear)
        made[output.grad_fn] = module

    with ExitStack() as stack:
        for module in network.modules():
            if isinstance(module, nn.Linear):
                stack.callback(module.register_forward_pre_hook(before).remove)
                stack.callback(module.register_forward_hook(after).remove)
        stack.enter_context(recorded(network))
        answer_of(network, example.detach().requires_grad_() * 1)
    return found


def values_of(network: nn.Module) -> list[Values]:
    """The values of every attention: torch's, and modules with `qkv`, `proj` and `num_heads`, as timm's."""
    found: list[Values] = []
    out: nn.Module
    for module in network.modules():
        if isinstance(module, nn.MultiheadAttention):
            packed, bias, out = (
                *(module._parameters[f"in_proj_{part}"] for part in ("weight", "bias")),
                module.out_proj,
            )
        elif all(isinstance(getattr(module, part, None), nn.Linear) for part in ("qkv", "proj")):
            qkv, out = module.get_submodule("qkv"), module.get_submodule("proj")
            packed, bias = qkv._parameters["weight"], qkv._parameters["bias"]
        else:
            continue
        heads, weight = getattr(module, "num_heads", 0), out.get_parameter("weight")
        if packed is None or not isinstance(heads, int) or packed.shape[0] != 3 * weight.shape[1]:
            continue
        split = (heads, weight.shape[1] // heads)
        own = packed.data[2 * weight.shape[1] :].unflatten(0, split)
        offset = None if bias is None else bias.data[2 * weight.shape[1] :].unflatten(0, split)
        found.append(Values(own, offset, weight.data.unflatten(1, split)))
    return found


@torch.no_grad()
def reorder(hidden: Hidden, order: Tensor) -> None:
    """Unit n becomes what unit order[n] was, (N,), in place."""
    hidden.maker.weight.copy_(hidden.maker.weight[order])
    if hidden.maker.bias is not None:
        hidden.maker.bias.copy_(hidden.maker.bias[order])
    hidden.taker.weight.copy_(hidden.taker.weight[:, order])


@torch.no_grad()
def mix(values: Values, head: int, by: Tensor) -> None:
    """A head's values in another basis, in place; by: A, invertible, float64."""
    by = by.to(values.weight.device)
    values.weight[head] = (by @ values.weight[head].double()).to(values.weight)
    if values.bias is not None:
        values.bias[head] = (by @ values.bias[head].double()).to(values.bias)
    values.out[:, head] = (values.out[:, head].double() @ torch.linalg.inv(by)).to(values.out)
