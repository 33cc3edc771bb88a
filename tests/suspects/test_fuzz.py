"""Whatever stands in a file: clean tensors, or one refusal, and never another error."""

import io
import json
import struct
import zipfile

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save

from hostile_weights import initialisers, model, saved, zipped
from ipr.errors import InputError
from ipr.suspects.checks import FLOATS, INTEGERS
from ipr.suspects.weights import read_weights

pytestmark = pytest.mark.fuzz

WEIGHTS = {"conv.weight": torch.ones(2, 1, 3, 3), "norm.bias": torch.zeros(2), "norm.count": torch.tensor(3)}
GOOD = {"safetensors": save(WEIGHTS), "torch": saved(WEIGHTS), "onnx": model(*initialisers(WEIGHTS))}

fuzz = settings(
    max_examples=80, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)


def assert_clean_or_refused(content, place):
    path = place / "suspect"
    path.write_bytes(content)
    tensors, refusal = {}, None
    try:
        tensors = read_weights(path)
    except InputError as error:
        refusal = error
    assert (refusal is None) == bool(tensors)
    assert refusal is None or (refusal.field == "suspect" and str(refusal).isprintable())
    for name, tensor in tensors.items():
        assert type(name) is str
        assert type(tensor) is torch.Tensor
        assert tensor.dtype in (*FLOATS, *INTEGERS)
        assert tensor.numel() * tensor.element_size() <= len(content)
        assert bool(torch.isfinite(tensor).all())


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return tmp_path_factory.mktemp("fuzz")


def changed(content, changes):
    for what, where, data in changes:
        at = int(where * len(content))
        if what == "flip":
            content = content[:at] + data + content[at + len(data) :]
        elif what == "cut":
            content = content[:at]
        elif what == "insert":
            content = content[:at] + data + content[at:]
        else:
            content = content[:at] + content[at // 2 : at] + content[at:]
    return content


changes = st.lists(
    st.tuples(st.sampled_from(["flip", "cut", "insert", "copy"]), st.floats(0, 1), st.binary(min_size=1, max_size=8)),
    min_size=1,
    max_size=4,
)


@pytest.mark.parametrize("kind", GOOD)
@fuzz
@given(changes=changes)
def test_good_files_that_were_changed(kind, changes, place):
    assert_clean_or_refused(changed(GOOD[kind], changes), place)


@fuzz
@given(changes=changes)
def test_good_pickles_that_were_changed(changes, place):
    """In a zip file whose sums are right."""
    with zipfile.ZipFile(io.BytesIO(GOOD["torch"])) as archive:
        records = {name.partition("/")[2]: archive.read(name) for name in archive.namelist()}
    assert_clean_or_refused(zipped(records | {"data.pkl": changed(records["data.pkl"], changes)}), place)


calls = [b"ctorch._utils\n_rebuild_tensor_v2\n", b"ccollections\nOrderedDict\n", b"ctorch\nFloatStorage\n"]
instructions = st.lists(
    st.sampled_from([bytes([code]) for code in range(256)] + calls)
    | st.sampled_from([b"}", b"(", b")", b"t", b"R", b"Q", b"b", b"s", b"u"])
    | st.binary(max_size=3),
    max_size=30,
)


@fuzz
@given(pickle=instructions)
def test_pickles_of_any_instructions(pickle, place):
    data = b"\x80\x02" + b"".join(pickle) + b"."
    assert_clean_or_refused(zipped({"data.pkl": data, "byteorder": "little", "data/0": b"\0" * 16}), place)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
sizes = st.integers(-2, 5) | st.sampled_from([2**31, 2**63, 10**12])
entries = st.fixed_dictionaries(
    {
        "dtype": st.sampled_from(["F32", "F16", "BF16", "I64", "U8", "BOOL", "F8_E5M2"]) | json_values,
        "shape": st.lists(sizes, max_size=4) | json_values,
        "data_offsets": st.lists(sizes, min_size=2, max_size=2) | json_values,
    }
)
header_names = st.text(max_size=6) | st.just("__metadata__")
headers = st.dictionaries(header_names, entries | json_values, max_size=4) | json_values


@fuzz
@given(header=headers, data=st.binary(max_size=20), lie=st.sampled_from([0, 0, 0, 1, -1, 2**40]))
def test_headers_of_safetensors(header, data, lie, place):
    text = json.dumps(header).encode()
    assert_clean_or_refused(struct.pack("<Q", max(0, len(text) + lie)) + text + data, place)


odd_tensors = st.sampled_from(
    [
        torch.ones(3), torch.ones(3, dtype=torch.bfloat16), torch.ones(()), torch.ones(1).expand(1000), torch.ones(0),
        torch.arange(6).reshape(2, 3).T, torch.full((2,), float("nan")), torch.ones(2, dtype=torch.complex64),
        torch.ones(2, dtype=torch.bool), torch.ones(2, 2).to_sparse(), torch.ones(2, device="meta"),
        torch.nn.Parameter(torch.ones(2)), torch.ones(8)[2:4],
    ]
)  # fmt: skip
names = st.text(max_size=6) | st.sampled_from(["state_dict", "network.a", "module.b"])
saved_values = st.recursive(
    odd_tensors | st.none() | st.booleans() | st.integers() | st.floats() | st.binary(max_size=4) | names,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner, inner)
        | st.dictionaries(names | st.integers(0, 9), inner, max_size=4)
    ),
    max_leaves=8,
)


@fuzz
@given(value=st.dictionaries(names, odd_tensors, max_size=4) | st.dictionaries(names, saved_values, max_size=4))
def test_what_torch_saves(value, place):
    assert_clean_or_refused(saved(value), place)


starts = st.sampled_from([b"", b"\x08", b"\x08\x08\x3a", b"PK\x03\x04", b"\0" * 8 + b"{"])


@fuzz
@given(data=st.binary(max_size=64), start=starts)
def test_any_bytes(data, start, place):
    assert_clean_or_refused(start + data, place)
