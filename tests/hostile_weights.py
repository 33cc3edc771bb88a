"""Weights files that are broken or meant to do harm, made where they are needed: name -> (maker, words of the refusal).

A maker gets the path of the file to be and the honest weights that it starts from. Whatever would be executed leaves a
file `executed` in the working folder.
"""

import importlib
import io
import json
import os
import pickle
import struct
import tarfile
import zipfile

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper
from safetensors.torch import save

HUGE = 10**12
TOUCH = "open('executed', 'w').close()"


# Safetensors


def header(entries, data=b"", length=None):
    """A safetensors file of a header, which may lie about its own length."""
    text = entries if isinstance(entries, bytes) else json.dumps(entries).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def entry(kind="F32", shape=(1,), begin=0, end=4):
    return {"dtype": kind, "shape": list(shape), "data_offsets": [begin, end]}


def tensors(**changed):
    """The honest file with some tensors changed, added, or (None) left out."""

    def make(path, weights):
        named = dict(weights) | {name.replace("__", "."): change for name, change in changed.items()}
        named = {name: t(weights[name]) if callable(t) else t for name, t in named.items() if t is not None}
        path.write_bytes(save({name: tensor.contiguous() for name, tensor in named.items()}))

    return make


def content(data):
    return lambda path, weights: path.write_bytes(data() if callable(data) else data)


def honest(how, **cut):
    """What `how` makes of the honest weights, cut off or continued."""

    def make(path, weights):
        data = how(weights)
        path.write_bytes(data[: int(len(data) * cut.get("part", 1))] + cut.get("more", b""))

    return make


# Files of torch.save


def saved(value, **more):
    file = io.BytesIO()
    torch.save(value, file, **more)
    return file.getvalue()


def zipped(records, root="archive/", kind=zipfile.ZIP_STORED):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", kind) as archive:
        for name, data in records if isinstance(records, list) else records.items():
            archive.writestr(root + name, data)
    return file.getvalue()


def text(word):
    return b"X" + struct.pack("<I", len(word)) + word


def number(value):
    return b"\x8a\x08" + struct.pack("<q", value)


def numbers(values):
    return b"(" + b"".join(map(number, values)) + b"t"


def tensor(key=b"0", count=4, size=(4,), stride=(1,), offset=0, kind=b"FloatStorage"):
    """Instructions for one tensor."""
    storage = b"(" + text(b"storage") + b"ctorch\n" + kind + b"\n" + text(key) + text(b"cpu") + number(count) + b"tQ"
    hooks = b"ccollections\nOrderedDict\n)R"
    arguments = storage + number(offset) + numbers(size) + numbers(stride) + b"\x89" + hooks
    return b"ctorch._utils\n_rebuild_tensor_v2\n(" + arguments + b"tR"


def called(module, name, size=HUGE):
    """Instructions that call something with a size."""
    return b"c" + module + b"\n" + name + b"\n(" + number(size) + b"tR"


def pickled(value, storage=b"\0" * 16):
    """A torch file whose pickle holds one value, of these instructions, under the name `a`."""
    return zipped({"data.pkl": b"\x80\x02}" + text(b"a") + value + b"s.", "byteorder": "little", "data/0": storage})


class Calls:
    """Pickled, it is a call."""

    def __init__(self, function, *arguments):
        self.called = function, arguments

    def __reduce__(self):
        return self.called


def program(*called):
    return lambda: zipped({"data.pkl": pickle.dumps({"state_dict": Calls(*called)}, 2), "byteorder": "little"})


def recursive():
    inner = {}
    inner["state_dict"] = inner
    return saved(inner)


def script():
    file = io.BytesIO()
    records = {"data.pkl": b"\x80\x02}.", "constants.pkl": b"\x80\x02).", "code/__torch__.py": b"def forward(x): ...\n"}
    file.write(zipped(records))
    return file.getvalue()


def damaged_sum(weights):
    data = bytearray(saved(weights))
    data[data.index(weights["linear.weight"].numpy().tobytes()) + 40] ^= 1
    return bytes(data)


