"""What is given away: the judged network's answers from the card and the file alone, and not one byte of a secret."""

import hashlib
import json
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
import torchvision
from safetensors.torch import load_file

from ipr import configuration
from ipr.data.opening import open_images
from ipr.judging.claim_kinds import load_claim
from ipr.models import build_model
from ipr.models.as_onnx import onnx_bytes
from ipr.models.claimed import network_of
from ipr.passport.layer import passport_layers
from ipr.passport.surgery import protect
from ipr.schemes.start import load_suspect, plain_network
from ipr.workflows.export import export
from ipr.workflows.train import train
from ipr.workflows.unlock import unlock_file

TEXT, KEY = "this text is mine", "a key that nobody guesses"
TINY = (
    "dataset.limit_train=96", "dataset.limit_test=40", "optimizer.batch_size=32", "trainer.max_epochs=1",
    "trainer.progress_bar=false", "trainer.accelerator=cpu", "verification.forged=0", "logger=csv", "passport=random",
    f"passport.key='{KEY}'",
)  # fmt: skip
DIGITS = ("dataset=digits", "dataset.image_size=8", "model.width=0.25")
COLOUR = (
    "model=torchvision", "dataset=digits_rgb", "dataset.image_size=16", "dataset.limit_train=32",
    "dataset.limit_test=20", "optimizer.batch_size=16",
)  # fmt: skip
RUNS = {
    "baseline": ("scheme=baseline", "model=resnet18", *DIGITS),
    "v1-alexnet": ("scheme=passport_v1", f"scheme.signature='{TEXT}'", "model=alexnet", *DIGITS),
    "v1-resnet18": ("scheme=passport_v1", "model.norm=gn", "model=resnet18", *DIGITS),
    "v2": ("scheme=passport_v2", f"scheme.signature='{TEXT}'", "model=resnet18", *DIGITS),
    "v3": ("scheme=passport_v3", "model=alexnet", *DIGITS),
    "watermark": ("scheme=trigger_set", "model=alexnet", "model.norm=gn", *DIGITS),
    "v1-torchvision": ("scheme=passport_v1", *COLOUR),
    "v2-torchvision": (
        "scheme=passport_v2",
        "model.norm=bn",
        *COLOUR,
        "model.name=torchvision:shufflenet_v2_x0_5",
        "scheme.layers=[conv5]",
    ),
}
GIVEN = [
    ("baseline", "public"), ("v1-alexnet", "locked"), ("v1-alexnet", "folded"), ("v1-resnet18", "folded"),
    ("v2", "public"), ("v3", "public"), ("watermark", "public"), ("v1-torchvision", "folded"),
    ("v2-torchvision", "public"),
]  # fmt: skip


@pytest.fixture
def store(cache, trained):
    """Gives a finished run of `RUNS`: its folder, its configuration and its images."""

    def find(name):
        config = configuration("train", *TINY, f"paths.cache={cache}", *RUNS[name])
        return trained(config).folder, config, open_images(config.dataset, config.paths)

    return find


def judged(folder, config, data, kind):
    """The network whose answers the judge has seen: with its passport layers where the file is to work without."""
    network = load_suspect(config.model, data, folder.weights)
    if kind != "folded":
        return network.eval()
    return protect(network, load_claim(folder.claim).passport, torch.zeros(1, *shape(data)), public_affine=False).eval()


def shape(data):
    return data.channels, data.image_size, data.image_size


def answers(network, x):
    with torch.no_grad():
        return network.eval()(x).numpy()


def read(path):
    return load_file(path) if path.suffix == ".safetensors" else torch.load(path, weights_only=True)


