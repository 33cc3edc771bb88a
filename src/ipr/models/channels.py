"""Which weights of a network belong to one channel, and what may be done to channels without changing any answer.

A channel goes through a network: it is made by the rows of one layer or of several (a residual stream), passes norms,
ReLU and pooling, and is taken by the columns of the next layers. Who moves it along all of this moves nothing of the
function. What is found here is used by `models/gauge.py`, which does it.

Everything is found by following the traced graph (torch.fx), never by names. What is not understood (an operation that
is not listed, channels that are joined, groups of a convolution) pins its channels to where they are, and says so.
"""

from __future__ import annotations

import math
import operator
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, fx, nn
from torch.fx.passes.shape_prop import ShapeProp
from torch.nn import functional

from ipr.errors import InputError
from ipr.models.inspection import evaluating


@dataclass(frozen=True)
class Axis:
    """Where the channels of a set stand: an axis of a tensor, `repeat` entries in a row for each channel."""

    tensor: str
    axis: int
    repeat: int = 1


@dataclass(frozen=True)
class ChannelSet:
    """Channels that move together, in the order in which the network makes them.

    Attributes:
        channels: C, how many.
        block: what stays together: a permutation moves whole blocks of so many, and channels within them. C where
            there are no blocks, so that any order will do.
        axes: every axis along which the channels stand.
        makers: the convolutions and linear layers whose rows make them.
        takers: those whose columns take them, with the repeat of each (a flattened map).
        pinned: why they cannot move; "" where they can.
    """

    channels: int
    block: int
    axes: tuple[Axis, ...]
    makers: tuple[str, ...]
    takers: tuple[tuple[str, int], ...]
    pinned: str


@dataclass(frozen=True)
class Segment:
    """A stretch of a channel's way where a factor may be put in and taken out again.

    Attributes:
        channels: C.
        block: the factor is one number in blocks of so many; 1 where each channel has its own.
        signed: whether a factor may be below 0; it is above 0 where a ReLU lies between.
        makers: layers whose rows (or scale and shift) take the factor.
        takers: layers that undo it, with the repeat of each: by their columns, or by normalising it away.
    """

    channels: int
    block: int
    signed: bool
    makers: tuple[str, ...]
    takers: tuple[tuple[str, int], ...]


@dataclass(frozen=True)
class Symmetry:
    """What may be done to a network without changing its answers."""

    sets: tuple[ChannelSet, ...]
    segments: tuple[Segment, ...]

    @property
    def free(self) -> tuple[ChannelSet, ...]:
        """The sets that may be permuted."""
        return tuple(one for one in self.sets if not one.pinned)


BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)

_LINEAR = (nn.Identity, nn.Dropout, nn.Dropout2d, nn.AvgPool2d, nn.AdaptiveAvgPool2d, nn.Flatten)
_POSITIVE = (nn.ReLU, nn.LeakyReLU, nn.MaxPool2d, nn.AdaptiveMaxPool2d)
_BENT = (nn.ReLU6, nn.SiLU, nn.GELU, nn.Hardswish, nn.Hardsigmoid, nn.Sigmoid, nn.Tanh, nn.ELU, nn.Mish, nn.Softplus)

_LINEAR_CALLS: set[Any] = {
    torch.flatten, torch.mean, functional.avg_pool2d, functional.adaptive_avg_pool2d, functional.dropout, "flatten",
    "view", "reshape", "mean", "contiguous", "stochastic_depth",
}  # fmt: skip
_POSITIVE_CALLS: set[Any] = {
    torch.relu, functional.relu, functional.leaky_relu, functional.max_pool2d, functional.adaptive_max_pool2d, "relu",
    "relu_", "boolean_dispatch",
}  # fmt: skip
_BENT_CALLS: set[Any] = {
    torch.sigmoid, torch.tanh, functional.silu, functional.gelu, functional.hardswish, functional.hardsigmoid,
    functional.relu6, "sigmoid", "tanh",
}  # fmt: skip
_SUMS: set[Any] = {operator.add, operator.iadd, torch.add, "add", "add_"}
_PRODUCTS: set[Any] = {operator.mul, operator.imul, torch.mul, "mul", "mul_"}
_SIZES: set[Any] = {getattr, "size", "dim", "numel"}


