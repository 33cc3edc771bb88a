"""Weights of every format become the network that they were taken from."""

import copy
import hashlib
from pathlib import Path

import onnx
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from ipr.digests import weights_digest
from ipr.errors import InputError
from ipr.judging.claim_kinds import load_claim
from ipr.models import build_model
from ipr.suspects.suspect import open_suspect
from ipr.suspects.weights import read_weights

SIZES = {"channels_in": 1, "image_size": 8, "num_classes": 10}


def architecture(name="alexnet", norm="bn"):
    return {"model": {"name": name, "norm": norm, "width": 0.1, "passport_layers": ["conv5"]}, **SIZES}


def trained(name="alexnet", norm="bn"):
    """A network of which no two tensors are alike."""
    network = build_model(name, norm=norm, width=0.1, **SIZES)
    for tensor in network.state_dict().values():
        if tensor.is_floating_point():
            tensor.normal_().abs_().add_(0.1)
        else:
            tensor.fill_(7)
    return network.eval()


def assert_same(one: nn.Module, other: nn.Module, without=()):
    one, other = one.state_dict(), other.state_dict()
    assert one.keys() == other.keys()
    for name in one:
        if not name.endswith(without or "nothing"):
            assert one[name].dtype == other[name].dtype
            assert torch.equal(one[name], other[name]), name


def checkpoint_of(state):
    """As Lightning keeps a LightningModule with losses and metrics beside its network."""
    named = {f"network.{name}": tensor for name, tensor in state.items()}
    return {"epoch": 3, "state_dict": named | {"loss.weight": torch.ones(3)}, "callbacks": {"best": torch.tensor(1.0)}}


@pytest.mark.parametrize(
    ("kind", "write"),
    [
        ("safetensors", save_file),
        ("safetensors", lambda state, path: save_file({f"module.{n}": t for n, t in state.items()}, path)),
        ("torch", torch.save),
        ("torch", lambda state, path: torch.save(checkpoint_of(state), path)),
        ("torch", lambda state, path: torch.save({f"module._orig_mod.{n}": t for n, t in state.items()}, path)),
        ("torch", lambda state, path: torch.save({"state_dict": {f"model.{n}": t for n, t in state.items()}}, path)),
    ],
    ids=["safetensors", "with a prefix", "state_dict", "checkpoint", "with two prefixes", "nested"],
)
def test_a_file_becomes_its_network(kind, write, tmp_path):
    network, path = trained(), tmp_path / "weights"
    write(network.state_dict(), path)
    before, random = path.read_bytes(), torch.get_rng_state()
    (tmp_path / "link").symlink_to(path)
    suspect = open_suspect(tmp_path / "link", architecture())
    assert_same(network, suspect.network)
    assert (suspect.format, suspect.alignments) == (kind, 1)
    assert suspect.digest == hashlib.sha256(before).hexdigest()
    assert suspect.weights_digest == weights_digest(network.state_dict())  # whatever the format
    assert read_weights(path).keys() == network.state_dict().keys()
    x = torch.randn(3, 1, 8, 8)
    assert torch.allclose(suspect.network.eval()(x), network(x), atol=1e-6)
    assert path.read_bytes() == before
    assert suspect.network.conv1.weight.requires_grad
    torch.set_rng_state(random)
    open_suspect(path, architecture())
    assert torch.equal(torch.get_rng_state(), random)


def test_a_checkpoint_of_a_run_is_its_public_file(victim):
    facts = dict(load_claim(victim / "claim").architecture)
    public, checkpoint = (
        open_suspect(victim / name, facts) for name in ("public.safetensors", "checkpoints/last.ckpt")
    )
    assert_same(public.network, checkpoint.network)
    assert (
        public.weights_digest == checkpoint.weights_digest == weights_digest(load_file(victim / "public.safetensors"))
    )
    assert public.digest != checkpoint.digest


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("write", [save_file, torch.save])
def test_other_floats_become_float32(dtype, write, tmp_path):
    network = trained()
    write({n: t.to(dtype) if t.is_floating_point() else t for n, t in network.state_dict().items()}, tmp_path / "w")
    assert_same(network.to(dtype).float(), open_suspect(tmp_path / "w", architecture()).network)


@pytest.mark.parametrize("norm", ["bn", "gn"])
def test_norms_without_an_affine_get_one_and_zero(norm, tmp_path):
    """As scheme V1 gives them away; counts of batches are not needed either."""
    state = trained(norm=norm).state_dict()
    without = ("norm5.weight", "norm5.bias", "num_batches_tracked")
    save_file({name: tensor for name, tensor in state.items() if not name.endswith(without)}, tmp_path / "w")
    network = open_suspect(tmp_path / "w", architecture(norm=norm)).network
    assert torch.equal(network.norm5.weight, torch.ones(32))
    assert torch.equal(network.norm5.bias, torch.zeros(32))
    assert torch.equal(network.norm4.weight, state["norm4.weight"])
    assert all(torch.isfinite(tensor).all() for tensor in network.state_dict().values())