def encrypted(weights):
    data = saved(weights)
    at = data.index(b"PK\x01\x02")  # the entry of data.pkl
    return data[: at + 8] + b"\x01\x08" + data[at + 10 :]


def many_views(count=100):
    views = b"".join(text(b"%d" % i) + tensor(count=250, size=(250,)) for i in range(count))
    return zipped({"data.pkl": b"\x80\x02}(" + views + b"u.", "data/0": b"\0" * 1000, "byteorder": "little"})


def nested_tuple(depth=200_000):
    return pickled(b"}" + b")" + b"\x85" * depth + b"K\x01s")


def doubled_tuple(depth=60):
    return pickled(b"}" + b")" + b"q\x01h\x01\x86" * depth + b"K\x01s")


def tarred(weights):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        info = tarfile.TarInfo("data.pkl")
        info.size = len(data := save(weights))
        archive.addfile(info, io.BytesIO(data))
    return file.getvalue()


# ONNX


def model(*initialisers, nodes=(), **more):
    graph = helper.make_graph(list(nodes), "graph", [], [], initializer=list(initialisers), **more)
    return helper.make_model(graph).SerializeToString()


def stored(name="conv1.weight", kind=TensorProto.FLOAT, dims=(1,), raw=b"\0" * 4, **more):
    return TensorProto(name=name, data_type=kind, dims=dims, raw_data=raw, **more)


def initialisers(weights):
    return [stored(name, dims=t.shape, raw=t.float().numpy().tobytes()) for name, t in weights.items()]


def elsewhere():
    place = [onnx.StringStringEntryProto(key="location", value="../../../../../../etc/passwd")]
    return model(TensorProto(name="conv1.weight", data_type=1, dims=[4], external_data=place, data_location=1))


def folded(weights):
    named = {n: t for n, t in weights.items() if "norm" not in n}
    biases = {f"conv{i}.bias": torch.zeros(weights[f"conv{i}.weight"].shape[0]) for i in range(1, 6)}
    nodes = [helper.make_node("Conv", ["x", f"conv{i}.weight", f"conv{i}.bias"], ["x"]) for i in range(1, 6)]
    return model(*initialisers(named | biases), nodes=nodes)


def varint(value):
    out = b""
    while value > 127:
        out, value = out + bytes([value & 127 | 128]), value >> 7
    return out + bytes([value])


def message(field, data):
    return varint(field << 3 | 2) + varint(len(data)) + data


LAYER = message(5, stored().SerializeToString())
GRAPH_OF_EMPTY_NODES = b"\x08\x08" + message(7, LAYER + b"\x0a\x00" * 100_001)
LONG_NODES = b"\x08\x08" + message(7, LAYER + message(1, b"\x2a\x00" * 2**18) * 4 + message(1, b"\x2a\x00" * 2**22))
EMPTY_ATTRIBUTES = b"\x08\x08" + message(7, message(5, b"\x82\x01\x00" * 100_000))


# Not files at all


def fifo(path, weights):
    os.mkfifo(path)


def of_5_gib(path, weights):
    path.touch()
    os.truncate(path, 5 * 2**30)  # it takes no room on the disk


def looping(path, weights):
    path.symlink_to(path.name)


def one(value):
    return lambda weights: saved(value)


def with_value(name, value):
    """The honest state_dict with something else under one name, as torch.save writes it."""
    return lambda path, weights: path.write_bytes(saved(dict(weights) | {name: value}))