def symmetry(network: nn.Module, example: Tensor) -> Symmetry:
    """Follows a network's graph in evaluation mode.

    Args:
        network: a plain network; left as it was.
        example: an input for it, shape (1, C, H, W).

    Raises:
        InputError: the network cannot be traced.
    """
    with evaluating(network):
        try:
            graph = fx.Tracer().trace(network)
            ShapeProp(fx.GraphModule(network, graph)).propagate(example)
        except (fx.proxy.TraceError, TypeError, RuntimeError, AttributeError, NotImplementedError) as error:
            problem = f"its channels cannot be followed ({str(error).splitlines()[0] if str(error) else 'no graph'})"
            raise InputError("network", type(network).__name__, problem, "give one that torch.fx can trace") from error
    return _Walk(network, graph).result()


@dataclass
class _Value:
    """Channels on their way: indices of a set and a segment, and how many entries in a row are one channel."""

    group: int
    segment: int
    repeat: int = 1


@dataclass
class _Facts:
    """What is known of one set, or of one segment, until it is joined to others."""

    channels: int
    blocks: set[int] = field(default_factory=set)
    axes: list[Axis] = field(default_factory=list)
    makers: list[str] = field(default_factory=list)
    takers: list[tuple[str, int]] = field(default_factory=list)
    pinned: str = ""
    signed: bool = True

    def take(self, other: _Facts) -> None:
        self.blocks |= other.blocks
        self.axes += other.axes
        self.makers += other.makers
        self.takers += other.takers
        self.signed = self.signed and other.signed
        self.pin(other.pinned)

    def pin(self, reason: str) -> None:
        self.pinned = self.pinned or reason

    def as_set(self) -> ChannelSet:
        inner = {block for block in self.blocks if 1 < block < self.channels}
        block = min(inner) if len(inner) == 1 else self.channels
        reason = self.pinned or ("their norms have groups of several sizes" if len(inner) > 1 else "")
        return ChannelSet(self.channels, block, tuple(self.axes), tuple(self.makers), tuple(self.takers), reason)


class _Joined:
    """Disjoint sets of facts."""

    def __init__(self) -> None:
        self.parents: list[int] = []
        self.facts: list[_Facts] = []

    def new(self, channels: int) -> int:
        self.parents.append(len(self.parents))
        self.facts.append(_Facts(channels))
        return len(self.parents) - 1

    def root(self, index: int) -> int:
        while self.parents[index] != index:
            index = self.parents[index]
        return index

    def of(self, index: int) -> _Facts:
        return self.facts[self.root(index)]

    def join(self, one: int, other: int) -> None:
        first, second = sorted((self.root(one), self.root(other)))
        if first != second:
            self.parents[second] = first
            self.facts[first].take(self.facts[second])

    def roots(self) -> list[_Facts]:
        return [facts for index, facts in enumerate(self.facts) if self.parents[index] == index]