def exported(network, path, *, optimize, names=True):
    """ONNX as torch exports it; without names, all initialisers are called anew."""
    example = torch.randn(2, 1, 8, 8)
    proto = torch.onnx.export(network, (example,), dynamo=True, optimize=optimize, verbose=False).model_proto
    if not names:
        new = {tensor.name: f"onnx::{i}" for i, tensor in enumerate(proto.graph.initializer)}
        for tensor in proto.graph.initializer:
            tensor.name = new[tensor.name]
        for node in proto.graph.node:
            node.input[:] = [new.get(name, name) for name in node.input]
    path.write_bytes(proto.SerializeToString())
    return proto


@pytest.mark.sampled(4)
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.parametrize(
    ("name", "norm", "optimize", "names"),
    [
        ("alexnet", "bn", False, True), ("alexnet", "gn", True, True),
        ("resnet18", "bn", False, False), ("resnet18", "gn", True, False),
    ],
)  # fmt: skip
def test_onnx_becomes_its_network(name, norm, optimize, names, tmp_path):
    """By names, or by the order of the graph: ResNet-18 has up to five convolutions of one shape."""
    network = trained(name, norm)
    exported(network, tmp_path / "w", optimize=optimize, names=names)
    suspect = open_suspect(tmp_path / "w", architecture(name, norm))
    assert_same(network, suspect.network, without=("num_batches_tracked",))
    assert (suspect.format, suspect.alignments) == ("onnx", 1)


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_onnx_whose_layers_cannot_be_matched_is_refused(tmp_path):
    folded, unlike = tmp_path / "folded", tmp_path / "unlike"
    exported(trained(), folded, optimize=True)
    with pytest.raises(InputError, match="has its norms folded"):
        open_suspect(folded, architecture())
    proto = exported(trained("alexnet", "gn"), unlike, optimize=True, names=False)
    conv = next(node for node in proto.graph.node if node.op_type == "Conv")
    twice = copy.deepcopy(proto)
    twice.graph.node.append(conv)
    unlike.write_bytes(twice.SerializeToString())
    with pytest.raises(InputError, match=r"it has 2 and not 1 convolutions of shape \(16, 1, 5, 5\)"):
        open_suspect(unlike, architecture("alexnet", "gn"))
    conv.input[1] = "computed"
    unlike.write_bytes(proto.SerializeToString())
    with pytest.raises(InputError, match=r"it has 0 and not 1 convolutions of shape \(16, 1, 5, 5\)"):
        open_suspect(unlike, architecture("alexnet", "gn"))


def test_onnx_may_list_its_numbers(tmp_path):
    """Fields for numbers instead of bytes, as `onnx.helper.make_tensor` writes."""
    network = trained()
    kinds = {torch.float32: onnx.TensorProto.FLOAT, torch.int64: onnx.TensorProto.INT64}
    state = network.state_dict().items()
    stored = [onnx.helper.make_tensor(name, kinds[t.dtype], t.shape, t.flatten().tolist()) for name, t in state]
    graph = onnx.helper.make_graph([], "graph", [], [], initializer=stored)
    (tmp_path / "w").write_bytes(onnx.helper.make_model(graph).SerializeToString())
    assert_same(network, open_suspect(tmp_path / "w", architecture()).network)


@pytest.mark.parametrize(
    "change",
    [
        {"image_size": 10**9}, {"num_classes": 10**13}, {"channels_in": 10**12}, {"num_classes": -1}, {"model": None},
        {"channels_in": "three"}, {"image_size": 2}, {"model": {"name": "alexnet", "norm": "bn", "width": 1e300}},
        {"model": {"name": "alexnet", "norm": "bn", "width": float("nan")}}, {"model": {"name": "vgg"}},
        {"model": {"name": "\x1b[2J", "norm": "bn", "width": 1}},
    ],
)  # fmt: skip
def test_a_claim_cannot_ask_for_any_architecture(change, tmp_path):
    """Sizes without end take no memory: the network gets what the file brings."""
    save_file(trained().state_dict(), tmp_path / "w")
    with pytest.raises(InputError) as refused:
        open_suspect(tmp_path / "w", architecture() | change)
    assert str(refused.value).isprintable()


def test_a_run_of_another_norm_does_not_fit(tmp_path):
    save_file(trained().state_dict(), Path(tmp_path / "w"))
    with pytest.raises(InputError, match=r"norm1.num_batches_tracked, norm1.running_mean, .* and 12 more has no place"):
        open_suspect(tmp_path / "w", architecture(norm="gn"))