NAN, INF = float("nan"), float("inf")
CASES = {
    # what would be executed
    "os.system": (content(program(os.system, "touch executed")), ["asks for posix.system"]),
    "eval": (content(program(eval, TOUCH)), ["asks for __builtin__.eval"]),
    "exec": (content(program(exec, TOUCH)), ["asks for __builtin__.exec"]),
    "getattr": (content(program(getattr, "x", "upper")), ["getattr"]),
    "import": (content(program(importlib.import_module, "antigravity")), ["asks for importlib.import_module"]),
    "numpy": (content(lambda: saved({"a": np.ones(3)})), ["asks for numpy"]),
    "module": (content(lambda: saved(torch.nn.Linear(2, 2))), ["asks for torch.nn.modules.linear.Linear"]),
    "inside a name": (with_value("a", Calls(os.system, "touch executed")), ["asks for posix.system"]),
    "bare pickle": (content(lambda: pickle.dumps(Calls(os.system, "touch executed"))), ["bare pickle"]),
    "old torch file": (honest(lambda w: saved(w, _use_new_zipfile_serialization=False)), ["before version 1.6"]),
    "old pickle": (content(b"cposix\nsystem\n(S'touch executed'\ntR."), ["no known format"]),
    "TorchScript": (content(script), ["TorchScript"]),
    # what weights_only would do as it is told
    "bytearray": (content(pickled(called(b"builtins", b"bytearray"))), ["asks for builtins.bytearray"]),
    "FloatTensor": (content(pickled(called(b"torch", b"FloatTensor"))), ["asks for torch.FloatTensor"]),
    "UntypedStorage": (content(pickled(called(b"torch.storage", b"UntypedStorage"))), ["asks for torch.storage"]),
    "sparse": (content(lambda: saved({"a": torch.ones(2, 2).to_sparse()})), ["asks for torch._utils._rebuild_sparse"]),
    "parameter": (content(lambda: saved({"a": torch.nn.Parameter(torch.ones(2))})), ["_rebuild_parameter"]),
    "quantised": (content(pickled(tensor(kind=b"QInt8Storage"))), ["asks for torch.QInt8Storage"]),
    "complex": (content(pickled(tensor(kind=b"ComplexFloatStorage"))), ["asks for torch.ComplexFloatStorage"]),
    "meta": (content(lambda: saved({"a": torch.ones(2, device="meta")})), ["_rebuild_meta_tensor"]),
    "bool": (content(pickled(tensor(kind=b"BoolStorage"))), ["asks for torch.BoolStorage"]),
    "state of a tensor": (content(pickled(tensor() + b")b")), ["makes no sense"]),
    "deeply nested key": (content(nested_tuple), ["makes no sense"]),
    "doubled key": (content(doubled_tuple), ["makes no sense"]),
    "protocol 4": (content(lambda: zipped({"data.pkl": pickle.dumps({"a": 1}, 4)})), ["its pickle holds PROTO"]),
    "long pickle": (content(lambda: pickled(b"(" + b"}" * 5_000_000 + b"t")), ["describes its tensors in 500"]),
    "text that is not there": (content(pickled(b"X\xff\xff\xff\xff")), ["makes no sense"]),
    "escapes in a name": (content(pickled(b"cos\\l\nsystem\n)R")), ["asks for os", "neither run nor loaded"]),
    "memo that is not there": (content(pickled(b"h\x07")), ["makes no sense"]),
    "huge memo": (content(pickled(b"]r\xff\xff\xff\xff")), ["holds a list as a"]),
    "no end": (content(zipped({"data.pkl": b"\x80\x02}"})), ["makes no sense"]),
    # zip files
    "torch, cut early": (honest(saved, part=0.1), ["is damaged"]),
    "torch, cut in half": (honest(saved, part=0.5), ["is damaged"]),
    "torch, cut at its end": (honest(saved, part=0.999), ["is damaged"]),
    "zip bomb": (content(lambda: zipped({"data.pkl": b"\0" * 10**8}, kind=zipfile.ZIP_DEFLATED)), ["a compressed zip"]),
    "compressed": (honest(lambda w: zipped({"data.pkl": save(w)}, kind=zipfile.ZIP_DEFLATED)), ["a compressed zip"]),
    "nested zip": (honest(lambda w: zipped({"inner.pt": saved(w)})), ["not of torch.save"]),
    "npz": (content(lambda: zipped({"a.npy": b"\x93NUMPY"})), ["not of torch.save"]),
    "climbing name": (content(zipped({"data.pkl": b"", "../../../executed": b"x"})), ["archive/../../../executed"]),
    "absolute name": (content(zipped({"/executed": b"x"}, root="")), ["a record named /executed"]),
    "backslashes": (content(zipped({"a\\..\\executed": b"x"})), ["a record named"]),
    "control characters": (content(zipped({"\x1b[2J\n\r": b"x"})), ["a record named", r"\x1b[2J\n\r"]),
    "a name twice": (content(lambda: zipped([("data.pkl", b"a"), ("DATA.pkl", b"b")])), ["two records of one name"]),
    "two folders": (content(zipped([("a/data.pkl", b"a"), ("b/data/0", b"b")], root="")), ["not of torch.save"]),
    "wrong sum": (honest(damaged_sum), ["is damaged", "CRC"]),
    "encrypted": (honest(encrypted), ["is damaged"]),
    "empty zip": (content(zipped({})), ["not of torch.save"]),
    "many records": (content(lambda: zipped({}) + b"PK\x01\x02" * 70_000), ["more than 65536 records"]),
    # tensors that torch.save did not write
    "storage too small": (content(pickled(tensor(count=HUGE, size=(HUGE,)))), ["do not fit its records"]),
    "tensor beyond its storage": (content(pickled(tensor(size=(HUGE,)))), ["do not fit its records"]),
    "stride 0": (content(pickled(tensor(size=(HUGE,), stride=(0,)))), ["a is larger than its data"]),
    "one storage many times": (content(many_views), ["is larger than its data"]),
    "negative size": (content(pickled(tensor(size=(-4,)))), ["do not fit its records"]),
    "negative stride": (content(pickled(tensor(stride=(-1,)))), ["do not fit its records"]),
    "overflow": (content(pickled(tensor(size=(2**62, 4), stride=(4, 1)))), ["do not fit its records"]),
    "no such record": (content(pickled(tensor(key=b"7"))), ["do not fit its records"]),
    "record outside": (content(pickled(tensor(key=b"../../x"))), ["do not fit its records"]),
    "a number as name": (honest(lambda w: saved({1: w["linear.bias"]})), ["names a tensor by int"]),
    "a dict of dicts": (honest(lambda w: saved({"model": dict(w), "ema": dict(w)})), ["holds several networks"]),
    "recursive": (content(recursive), ["holds a dict as state_dict"]),
    "a list": (honest(lambda w: saved(list(w.values()))), ["makes no sense"]),
    "a tensor": (honest(lambda w: saved(w["linear.weight"])), ["makes no sense"]),
    "an empty dict": (honest(one({})), ["holds no weights"]),
    # values
    "NaN": (tensors(conv3__weight=lambda t: t * NAN), ["conv3.weight holds NaN or infinity"]),
    "infinity": (with_value("linear.bias", torch.full((10,), INF)), ["linear.bias holds NaN or infinity"]),
    "infinite as float32": (
        tensors(linear__bias=torch.full((10,), 1e300, dtype=torch.float64)), ["linear.bias holds NaN or infinity"]
    ),
    "integers for floats": (tensors(conv3__weight=lambda t: t.int()), ["conv3.weight is of type torch.int32"]),
    "floats for integers": (tensors(norm1__num_batches_tracked=torch.ones(())), ["num_batches_tracked is of type"]),
    # layers
    "no layer": (tensors(conv3__weight=None), ["conv3.weight is missing"]),
    "no classifier's bias": (tensors(linear__bias=None), ["linear.bias is missing"]),
    "another layer": (tensors(conv6__weight=torch.zeros(3)), ["conv6.weight has no place"]),
    "transposed": (tensors(linear__weight=lambda t: t.T), ["linear.weight: (32, 10), not (10, 32)"]),
    "other layers": (honest(lambda w: save({"a": torch.ones(2)})), ["a has no place"]),
    "hostile name": (tensors(**{"\x1b[31m\nipr: error: ": torch.ones(2)}), [r"\x1b[31m\nipr: error: ' has no place"]),
    "swapped layers": (
        honest(lambda w: save(dict(w) | {"conv1.weight": w["conv2.weight"], "conv2.weight": w["conv1.weight"]})),
        ["conv1.weight: (16, 16, 5, 5), not (16, 1, 5, 5)"],
    ),
    # safetensors
    "safetensors, cut in its header": (honest(save, part=0.01), ["is damaged (invalid header length)"]),
    "safetensors, cut in its data": (honest(save, part=0.7), ["is damaged (incomplete metadata"]),
    "bytes behind": (honest(save, more=b"\0"), ["is damaged (incomplete metadata"]),
    "10^12 elements": (content(header({"a": entry(shape=(HUGE,), end=4 * HUGE)}, b"\0" * 4)), ["incomplete metadata"]),
    "10^12 elements of no bytes": (content(header({"a": entry(shape=(HUGE,))}, b"\0" * 4)), ["invalid shape"]),
    "overflowing shape": (content(header({"a": entry(shape=(2**62, 4, 4), end=0)})), ["is damaged (overflow"]),
    "negative shape": (content(header({"a": entry(shape=(-1, -1))}, b"\0" * 4)), ["invalid value: integer `-1`"]),
    "shape of floats": (content(header({"a": entry(shape=(1.0,))}, b"\0" * 4)), ["invalid type: floating point"]),
    "many dimensions": (content(header({"a": entry(shape=(1,) * 1000)}, b"\0" * 4)), ["a has 1000 dimensions"]),
    "negative offsets": (content(header({"a": entry(begin=-4, end=0)}, b"")), ["invalid value: integer `-4`"]),
    "overlapping": (content(header({"a": entry(), "b": entry()}, b"\0" * 4)), ["invalid offset for tensor"]),
    "a gap": (content(header({"a": entry(), "b": entry(begin=8, end=12)}, b"\0" * 12)), ["invalid offset for tensor"]),
    "header of 2^63 bytes": (content(header({"a": entry()}, length=2**63)), ["has a header of 9223372036854775808"]),
    "no JSON": (content(header(b"{nothing")), ["invalid JSON in header: key must be a string"]),
    "no text": (content(header(b"{\xff\xfe}")), ["invalid UTF-8 in header"]),
    "a long number": (content(header(b'{"a": ' + b"9" * 10_000 + b"}")), ["header: number out of range"]),
    "a name twice in JSON": (
        content(header(b'{"a":%b,"a":%b}' % ((json.dumps(entry()).encode(),) * 2), b"\0" * 4)), ["names a tensor twice"]
    ),
    "deeply nested": (content(header(b'{"a":' + b"[" * 100_000)), ["invalid JSON in header: recursion limit"]),
    "unknown type": (content(header({"a": entry("X9")}, b"\0" * 4)), ["unknown variant `X9`"]),
    "complex numbers": (content(lambda: save({"a": torch.ones(2, dtype=torch.complex64)})), ["type torch.complex64"]),
    "truths": (content(lambda: save({"a": torch.ones(2, dtype=torch.bool)})), ["a is of type torch.bool"]),
    "a type that torch has not": (content(header({"a": entry("F4", (2,), end=1)}, b"\0")), ["a tensor of type F4"]),
    "no entry": (content(header({"a": 7})), ["invalid type: integer `7`"]),
    "entry of more": (content(header({"a": entry() | {"code": "x"}}, b"\0" * 4)), ["a has no place"]),
    "nothing but metadata": (content(header({"__metadata__": {"a": "b"}})), ["holds no weights"]),
    "many tensors": (
        content(lambda: header({str(i): entry(shape=(0,), end=0) for i in range(20_000)})),
        ["holds 20000 tensors, more than 10000"],
    ),
    "10^6 tensors": (
        content(lambda: header(b"{" + b",".join(b'"%d":{"dtype":"F32"}' % i for i in range(10**6)) + b"}")),
        ["has a header of"],
    ),
    # ONNX
    "ONNX, cut": (honest(lambda w: model(*initialisers(w)), part=0.6), ["no protobuf message"]),
    "file elsewhere": (content(elsewhere), ["keeps conv1.weight in another file, which is not opened"]),
    "too few bytes": (content(model(stored(dims=[2]))), ["conv1.weight has another size"]),
    "odd bytes": (content(model(stored(raw=b"\0" * 3))), ["conv1.weight has another size"]),
    "10^12 elements in ONNX": (content(model(stored(dims=[HUGE]))), ["conv1.weight has another size"]),
    "negative dimensions": (content(model(stored(dims=[-1, -1]))), ["the shape of conv1.weight is none"]),
    "nine dimensions": (content(model(stored(dims=[1] * 9))), ["conv1.weight has 9 dimensions"]),
    "no initialisers": (content(model()), ["holds no weights"]),
    "texts": (content(model(helper.make_tensor("a", TensorProto.STRING, [1], [b"x"]))), ["a is of ONNX's type 8"]),
    "a name of no text": (content(model(stored()).replace(b"conv1", b"c\x80\xff\xfe1")), ["a name is no text"]),
    "many texts": (
        content(lambda: model(helper.make_tensor("a", TensorProto.STRING, [50_000], [b"x"] * 50_000))),
        ["a tensor that is not stored as bytes"],
    ),
    "complex in ONNX": (content(model(stored(kind=TensorProto.COMPLEX64))), ["conv1.weight is of ONNX's type 14"]),
    "NaN in ONNX": (content(model(stored(raw=struct.pack("<f", NAN)))), ["conv1.weight holds NaN"]),
    "a name twice in ONNX": (content(model(stored(), stored())), ["two tensors named conv1.weight"]),
    "sparse in ONNX": (
        content(lambda: model(stored(), sparse_initializer=[onnx.SparseTensorProto(values=stored(), dims=[1])])),
        ["holds sparse weights"],
    ),
    "another architecture": (content(model(stored(dims=[1, 1, 1, 1]))), ["folded"]),
    "folded norms": (honest(folded), ["its norms folded", "optimize=False"]),
    "two graphs": (content(model(stored()) + model(stored())), ["it has no graph"]),
    "no graph": (content(b"\x08\x08"), ["it has no graph"]),
    "100,001 empty nodes": (content(GRAPH_OF_EMPTY_NODES), ["no protobuf message"]),
    "nodes of empty attributes": (content(LONG_NODES), ["norms folded"]),
    "no node": (content(b"\x08\x08" + message(7, LAYER + message(1, b"\x0a\x09"))), ["a node cannot be read"]),
    "empty attributes": (content(EMPTY_ATTRIBUTES), ["a tensor that is not stored as bytes"]),
    "endless number": (content(b"\x08" + b"\xff" * 100), ["no protobuf message"]),
    "garbage": (content(b"\x08" + bytes(range(256)) * 40), ["no protobuf message"]),
    # anything else
    "missing": (lambda path, weights: None, ["cannot be read (No such file"]),
    "empty": (content(b""), ["is empty"]),
    "directory": (lambda path, weights: path.mkdir(), ["is a folder"]),
    "FIFO": (fifo, ["is not a file"]),
    "device": (lambda path, weights: path.symlink_to("/dev/zero"), ["is not a file"]),
    "looping link": (looping, ["cannot be read (Too many levels"]),
    "sparse file of 5 GiB": (of_5_gib, ["is larger than 4294967296"]),
    "tar": (honest(tarred), ["is a tar archive"]),
    "HDF5": (content(b"\x89HDF\r\n\x1a\n" + b"\0" * 100), ["is an HDF5 file"]),
    "GIF": (content(b"GIF89a" + b"\0" * 100), ["is a picture"]),
    "gzip": (content(b"\x1f\x8b" + b"\0" * 100), ["compressed with gzip"]),
    "NumPy": (content(b"\x93NUMPY" + b"\0" * 100), ["is a NumPy file"]),
    "text": (content(b"model: alexnet\n"), ["is of no known format"]),
    "a pickle behind a header": (honest(lambda w: b"\x80\x02" + save(w)), ["bare pickle"]),
}  # fmt: skip
"""Each with words that its one line must hold."""

BOMBS = [
    "bytearray", "FloatTensor", "UntypedStorage", "deeply nested key", "doubled key", "long pickle", "huge memo",
    "zip bomb", "many records", "storage too small", "tensor beyond its storage", "stride 0", "10^12 elements",
    "10^12 elements of no bytes", "header of 2^63 bytes", "10^6 tensors", "10^12 elements in ONNX", "many texts",
    "100,001 empty nodes", "empty attributes", "nodes of empty attributes", "device", "sparse file of 5 GiB",
]  # fmt: skip
"""Those that would take memory, or time, without end."""