@pytest.mark.parametrize(
    ("name", "kind"),
    [pytest.param(*given, marks=() if given == ("v1-alexnet", "folded") else pytest.mark.slow) for given in GIVEN],
)
def test_every_format_answers_as_the_judged_network_and_holds_no_secret(store, tmp_path, name, kind):
    folder, config, data = store(name)
    pixels = data.test_pixels[:7]
    reference = answers(
        judged(folder, config, data, kind),
        ((pixels / 255 - torch.tensor(data.mean)) / torch.tensor(data.std)).permute(0, 3, 1, 2),
    )
    needles = secrets(folder, config, data)
    before = contents(folder.path)
    small = name != "v2-torchvision"  # its graph is large, and translating it slow
    for format in ("safetensors", "torch", *(["onnx"] if small else [])):
        path = export(folder.path, format, tmp_path / f"given.{format}", kind)
        card = json.loads(path.with_name(f"{path.name}.json").read_text())
        assert (card["format"], card["kind"]) == (format, kind)
        assert card["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
        mean, std = (torch.tensor(card["input"][name]) for name in ("mean", "std"))
        x = ((pixels / 255 - mean) / std).permute(0, 3, 1, 2).contiguous()
        network = network_of(card["architecture"])
        if format == "onnx":
            session = onnxruntime.InferenceSession(path)
            for count in (1, 7):
                (found,) = session.run(["logits"], {"input": x[:count].numpy()})
                assert np.abs(found - reference[:count]).max() < 1e-5
            check_graph(onnx.load(path), network, load_file(folder.weights))
        else:
            weights = read(path)
            assert weights.keys() == (load_file(folder.weights) if kind == "locked" else network.state_dict()).keys()
            assert all(type(tensor) is torch.Tensor and not tensor.requires_grad for tensor in weights.values())
            for private in private_affines(folder, config, data):
                assert any(alike(private, tensor) for tensor in weights.values()) == (kind == "folded")
            network.load_state_dict(weights, strict=kind != "locked")
            assert np.abs(answers(network, x) - reference).max() < 1e-5
            if config.model.name.startswith("torchvision") and config.model.norm == "bn":
                theirs = torchvision.models.get_model(config.model.name.split(":")[1], num_classes=10)
                theirs.load_state_dict(weights)
                assert np.abs(answers(theirs, x) - reference).max() < 1e-5
        for content in (path.read_bytes(), path.with_name(f"{path.name}.json").read_bytes()):
            assert not [what for what, bytes_ in needles.items() if bytes_ in content]
    assert contents(folder.path) == before


def private_affines(folder, config, data):
    """Scale and shift that the passport gives each layer, whose signs spell the signature."""
    if not config.scheme.name.startswith("passport"):
        return []
    affines = load_claim(folder.claim).affines(load_suspect(config.model, data, folder.weights))
    return [tensor[0].detach() for pair in affines.values() for tensor in pair]


def alike(one, other):
    """The same but for what sums of thousands of numbers are rounded by."""
    return one.shape == other.shape and bool((one - other).abs().max() <= 1e-6 * one.abs().max())


def check_graph(model, network, given):
    """An operator for each module, and the weights under their names; no word of this machine."""
    operators, modules = operators_of(model), Counter(type(module).__name__ for module in network.modules())
    for operator, module in (
        ("Conv", "Conv2d"),
        ("BatchNormalization", "BatchNorm2d"),
        ("GroupNormalization", "GroupNorm"),
        ("Gemm", "Linear"),
    ):
        assert operators[operator] == modules[module]
    held = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    for name, tensor in given.items():
        assert name.endswith("num_batches_tracked") or np.array_equal(held[name], tensor.numpy()), name
    assert b"site-packages" not in model.SerializeToString()
    assert str(Path(__file__).parents[2]).encode() not in model.SerializeToString()


def operators_of(model):
    return Counter(node.op_type for node in model.graph.node)


def secrets(folder, config, data):
    """Bytes by which each secret of a run would be known in a file: what they are, and they themselves."""
    found = {"text": TEXT.encode(), "key": KEY.encode(), "place": str(folder.path.parent).encode()}
    if not folder.claim.exists():
        return found
    claim = load_claim(folder.claim)
    tensors = claim.tensors()
    if config.scheme.name.startswith("passport"):
        network = load_suspect(config.model, data, folder.weights)
        protected = protect(network, claim.passport, torch.zeros(1, *shape(data)), public_affine=True)
        tensors |= {f"patch means of {name}": layer.patch_means for name, layer in passport_layers(protected).items()}
    pieces = {}
    for name, tensor in tensors.items():
        whole = tensor.numpy().tobytes()
        middle = len(whole) // 2
        pieces |= {f"{name}, start": whole[:32], f"{name}, middle": whole[middle : middle + 32]}
    pieces = {what: bytes_ for what, bytes_ in pieces.items() if len({*bytes_}) > 1}  # not what is black, or nothing
    stored = (folder.claim / "secrets.safetensors").read_bytes()
    assert sum(bytes_ in stored for bytes_ in pieces.values()) >= len(claim.tensors())  # they are found where they are
    return found | pieces


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.slow
def test_the_same_run_gives_the_same_bytes_and_the_graph_of_a_plain_network(store, tmp_path):
    folder, config, data = store("v1-alexnet")
    for format, ending in (("safetensors", ".safetensors"), ("torch", ".pt"), ("onnx", ".onnx")):
        path = export(folder.path, format, None, "folded")
        assert path == folder.path / "export" / f"alexnet-folded{ending}"  # by default in the run's folder
        again = export(folder.path, format, tmp_path / "new" / f"another{ending}", "folded")
        for end in ("", ".json"):
            assert Path(f"{path}{end}").read_bytes() == Path(f"{again}{end}").read_bytes()
    assert export(folder.path, "torch", None, "folded") == path.with_suffix(".pt")  # it is there already
    plain = onnx_bytes(plain_network(config.model, data, 1), data.channels, data.image_size)
    assert operators_of(onnx.load(path)) == operators_of(onnx.load_from_string(plain))
    for name in ("v2", "v2-torchvision"):
        folder, _, _ = store(name)
        assert export(folder.path).read_bytes() == folder.weights.read_bytes()


@pytest.mark.sampled(2)
@pytest.mark.parametrize("format", ["safetensors", "torch"])
def test_a_locked_file_is_at_chance_until_it_is_unlocked(cache, tmp_path, format):
    asked = [a for a in TINY if not a.startswith(("dataset.limit", "trainer.max_epochs"))]
    places = (f"paths.runs={cache}/runs", f"paths.cache={cache}")
    config = configuration("train", *asked, *places, *RUNS["v1-alexnet"], "trainer.max_epochs=6")
    folder, data = train(config).folder, open_images(config.dataset, config.paths)
    x = ((data.test_pixels / 255 - data.mean[0]) / data.std[0]).permute(0, 3, 1, 2)
    path = export(folder.path, format, tmp_path / f"alexnet-locked.{format}")
    network = build_model("alexnet", norm="bn", width=0.25, channels_in=1, image_size=8, num_classes=10)
    assert network.load_state_dict(read(path), strict=False).missing_keys
    assert np.mean(answers(network, x).argmax(1) == data.test_labels.numpy()) < 0.3
    folded = unlock_file(path, folder.claim)
    assert folded == tmp_path / f"alexnet-folded.{format}"
    network.load_state_dict(read(folded))
    reference = answers(judged(folder, config, data, "folded"), x)
    assert np.abs(answers(network, x) - reference).max() < 1e-5
    assert np.mean(reference.argmax(1) == data.test_labels.numpy()) > 0.8
    assert folded.read_bytes() == export(folder.path, format, tmp_path / "folded", "folded").read_bytes()
