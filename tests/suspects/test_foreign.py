"""Weights as other projects keep them: behind a prefix, inside a checkpoint, in several files, as integers."""

from __future__ import annotations

import hashlib
import json
import warnings

import numpy as np
import onnx
import pytest
import torch
from onnx import helper, numpy_helper
from safetensors.torch import save_file
from torch import nn

from ipr.errors import InputError
from ipr.models import build_model
from ipr.models.as_onnx import onnx_bytes
from ipr.suspects.suspect import open_suspect

SIZES = {"channels_in": 1, "image_size": 8, "num_classes": 10}
ARCHITECTURE = {"model": {"name": "alexnet", "norm": "bn", "width": 0.1, "passport_layers": ["conv5"]}, **SIZES}


@pytest.fixture(scope="module")
def network() -> nn.Module:
    built = build_model("alexnet", norm="bn", width=0.1, **SIZES)
    source = torch.Generator().manual_seed(1)
    for tensor in built.state_dict().values():
        if tensor.is_floating_point():
            tensor.copy_(torch.randn(tensor.shape, generator=source).abs_() + 0.1)
    return built.eval()


@pytest.fixture
def state(network):
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


def behind(prefix, state):
    return {prefix + name: tensor for name, tensor in state.items()}


def assert_is(suspect, network):
    for name, tensor in network.state_dict().items():
        assert torch.equal(suspect.network.state_dict()[name], tensor), name


@pytest.mark.parametrize("prefix", ["net.", "backbone.", "model.student.encoder.", "0.", "module.net."])
@pytest.mark.parametrize("write", [save_file, torch.save])
def test_a_prefix_that_fits_is_taken_off_and_said(prefix, write, state, network, tmp_path, capsys):
    write(behind(prefix, state) | {"loss.weight": torch.ones(3), "head.weight": torch.ones(2, 2)}, tmp_path / "w")
    assert_is(open_suspect(tmp_path / "w", ARCHITECTURE), network)
    (line,) = capsys.readouterr().err.splitlines()
    assert f"from behind {prefix}" in line


def test_a_file_of_our_own_says_nothing(state, network, tmp_path, capsys):
    save_file(state, tmp_path / "w")
    assert_is(open_suspect(tmp_path / "w", ARCHITECTURE), network)
    assert capsys.readouterr().err == ""


def test_a_checkpoint_of_lightning_with_another_name_for_the_network(state, network, tmp_path):
    held = behind("net.", state) | {"metric.total": torch.tensor(3)}
    torch.save({"epoch": 1, "state_dict": held, "loops": {}, "callbacks": {}, "lr_schedulers": []}, tmp_path / "w")
    assert_is(open_suspect(tmp_path / "w", ARCHITECTURE), network)


@pytest.mark.parametrize("name", ["model_state_dict", "model", "net", "weights"])
def test_the_one_mapping_of_tensors_in_a_checkpoint(name, state, network, tmp_path):
    optimizer = torch.optim.SGD(network.parameters(), 0.1, momentum=0.9).state_dict()
    torch.save({"epoch": 3, "optimizer": optimizer, name: behind("module.", state), "best": 0.5}, tmp_path / "w")
    assert_is(open_suspect(tmp_path / "w", ARCHITECTURE), network)


@pytest.mark.parametrize(
    ("held", "words"),
    [
        (
            lambda s: behind("net.", s) | behind("ema.", {n: t.clone() for n, t in s.items()}),
            ["2 such networks (ema., net.)", "save one of them alone"],
        ),
        (lambda s: behind("net.", {n: t for n, t in s.items() if n != "linear.weight"}), ["does not fit AlexNet"]),
        (lambda s: behind("net", s), ["does not fit AlexNet"]),
    ],
    ids=["two networks", "one layer missing", "no dot"],
)
def test_what_does_not_fit_behind_one_prefix_is_refused(held, words, state, tmp_path):
    save_file(held(state), tmp_path / "w")
    with pytest.raises(InputError) as caught:
        open_suspect(tmp_path / "w", ARCHITECTURE)
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_two_networks_in_a_checkpoint_are_refused(state, tmp_path):
    torch.save({"model": state, "ema": state, "epoch": 3}, tmp_path / "w")
    with pytest.raises(InputError, match=r"several networks \(model, ema\).*save one of them alone"):
        open_suspect(tmp_path / "w", ARCHITECTURE)


