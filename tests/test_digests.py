"""Digests count names, types, shapes and bytes, and nothing else."""

import hashlib

import torch

from ipr.digests import digest_of, weights_digest


def test_the_digest_is_that_of_its_parts():
    tensors = {"b": torch.tensor([[1.0, 2.0], [3.0, 4.0]]), "a": torch.tensor([1, -1], dtype=torch.int8)}
    expected = hashlib.sha256(b'{"x": 1, "y": [2]}')
    expected.update(b"a torch.int8 (2,)" + bytes([1, 255]))
    expected.update(b"b torch.float32 (2, 2)" + tensors["b"].numpy().tobytes())
    assert digest_of({"y": [2], "x": 1}, tensors) == expected.hexdigest()
    half = {"h": torch.ones(1, dtype=torch.bfloat16)}
    assert digest_of({}, half) == hashlib.sha256(b"{}h torch.bfloat16 (1,)\x80\x3f").hexdigest()


def test_what_counts():
    x = torch.randn(2, 3, 4, 4)
    digest = weights_digest({"x": x, "y": torch.ones(())})
    otherwise = x.to(memory_format=torch.channels_last)
    assert digest == weights_digest({"y": torch.nn.Parameter(torch.ones(())), "x": otherwise})
    others = [{"x": x}, {"z": x}, {"x": x.double()}, {"x": x.flatten()}, {"x": x + 1}, {"x": x[:, :, :0]}, {}]
    assert len({digest, *map(weights_digest, others)}) == len(others) + 1
