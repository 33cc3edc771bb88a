import hashlib
import json

import pytest
import torch
from safetensors.torch import load, save

from ipr.digests import digest_of, weights_digest


def test_it_is_sha256_of_what_the_documents_say():
    tensors = {"b": torch.tensor([1.0, -2.0]), "a": torch.tensor([[1, 2]], dtype=torch.int8)}
    text = b'{"x": 1, "y": "\\u00e9"}\n["a", "int8", [1, 2]]\n\x01\x02["b", "float32", [2]]\n'
    text += b"\x00\x00\x80\x3f\x00\x00\x00\xc0"
    assert digest_of({"y": "é", "x": 1}, tensors) == hashlib.sha256(text).hexdigest()


def test_it_depends_on_the_content_alone():
    whole = torch.arange(24.0).reshape(2, 3, 4, 1)
    same = [whole.to(memory_format=torch.channels_last), whole.transpose(0, 1).contiguous().transpose(0, 1),
            whole.clone().requires_grad_(), load(save({"w": whole}))["w"]]  # fmt: skip
    assert {weights_digest({"w": tensor, "v": whole}) for tensor in [whole, *same]} == {
        weights_digest({"v": whole, "w": whole})
    }
    assert weights_digest({"w": whole}) == digest_of({}, {"w": whole})


@pytest.mark.parametrize(
    "other",
    [
        {"w": torch.ones(2, 1)},
        {"w": torch.ones(2, dtype=torch.bfloat16)},
        {"w": torch.tensor(1.0)},
        {"w": torch.empty(0)},
        {"w": torch.tensor([1.0, -1.0])},
        {"v": torch.ones(2)},
        {"w": torch.ones(2, dtype=torch.bool)},
        {},
    ],
)
def test_names_types_shapes_and_elements_count(other):
    assert weights_digest(other) != weights_digest({"w": torch.ones(2)})


def test_no_two_contents_are_hashed_as_one_text():
    """A tensor whose elements read like the beginning of another."""
    line = json.dumps(["b", "uint8", [1]]).encode() + b"\n"
    one = {"a": torch.tensor(list(line + b"\x07"), dtype=torch.uint8)}
    two = {"a": torch.tensor([], dtype=torch.uint8), "b": torch.tensor([7], dtype=torch.uint8)}
    assert weights_digest(one) != weights_digest(two)
