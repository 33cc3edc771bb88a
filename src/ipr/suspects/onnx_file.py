"""ONNX: the stored weights of a model. Its graph is read to tell its layers; it is never run."""

from __future__ import annotations

import numpy as np
import torch
from google.protobuf.message import DecodeError
from onnx import TensorProto, numpy_helper
from torch import Tensor

from ipr.suspects.checks import DAMAGED, SAVE_AGAIN, Refusal, check_count, shown
from ipr.suspects.layer import Layer
from ipr.suspects.onnx_graph import MAX_GRAPH_BYTES, layers_of
from ipr.suspects.protobuf import fields

# Fields of onnx.proto: ModelProto, GraphProto, TensorProto.
_GRAPH = 7
_NODE, _INITIALISER, _SPARSE_INITIALISER = 1, 5, 15
_VALUES = (4, 7, 9, 10)  # float_data, int64_data, raw_data, double_data
_MAX_REST = 64 * 2**10  # bytes of a tensor beside them

_TYPES = (
    TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.UINT8,
    TensorProto.INT8, TensorProto.INT16, TensorProto.INT32, TensorProto.INT64,
)  # fmt: skip


def read_onnx(content: bytes) -> tuple[dict[str, Tensor], tuple[Layer, ...]]:
    """The initialisers of a model by name, and its layers in the order in which it runs them.

    Raises:
        Refusal: it is no ONNX model, keeps weights in other files, or a tensor's bytes do not fit its shape.
    """
    graphs = [value for number, value in fields(memoryview(content)) if number == _GRAPH]
    if len(graphs) != 1 or isinstance(graphs[0], int):
        raise Refusal("is damaged, or no ONNX model (it has no graph)", DAMAGED)
    nodes, stored = [], []
    for number, value in fields(graphs[0]):
        if isinstance(value, int):
            continue
        if number == _NODE:
            nodes.append(value)
        elif number == _INITIALISER:
            stored.append(value)
        elif number == _SPARSE_INITIALISER:
            raise Refusal("holds sparse weights", "export it with dense ones")
    check_count(len(stored))
    if sum(map(len, nodes)) > MAX_GRAPH_BYTES:
        raise Refusal(f"has a graph of more than {MAX_GRAPH_BYTES} bytes", SAVE_AGAIN)
    tensors: dict[str, Tensor] = {}
    for message in stored:
        name, tensor = _tensor(message)
        if name in tensors:
            raise Refusal(f"holds two tensors named {shown(name)}", DAMAGED)
        tensors[name] = tensor
    return tensors, layers_of(nodes, tensors)


def _tensor(message: memoryview) -> tuple[str, Tensor]:
    values = sum(len(value) for number, value in fields(message) if number in _VALUES and not isinstance(value, int))
    if len(message) - values > _MAX_REST:
        raise Refusal("holds a tensor that is not stored as bytes", "export it again, or give safetensors")
    try:
        proto = TensorProto.FromString(bytes(message))
    except DecodeError as error:
        raise Refusal("is damaged (a tensor cannot be read)", DAMAGED) from error
    name = proto.name
    if not isinstance(name, str):  # the library gives bytes where they are no UTF-8
        raise Refusal("is damaged (a name is no text)", DAMAGED)
    if proto.external_data or proto.data_location == TensorProto.EXTERNAL:
        raise Refusal(f"keeps {shown(name)} in another file, which is not opened", "export it into one file")
    if any(size < 0 for size in proto.dims):  # numpy would work one out
        raise Refusal(f"is damaged (the shape of {shown(name)} is none)", DAMAGED)
    if proto.data_type not in _TYPES:
        raise Refusal(f"{shown(name)} is of ONNX's type {proto.data_type}", "save weights as float32")
    try:
        array = numpy_helper.to_array(proto)
    except ValueError as error:
        raise Refusal(f"is damaged ({shown(name)} has another size than its shape says)", DAMAGED) from error
    if proto.data_type == TensorProto.BFLOAT16:  # which numpy knows as a type of ml_dtypes, and torch does not
        return name, torch.from_numpy(array.view(np.int16).copy()).view(torch.bfloat16)
    return name, torch.from_numpy(array.copy())
