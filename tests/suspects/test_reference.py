"""The network that was committed to: opened by its digest or not at all."""

import pytest
import torch
from safetensors.torch import save_file

from ipr.digests import weights_digest
from ipr.errors import InputError
from ipr.suspects.suspect import open_reference
from references import small

ARCHITECTURE = {
    "model": {"name": "alexnet", "norm": "gn", "width": 0.25}, "channels_in": 3, "image_size": 16, "num_classes": 10
}  # fmt: skip


@pytest.fixture
def weights(tmp_path):
    state = small("alexnet", "gn").state_dict()
    save_file(state, tmp_path / "public.safetensors")
    return tmp_path / "public.safetensors", state


def test_it_is_opened_by_its_digest(weights):
    path, state = weights
    network = open_reference(path, ARCHITECTURE, weights_digest(state))
    assert all(torch.equal(tensor, state[name]) for name, tensor in network.state_dict().items())


def test_other_weights_are_refused(weights):
    path, state = weights
    digest = weights_digest(state)
    state["linear.bias"][0] += 1
    save_file(state, path)
    with pytest.raises(InputError, match=r"^reference=.*: holds other weights than those that were committed to"):
        open_reference(path, ARCHITECTURE, digest)


@pytest.mark.parametrize("content", [None, b"", b"not weights"])
def test_what_is_no_weights_file_is_refused_as_the_reference(tmp_path, content):
    path = tmp_path / "x.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError) as raised:
        open_reference(path, ARCHITECTURE, "0" * 64)
    assert raised.value.field == "reference"