def sharded(folder, state, write=save_file, ending="safetensors"):
    """As Hugging Face writes them, in two files."""
    folder.mkdir()
    names = sorted(state)
    parts = {f"model-0000{i}-of-00002.{ending}": names[i - 1 :: 2] for i in (1, 2)}
    for file, held in parts.items():
        write({name: state[name] for name in held}, folder / file)
    places = {name: file for file, held in parts.items() for name in held}
    index = folder / f"model.{ending}.index.json"
    index.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": places}))
    return index


@pytest.mark.parametrize(("write", "ending"), [(save_file, "safetensors"), (torch.save, "bin")])
@pytest.mark.parametrize("given", ["folder", "index"])
def test_several_files_with_an_index(write, ending, given, state, network, tmp_path):
    index = sharded(tmp_path / "w", behind("model.", state), write, ending)
    suspect = open_suspect(index if given == "index" else index.parent, ARCHITECTURE)
    assert_is(suspect, network)
    listing = "".join(
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in sorted(index.parent.iterdir())
    )
    assert (suspect.format, suspect.digest) == ("sharded", hashlib.sha256(listing.encode()).hexdigest())


def changed(index, change):
    content = json.loads(index.read_text())
    change(content["weight_map"], index.parent)
    index.write_text(json.dumps(content))


def elsewhere(places, folder):
    places["linear.weight"] = "../secret"


def absent(places, folder):
    (folder / places["linear.weight"]).unlink()


def linked(places, folder):
    file = folder / places["linear.weight"]
    (folder.parent / "kept").write_bytes(file.read_bytes())
    file.unlink()
    file.symlink_to(folder.parent / "kept")


def moved(places, folder):
    places["linear.weight"] = next(file for file in places.values() if file != places["linear.weight"])


def no_files(places, folder):
    places["linear.weight"] = 3


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (elsewhere, "names a file elsewhere"), (absent, "cannot be read"), (linked, "is a link"),
        (moved, "is not where the index says"), (no_files, "names no files"),
    ],
)  # fmt: skip
def test_an_index_that_leads_astray_is_refused(change, words, state, tmp_path):
    index = sharded(tmp_path / "w", state)
    changed(index, change)
    with pytest.raises(InputError, match=words):
        open_suspect(index, ARCHITECTURE)


def test_a_folder_without_an_index_points_at_the_weights_in_it(state, tmp_path):
    (tmp_path / "w").mkdir()
    with pytest.raises(InputError, match=r"is a folder.*give a weights file"):
        open_suspect(tmp_path / "w", ARCHITECTURE)
    save_file(state, tmp_path / "w/public.safetensors")
    with pytest.raises(InputError, match=r"is a folder.*give .*w/public\.safetensors"):
        open_suspect(tmp_path / "w", ARCHITECTURE)


