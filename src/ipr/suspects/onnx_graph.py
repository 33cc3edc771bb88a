"""Which layers an ONNX graph is made of, in the order in which it runs them; nothing is run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from google.protobuf.message import DecodeError
from onnx import NodeProto
from torch import Tensor

from ipr.suspects.checks import DAMAGED, Refusal, check_finite
from ipr.suspects.layer import Layer

MAX_GRAPH_BYTES = 16 * 2**20
"""The most that a graph's nodes may take, beside its weights."""

MAX_NODE_BYTES = 2**20
"""The longest node that is read, as the library takes a hundred times as much; a longer one is a constant, no layer."""


@dataclass
class _Node:
    """Fields of onnx.NodeProto; `transposed` is the attribute transB of a Gemm, `axis` that of a DequantizeLinear."""

    operator: str = ""
    inputs: list[str] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)
    transposed: bool = False
    axis: int = 1


def layers_of(nodes: Iterable[memoryview], tensors: Mapping[str, Tensor]) -> tuple[Layer, ...]:
    """The convolutions, norms and linear layers whose weights are stored in the file.

    Integers that the graph turns into floats before a layer (DequantizeLinear), or in it (QLinearConv), are what they
    stand for: (q - zero point) scale.

    A group norm stands in many files as an instance norm, a reshape, a product with (C, 1, 1) and a sum.

    Args:
        nodes: serialised onnx.NodeProto, in the graph's order.
        tensors: the initialisers by name.
    """
    layers: list[Layer] = []
    made: dict[str, _Node] = {}
    tensors, left = dict(tensors), sum(tensor.numel() for tensor in tensors.values())
    for node in map(_node, nodes):
        made |= dict.fromkeys(node.outputs, node)
        if node.operator in _INTEGER:
            problem = f"computes with integers ({node.operator}), whose scales are known when it runs alone"
            raise Refusal(problem, "give the model before it was quantised, or one with DequantizeLinear")
        if node.operator == "DequantizeLinear" and node.outputs and node.inputs and node.inputs[0] in tensors:
            if (left := left - tensors[node.inputs[0]].numel()) < 0:
                raise Refusal("reads its integers more than once", "export it again")
            tensors[node.outputs[0]] = _dequantised([tensors.get(name) for name in node.inputs], node.axis)
        if node.operator == "Identity" and node.outputs and node.inputs and node.inputs[0] in tensors:
            tensors[node.outputs[0]] = tensors[node.inputs[0]]
        stored = [tensors.get(name) for name in node.inputs]
        if node.operator == "Conv":
            layers += _layer("convolution", ("weight", "bias"), stored[1:3])
        elif node.operator == "QLinearConv":
            layers += _layer("convolution", ("weight", "bias"), _of_integers(stored))
        elif node.operator == "BatchNormalization":
            layers += _layer("norm", ("weight", "bias", "running_mean", "running_var"), stored[1:5])
        elif node.operator == "GroupNormalization":
            layers += _layer("norm", ("weight", "bias"), stored[1:3])
        elif node.operator == "Gemm" and node.transposed:
            layers += _layer("linear", ("weight", "bias"), stored[1:3])
        elif node.operator == "Add":
            layers += _layer("norm", ("weight", "bias"), _affine(node, made, tensors))
    return tuple(layers)


_INTEGER = ("ConvInteger", "MatMulInteger")
"""Operators of models that were quantised dynamically."""


def _dequantised(stored: list[Tensor | None], axis: int) -> Tensor:
    """(q - zero point) scale, with a scale for the whole tensor or for each place along an axis.

    Raises:
        Refusal: they do not fit one another, or the result is not finite.
    """
    quantised, scale, zero = (*stored, None, None)[:3]
    if quantised is None or scale is None or quantised.is_floating_point() or not scale.is_floating_point():
        raise Refusal("holds integers without a scale", "export it again, or give the model before it was quantised")
    shape = [-1 if place == axis % max(quantised.dim(), 1) else 1 for place in range(quantised.dim())]
    parts = [part.flatten().double() for part in (scale, zero) if part is not None]
    length = quantised.shape[axis % quantised.dim()] if quantised.dim() else 1
    if any(part.numel() not in (1, length) for part in parts):
        raise Refusal("is damaged (scales that do not fit their integers)", DAMAGED)
    single = [1] * quantised.dim()
    scales, *zeros = (part.reshape(shape if part.numel() > 1 else single) for part in parts)
    values = ((quantised.double() - (zeros[0] if zeros else 0)) * scales).float()
    check_finite("a dequantised tensor", values)
    return values


def _of_integers(stored: list[Tensor | None]) -> list[Tensor | None]:
    """Weight and bias of a QLinearConv; its inputs are x, w and y, each with a scale and a zero point, and the bias."""
    stored = [*stored, *[None] * 9][:9]
    if stored[3] is None:
        return [None, None]
    bias, (of_x, of_w) = stored[8], (stored[1], stored[4])
    if bias is not None and of_w is not None:
        if of_x is None or of_x.numel() != 1:
            raise Refusal("holds a bias without a scale", "give the model before it was quantised")
        bias = _dequantised([bias, (of_x.flatten() * of_w.flatten()).float(), None], 0)
    return [_dequantised(stored[3:6], 0), bias]


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
    if len(message) > MAX_NODE_BYTES:
        return _Node()
    try:
        node = NodeProto.FromString(bytes(message))
    except DecodeError as error:
        raise Refusal("is damaged (a node cannot be read)", DAMAGED) from error
    set_to = {attribute.name: attribute.i for attribute in node.attribute}
    return _Node(node.op_type, list(node.input), list(node.output), set_to.get("transB") == 1, set_to.get("axis", 1))