class _Walk:
    """One pass through a graph whose nodes know their shapes."""

    def __init__(self, network: nn.Module, graph: fx.Graph) -> None:
        self.network = network
        self.groups, self.segments = _Joined(), _Joined()
        self.values: dict[fx.Node, _Value] = {}
        self.calls = Counter(str(node.target) for node in graph.nodes if node.op == "call_module")
        owners = Counter(id(tensor) for _, tensor in network.named_parameters(remove_duplicate=False))
        self.shared = {id(t) for t in network.parameters() if owners[id(t)] > 1}
        for node in graph.nodes:
            self._node(node)

    def result(self) -> Symmetry:
        sets = tuple(facts.as_set() for facts in self.groups.roots() if facts.axes)
        segments = tuple(
            Segment(f.channels, block, f.signed, tuple(f.makers), tuple(f.takers))
            for f in self.segments.roots()
            if not f.pinned and f.makers and f.takers and (block := _common(f.blocks)) is not None
        )
        return Symmetry(sets, segments)

    def _node(self, node: fx.Node) -> None:
        if node.op == "placeholder":
            self.values[node] = value = self._new(node)
            self._pin(value, "they are the input")
        elif node.op == "output":
            self._pin_all(node, "they are the output")
        elif node.op == "call_module":
            self._module(node, self.network.get_submodule(str(node.target)))
        elif node.op in ("call_function", "call_method"):
            self._call(node)

    def _module(self, node: fx.Node, module: nn.Module) -> None:
        name = str(node.target)
        value = self._input(node)
        if any(self.calls[name] > 1 or id(parameter) in self.shared for parameter in module.parameters()):
            self._unknown(node, f"{name} is used more than once")
        elif type(module) is nn.Conv2d:
            self._convolution(node, name, module, value)
        elif type(module) is nn.Linear and len(_shape(node)) == 2:
            self._layer(node, name, module, value)
        elif type(module) in BATCH_NORMS or type(module) is nn.GroupNorm:
            self._norm(node, name, module, value)
        elif isinstance(module, _LINEAR):
            self._through(node, value, signed=True)
        elif isinstance(module, _POSITIVE):
            self._through(node, value, signed=False)
        elif isinstance(module, _BENT):
            self._through(node, value, signed=False, frozen=True)
        else:
            self._unknown(node, f"{type(module).__name__} is not understood")

    def _call(self, node: fx.Node) -> None:
        called: Any = node.target
        names = {called, getattr(called, "__name__", None)} if callable(called) else {called}
        if names & _SIZES and "tensor_meta" not in node.meta:
            return
        if names & _SUMS:
            self._together(node, frozen=False)
        elif names & _PRODUCTS:
            self._together(node, frozen=True)
        elif names & _LINEAR_CALLS:
            self._through(node, self._input(node), signed=True)
        elif names & _POSITIVE_CALLS:
            self._through(node, self._input(node), signed=False)
        elif names & _BENT_CALLS:
            self._through(node, self._input(node), signed=False, frozen=True)
        else:
            name = called if isinstance(called, str) else getattr(called, "__name__", str(called))
            self._unknown(node, f"{name} is not understood")

    def _convolution(self, node: fx.Node, name: str, conv: nn.Conv2d, value: _Value | None) -> None:
        if conv.groups == 1:
            self._layer(node, name, conv, value)
            return
        if value is None or not conv.groups == conv.in_channels == conv.out_channels:
            self._unknown(node, f"{name} has groups")
            return
        group = self.groups.of(value.group)  # depthwise: each channel has a filter of its own
        group.axes += self._rows(name, conv)
        self.segments.of(value.segment).takers.append((name, 1))
        segment = self.segments.new(conv.out_channels)
        self.segments.of(segment).makers.append(name)
        self.values[node] = _Value(value.group, segment)

    def _layer(self, node: fx.Node, name: str, layer: nn.Module, value: _Value | None) -> None:
        if value is not None:
            self.groups.of(value.group).axes.append(Axis(f"{name}.weight", 1, value.repeat))
            self.groups.of(value.group).takers.append((name, value.repeat))
            self.segments.of(value.segment).takers.append((name, value.repeat))
        made = self.values[node] = self._new(node)
        self.groups.of(made.group).axes += self._rows(name, layer)
        self.groups.of(made.group).makers.append(name)
        self.segments.of(made.segment).makers.append(name)

    def _norm(self, node: fx.Node, name: str, norm: nn.Module, value: _Value | None) -> None:
        if value is None or value.repeat != 1:
            self._unknown(node, f"{name} follows what is not understood")
            return
        group, before = self.groups.of(value.group), self.segments.of(value.segment)
        group.axes += self._rows(name, norm)
        segment = self.segments.new(before.channels)
        after = self.segments.of(segment)
        before.takers.append((name, 1))
        after.makers.append(name)
        self.values[node] = _Value(value.group, segment)
        if isinstance(norm, nn.GroupNorm):
            block = norm.num_channels // norm.num_groups
            group.blocks.add(block)
            before.blocks.add(block)
        if norm.weight is None or norm.bias is None or (isinstance(norm, BATCH_NORMS) and norm.running_mean is None):
            for segment_facts in (before, after):
                segment_facts.pin(f"{name} has no scale, or no statistics")

    def _rows(self, name: str, module: nn.Module) -> list[Axis]:
        found = {"weight", "bias", "running_mean", "running_var"}
        state = {**dict(module.named_parameters(recurse=False)), **dict(module.named_buffers(recurse=False))}
        return [Axis(f"{name}.{part}", 0) for part in state if part in found]

    def _through(self, node: fx.Node, value: _Value | None, *, signed: bool, frozen: bool = False) -> None:
        if value is None:
            return
        before, after = _shape(node.all_input_nodes[0]), _shape(node)
        spread = _spread(before, after, value.repeat)
        if spread is None:
            self._unknown(node, "a change of shape is not understood")
            return
        facts = self.segments.of(value.segment)
        facts.signed = facts.signed and signed
        if frozen:
            facts.pin("a bent function")
        self.values[node] = _Value(value.group, value.segment, spread)

    def _together(self, node: fx.Node, *, frozen: bool) -> None:
        values = [self.values.get(source) for source in node.all_input_nodes]
        shapes = {_shape(source)[:2] for source in node.all_input_nodes}
        known = [value for value in values if value is not None]
        if len(known) != len(values) or len(shapes) != 1 or len({value.repeat for value in known}) != 1:
            self._unknown(node, "an addition or a product of what has other channels")
            return
        first = known[0]
        for other in known[1:]:
            self.groups.join(first.group, other.group)
            self.segments.join(first.segment, other.segment)
        if frozen or len(values) != 2 or not all(isinstance(a, fx.Node) for a in node.args[:2]):
            self.segments.of(first.segment).pin("a product, or a number added")
        self.values[node] = _Value(first.group, first.segment, first.repeat)

    def _unknown(self, node: fx.Node, reason: str) -> None:
        """Pins what goes in; what comes out is not followed."""
        self._pin_all(node, reason)
        module = self.network.get_submodule(str(node.target)) if node.op == "call_module" else None
        if isinstance(module, nn.Conv2d | nn.Linear) and self.calls[str(node.target)] == 1 and len(_shape(node)) > 1:
            self.values[node] = value = self._new(node)
            self._pin(value, reason)

    def _input(self, node: fx.Node) -> _Value | None:
        sources = node.all_input_nodes
        return self.values.get(sources[0]) if sources else None

    def _new(self, node: fx.Node) -> _Value:
        shape = _shape(node)
        channels = shape[1] if len(shape) > 1 else 1
        return _Value(self.groups.new(channels), self.segments.new(channels))

    def _pin_all(self, node: fx.Node, reason: str) -> None:
        for source in node.all_input_nodes:
            if (value := self.values.get(source)) is not None:
                self._pin(value, reason)

    def _pin(self, value: _Value, reason: str) -> None:
        for facts in (self.groups.of(value.group), self.segments.of(value.segment)):
            facts.pin(reason)


def _shape(node: fx.Node) -> tuple[int, ...]:
    return tuple(map(int, getattr(node.meta.get("tensor_meta"), "shape", ())))


def _spread(before: Sequence[int], after: Sequence[int], repeat: int) -> int | None:
    """How many entries in a row are one channel behind a change of shape; None where channels are torn apart."""
    if len(before) < 2 or len(after) < 2 or before[0] != after[0]:
        return None
    if before[1] == after[1]:
        return repeat
    if len(after) == 2 and after[1] == math.prod(before[1:]):
        return repeat * math.prod(before[2:])
    return None


def _common(blocks: Iterable[int]) -> int | None:
    """The block in which all agree, 1 for none; None where two sizes do not nest."""
    sizes = sorted({*blocks})
    return next(iter(sizes[-1:]), 1) if all(sizes[-1] % size == 0 for size in sizes) else None
