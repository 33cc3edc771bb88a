"""Which layers an ONNX graph is made of, in the order in which it runs them; nothing is run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from torch import Tensor

from ipr.suspects.checks import DAMAGED, Refusal
from ipr.suspects.protobuf import fields

MAX_GRAPH_BYTES = 16 * 2**20
"""The most that a graph's nodes may take, beside its weights."""


@dataclass(frozen=True)
class Layer:
    """A layer and its weights.

    Attributes:
        kind: `convolution`, `norm` or `linear`.
        tensors: `weight`, and `bias`, `running_mean` and `running_var` where it has them.
    """

    kind: str
    tensors: Mapping[str, Tensor]


@dataclass
class _Node:
    """Fields of onnx.NodeProto; `transposed` is the attribute transB of a Gemm."""

    operator: str = ""
    inputs: list[str] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)
    transposed: bool = False


def layers_of(nodes: Iterable[memoryview], tensors: Mapping[str, Tensor]) -> tuple[Layer, ...]:
    """The convolutions, norms and linear layers whose weights are stored in the file.

    A group norm stands in many files as an instance norm, a reshape, a product with (C, 1, 1) and a sum.

    Args:
        nodes: serialised onnx.NodeProto, in the graph's order.
        tensors: the initialisers by name.
    """
    layers: list[Layer] = []
    made: dict[str, _Node] = {}
    for node in map(_node, nodes):
        made |= dict.fromkeys(node.outputs, node)
        stored = [tensors.get(name) for name in node.inputs]
        if node.operator == "Conv":
            layers += _layer("convolution", ("weight", "bias"), stored[1:3])
        elif node.operator == "BatchNormalization":
            layers += _layer("norm", ("weight", "bias", "running_mean", "running_var"), stored[1:5])
        elif node.operator == "GroupNormalization":
            layers += _layer("norm", ("weight", "bias"), stored[1:3])
        elif node.operator == "Gemm" and node.transposed:
            layers += _layer("linear", ("weight", "bias"), stored[1:3])
        elif node.operator == "Add":
            layers += _layer("norm", ("weight", "bias"), _affine(node, made, tensors))
    return tuple(layers)


def _layer(kind: str, names: tuple[str, ...], stored: list[Tensor | None]) -> list[Layer]:
    tensors = {name: tensor for name, tensor in zip(names, stored, strict=False) if tensor is not None}
    return [Layer(kind, tensors)] if "weight" in tensors else []


def _affine(node: _Node, made: Mapping[str, _Node], tensors: Mapping[str, Tensor]) -> list[Tensor | None]:
    """Scale and shift of a group norm that ends with this sum; [] if it is another one."""
    for maker, shift in _operands(node, made, tensors):
        if maker.operator == "Mul":
            for before, scale in _operands(maker, made, tensors):
                source = made.get(before.inputs[0]) if before.operator == "Reshape" and before.inputs else None
                if source is not None and source.operator == "InstanceNormalization":
                    return [scale.flatten(), shift.flatten()]
    return []


def _operands(node: _Node, made: Mapping[str, _Node], tensors: Mapping[str, Tensor]) -> list[tuple[_Node, Tensor]]:
    """The operands of a sum or product of a computed and a stored tensor, either way round."""
    pairs = (node.inputs, node.inputs[::-1]) if len(node.inputs) == 2 else ()
    return [(made[one], tensors[other]) for one, other in pairs if one in made and other in tensors]


def _node(message: memoryview) -> _Node:
    node = _Node()
    for number, value in fields(message):
        if isinstance(value, int):
            continue
        if number == 1:
            node.inputs.append(_text(value))
        elif number == 2:
            node.outputs.append(_text(value))
        elif number == 4:
            node.operator = _text(value)
        elif number == 5:
            attribute = dict(fields(value))  # onnx.AttributeProto: 1 is its name, 3 an integer
            name = attribute.get(1)
            node.transposed |= isinstance(name, memoryview) and bytes(name) == b"transB" and attribute.get(3) == 1
    return node


def _text(value: memoryview) -> str:
    try:
        return str(value, "utf-8")
    except UnicodeDecodeError as error:
        raise Refusal("is damaged (a name is no text)", DAMAGED) from error