def test_torchscript_says_what_to_give_instead(network, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch wishes that nobody used it
        torch.jit.save(torch.jit.trace(network, torch.zeros(1, 1, 8, 8)), tmp_path / "w")
    with pytest.raises(InputError, match=r"TorchScript.*state_dict.*safetensors"):
        open_suspect(tmp_path / "w", ARCHITECTURE)


def test_an_exported_program_says_what_to_give_instead(network, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.export.save(torch.export.export(network, (torch.zeros(1, 1, 8, 8),)), tmp_path / "w.pt2")
    with pytest.raises(InputError, match=r"torch\.export.*state_dict.*safetensors"):
        open_suspect(tmp_path / "w.pt2", ARCHITECTURE)


def quantised(model, per_channel, symmetric):
    """Stores the weights of convolutions and linear layers as int8 with DequantizeLinear, as quantisers do."""
    graph, stored = model.graph, {one.name: one for one in model.graph.initializer}
    made = []
    for node in graph.node:
        if node.op_type not in ("Conv", "Gemm"):
            continue
        name = node.input[1]
        weight = numpy_helper.to_array(stored[name])
        rows = weight.reshape(weight.shape[0], -1) if per_channel else weight.reshape(1, -1)
        low, high = (-abs(rows).max(1), abs(rows).max(1)) if symmetric else (rows.min(1).clip(max=0), rows.max(1))
        scale = ((high - low) / 254).astype(np.float32)
        zero = (
            np.zeros_like(scale, np.int8) if symmetric else np.rint(-127 - low / scale).clip(-128, 127).astype(np.int8)
        )
        integers = np.rint(rows / scale[:, None] + zero[:, None]).clip(-128, 127).astype(np.int8).reshape(weight.shape)
        graph.initializer.remove(stored[name])
        shape = scale.shape if per_channel else ()
        for ending, array in (("_q", integers), ("_s", scale.reshape(shape)), ("_z", zero.reshape(shape))):
            graph.initializer.append(numpy_helper.from_array(array, name + ending))
        axis = {"axis": 0} if per_channel else {}
        inputs = [f"{name}{ending}" for ending in ("_q", "_s", "_z")]
        made.append(helper.make_node("DequantizeLinear", inputs, [f"{name}_d"], **axis))
        node.input[1] = f"{name}_d"
    nodes = [*made, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    return model


@pytest.fixture(scope="module")
def exported(network) -> bytes:
    return onnx_bytes(network, 1, 8)


@pytest.mark.parametrize(("per_channel", "symmetric"), [(True, True), (False, True), (True, False), (False, False)])
@pytest.mark.sampled(2)
def test_integers_are_read_with_scale_and_zero_point(per_channel, symmetric, exported, network, tmp_path):
    model = quantised(onnx.load_from_string(exported), per_channel, symmetric)
    onnx.checker.check_model(model)
    (tmp_path / "w.onnx").write_bytes(model.SerializeToString())
    found = open_suspect(tmp_path / "w.onnx", ARCHITECTURE).network.state_dict()
    for name, tensor in network.state_dict().items():
        if tensor.dim() in (2, 4):
            assert not torch.equal(found[name], tensor)
            step = float(tensor.max() - min(tensor.min(), torch.tensor(0.0))) * 2 / 254
            assert float((found[name] - tensor).abs().max()) <= step, name
        elif "num_batches" not in name:
            assert torch.equal(found[name], tensor), name


def test_a_dequantised_weight_is_what_the_runtime_makes_of_it(exported, tmp_path):
    """ONNX Runtime runs the integer model; the network that is read gives the same answers."""
    import onnxruntime

    content = quantised(onnx.load_from_string(exported), True, False).SerializeToString()
    (tmp_path / "w.onnx").write_bytes(content)
    read = open_suspect(tmp_path / "w.onnx", ARCHITECTURE).network.eval()
    images = torch.rand(4, 1, 8, 8, generator=torch.Generator().manual_seed(2))
    (theirs,) = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"]).run(
        None, {"input": images.numpy()}
    )
    with torch.no_grad():
        torch.testing.assert_close(read(images), torch.from_numpy(theirs), rtol=1e-3, atol=1e-3)


def test_a_convolution_on_integers_is_read_too():
    from ipr.suspects.onnx_graph import layers_of

    weight = torch.tensor([[[[10]]], [[[-20]]]], dtype=torch.int8)
    tensors = {
        "xs": torch.tensor(0.5), "xz": torch.tensor(3, dtype=torch.int8), "w": weight,
        "ws": torch.tensor([0.1, 0.2]), "wz": torch.tensor([2, 4], dtype=torch.int8), "ys": torch.tensor(1.0),
        "yz": torch.tensor(0, dtype=torch.int8), "b": torch.tensor([100, 200], dtype=torch.int32),
    }  # fmt: skip
    node = helper.make_node("QLinearConv", ["x", "xs", "xz", "w", "ws", "wz", "ys", "yz", "b"], ["y"])
    (layer,) = layers_of([memoryview(node.SerializeToString())], tensors)
    torch.testing.assert_close(layer.tensors["weight"].flatten(), torch.tensor([0.8, -4.8]))
    torch.testing.assert_close(layer.tensors["bias"], torch.tensor([5.0, 20.0]))


@pytest.mark.parametrize("change", ["no scale", "other scales", "infinite scale", "read twice", "dynamic"])
def test_integers_that_cannot_be_read_are_refused_in_words(change, exported, tmp_path):
    model = quantised(onnx.load_from_string(exported), True, True)
    node = next(node for node in model.graph.node if node.op_type == "DequantizeLinear")
    stored = {one.name: one for one in model.graph.initializer}
    if change == "no scale":
        node.input[1] = "nothing"
    elif change == "read twice":
        model.graph.node.extend([node] * 100)
    elif change == "dynamic":
        node.op_type = "ConvInteger"
    else:
        scale = stored[node.input[1]]
        array = numpy_helper.to_array(scale)
        array = array[:-1] if change == "other scales" else np.full_like(array, np.inf)
        scale.CopyFrom(numpy_helper.from_array(array, scale.name))
    (tmp_path / "w.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(InputError) as caught:
        open_suspect(tmp_path / "w.onnx", ARCHITECTURE)
    assert caught.value.remedy
