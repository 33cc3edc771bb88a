"""Whose weights are whose: from the names of a file, or the layers of a graph, to the names of a network."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial

from torch import Tensor, nn

from ipr.models.inspection import evaluating, is_norm
from ipr.suspects.checks import FLOATS, INTEGERS, Refusal, shown
from ipr.suspects.layer import Layer

AS_TRAINED = "give model, model.norm, model.width and dataset as it was trained"
UNFOLDED = "export it with its norms and names: torch.onnx.export(..., optimize=False), or give safetensors"

_NORMS = (nn.BatchNorm2d, nn.GroupNorm)
KINDS: dict[str, tuple[type[nn.Module], ...]] = {
    "convolution": (nn.Conv2d,),
    "norm": _NORMS,
    "linear": (nn.Linear,),
}
"""Kinds of layers in a graph, and what they are in a network."""


def may_be_missing(network: nn.Module) -> set[str]:
    """What a file may lack: affines of norms (scheme V1 gives them away as 1 and 0), and counts of batches."""
    norms = [name for name, module in network.named_modules() if is_norm(module)]
    return {f"{name}.{part}" for name in norms for part in ("weight", "bias", "num_batches_tracked")}


def common_prefix(network: nn.Module, names: Iterable[str]) -> str:
    """What stands before the names of a network in a file of another project: `net.`, `model.backbone.`; "" if nothing.

    The names of everything that the network needs must stand behind it. What else the file holds does not matter then:
    losses and metrics, and heads that are not judged.

    Raises:
        Refusal: it holds several such networks.
    """
    given = set(names)
    needed = sorted(network.state_dict().keys() - may_be_missing(network))
    if not needed or given.issuperset(needed):
        return ""
    first = needed[0]
    prefixes = [name.removesuffix(first) for name in given if name.endswith(f".{first}")]
    found = sorted(prefix for prefix in prefixes if all(prefix + name in given for name in needed))
    if len(found) > 1:
        raise Refusal(f"holds {len(found)} such networks ({_first(found)})", "save one of them alone, as safetensors")
    return found[0] if found else ""


def under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors whose names begin so, without it."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def by_names(network: nn.Module, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors under the names of the network's `state_dict`.

    Raises:
        Refusal: one has no place, is missing, or has another shape or type; the first of them is named.
    """
    wanted = network.state_dict()
    if extra := sorted(tensors.keys() - wanted.keys()):
        raise _misfit(network, f"{_first(extra)} has no place")
    if missing := sorted(wanted.keys() - tensors.keys() - may_be_missing(network)):
        raise _misfit(network, f"{_first(missing)} is missing")
    for name, reference in wanted.items():
        if name in tensors:
            _check_fits(network, name, reference, tensors[name])
    return dict(tensors)


def by_graph(network: nn.Module, tensors: Mapping[str, Tensor], layers: Sequence[Layer]) -> dict[str, Tensor]:
    """The tensors of an ONNX model: by names if it kept all of them, else by the kind and the order of its layers.

    In the second case the n-th convolution of a shape in the graph is the n-th of that shape in the network, and so on.
    This one way is tried and no other: which of several equal layers is which is not searched for.

    Raises:
        Refusal: the layers do not match.
    """
    wanted = network.state_dict()
    needed = [name for name in wanted if not name.endswith(".num_batches_tracked")]
    if all(name in tensors for name in needed):  # beside them stand the constants of the graph
        return by_names(network, {name: tensors[name] for name in wanted if name in tensors})
    if any(isinstance(module, nn.LayerNorm | nn.MultiheadAttention) for module in network.modules()):
        problem = "is the graph of a transformer without the names of its weights, so that its layers cannot be matched"
        raise Refusal(problem, "give its weights as safetensors")
    places = {name: module for name, module in network.named_modules() if isinstance(module, sum(KINDS.values(), ()))}
    if any(isinstance(module, _NORMS) for module in places.values()) and not any(x.kind == "norm" for x in layers):
        raise Refusal("has its norms folded into its convolutions, so that its layers cannot be matched", UNFOLDED)
    matched: dict[str, Tensor] = {}
    for kind, types in KINDS.items():
        own = [(name, module.state_dict()) for name, module in places.items() if isinstance(module, types)]
        given = [layer.tensors for layer in layers if layer.kind == kind]
        shapes = [tuple(state["weight"].shape) for _, state in own]
        for shape in dict.fromkeys([*shapes, *(tuple(layer["weight"].shape) for layer in given)]):
            alike = [layer for layer in given if tuple(layer["weight"].shape) == shape]
            if len(alike) != shapes.count(shape):
                problem = f"it has {len(alike)} and not {shapes.count(shape)} {kind}s of shape {shape}"
                raise _misfit(network, problem)
            here = [(name, state) for name, state in own if tuple(state["weight"].shape) == shape]
            for (name, state), layer in zip(here, alike, strict=True):
                for part in layer.keys() - state.keys():
                    raise _misfit(network, f"its {kind} for {name} has a {part}")
                matched |= {f"{name}.{part}": tensor for part, tensor in layer.items()}
    return by_names(network, matched)


def by_order(network: nn.Module, example: Tensor, layers: Sequence[Layer]) -> dict[str, Tensor]:
    """The tensors of an ONNX model whose layers have other shapes: by their kind and the order in which they run.

    Args:
        network: of the layers that are expected; it may lack memory, and is run once.
        example: an input for it.
        layers: those of the graph. There may be no norm at all, where all were folded.

    Raises:
        Refusal: there are more of a kind, or fewer, than the network runs.
    """
    ran: list[tuple[str, nn.Module]] = []
    with ExitStack() as stack:
        for name, module in network.named_modules():
            if isinstance(module, sum(KINDS.values(), ())):
                seen = partial(lambda one, *_: ran.append(one), (name, module))
                stack.callback(module.register_forward_hook(seen).remove)
        stack.enter_context(evaluating(network))
        network(example)
    found: dict[str, Tensor] = {}
    for kind, types in KINDS.items():
        own = [name for name, module in ran if isinstance(module, types)]
        given = [layer for layer in layers if layer.kind == kind]
        if len(own) != len(given) and not (kind == "norm" and not given):
            raise _misfit(network, f"it runs {len(given)} and not {len(own)} {kind}s")
        for name, layer in zip(own, given, strict=False):
            found |= {f"{name}.{part}": tensor for part, tensor in layer.tensors.items()}
    return found


def _check_fits(network: nn.Module, name: str, wanted: Tensor, given: Tensor) -> None:
    """Refuses a tensor of another shape, or integers for floats or the reverse."""
    if given.shape != wanted.shape:
        raise _misfit(network, f"{shown(name)}: {tuple(given.shape)}, not {tuple(wanted.shape)}")
    if given.dtype not in (FLOATS if wanted.dtype in FLOATS else INTEGERS):
        raise Refusal(f"{shown(name)} is of type {given.dtype}", f"save it as {wanted.dtype}")


def _first(names: Sequence[str], count: int = 3) -> str:
    more = f" and {len(names) - count} more" if len(names) > count else ""
    return ", ".join(map(shown, names[:count])) + more


def _misfit(network: nn.Module, problem: str) -> Refusal:
    return Refusal(f"does not fit {type(network).__name__} ({problem})", AS_TRAINED)
