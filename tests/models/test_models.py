import sys

import pytest
import timm
import torch
import torchvision
from torch import nn

from ipr.config.registry import entries
from ipr.errors import InputError
from ipr.models import build_model
from ipr.models.claimed import network_of


def shapes(network):
    return [tuple(p.shape) for p in network.parameters() if p.dim() > 1]


def test_alexnet_is_table_iii():
    network = build_model("alexnet", norm="bn", width=1, channels_in=3, image_size=32, num_classes=10)
    assert shapes(network) == [
        (64, 3, 5, 5), (192, 64, 5, 5), (384, 192, 3, 3), (256, 384, 3, 3), (256, 256, 3, 3), (10, 4096),
    ]  # fmt: skip


def test_resnet18_is_table_iii():
    network = build_model("resnet18", norm="bn", width=1, channels_in=3, image_size=32, num_classes=10)
    sizes = shapes(network)
    assert sizes[0] == (64, 3, 3, 3)
    assert sizes[-1] == (10, 512)
    for channels in (64, 128, 256, 512):
        assert sum(s[0] == channels and s[2:] == (3, 3) for s in sizes) == (5 if channels == 64 else 4)
    outputs = {}
    for name in ("conv1", "conv2_x", "conv3_x", "conv4_x", "conv5_x"):
        network.get_submodule(name).register_forward_hook(lambda m, a, o, n=name: outputs.update({n: o.shape[2]}))
    network(torch.randn(1, 3, 32, 32))
    assert outputs == {"conv1": 32, "conv2_x": 32, "conv3_x": 16, "conv4_x": 8, "conv5_x": 4}


def test_resnet50_counts_as_published():
    network = build_model("resnet50", norm="bn", width=1, channels_in=3, image_size=32, num_classes=10)
    assert sum(isinstance(m, nn.Conv2d) for m in network.modules()) == 53
    published = 25_557_032  # torchvision's, with a 7x7 stem and 1000 classes
    assert sum(p.numel() for p in network.parameters()) == published - 64 * 3 * (49 - 9) - 2049 * 1000 + 2049 * 10


@pytest.mark.parametrize("name", [name for name in entries("model") if name != "vit"])
@pytest.mark.parametrize("norm", ["bn", "gn"])
@pytest.mark.parametrize("width", [0.1, 0.3, 0.5])
def test_every_width_and_norm_runs_and_trains(name, norm, width):
    network = build_model(name, norm=norm, width=width, channels_in=1, image_size=16, num_classes=7)
    out = network(torch.randn(2, 1, 16, 16))
    assert out.shape == (2, 7)
    out.sum().backward()
    assert all(p.grad is not None for p in network.parameters())
    kinds = {nn.BatchNorm2d, nn.GroupNorm} & {type(m) for m in network.modules()}
    assert kinds == {nn.BatchNorm2d if norm == "bn" else nn.GroupNorm}
    if norm == "gn" and width == 0.5:
        assert all(m.num_channels == 16 * m.num_groups for m in network.modules() if isinstance(m, nn.GroupNorm))


@pytest.mark.parametrize(("width", "channels", "size", "tokens"), [(0.1, 1, 8, 65), (0.5, 3, 32, 65), (1, 3, 28, 50)])
def test_a_vision_transformer_of_every_size_runs_and_trains(width, channels, size, tokens):
    network = build_model("vit", norm="bn", width=width, channels_in=channels, image_size=size, num_classes=7)
    torch.nn.init.normal_(network.heads.head.weight)  # torchvision begins with zeros
    out = network(torch.randn(2, channels, size, size))
    assert out.shape == (2, 7)
    out.sum().backward()
    assert all(p.grad is not None for p in network.parameters())
    assert network.encoder.pos_embedding.shape == (1, tokens, 32 * max(1, round(6 * width)))
    with pytest.raises(InputError, match=r"model\.norm=gn: a transformer has layer norms; give bn"):
        build_model("vit", norm="gn", width=width, channels_in=channels, image_size=size, num_classes=7)


def test_initial_weights_are_he_fan_out():
    network = build_model("alexnet", norm="bn", width=1, channels_in=3, image_size=32, num_classes=10)
    assert network.conv4.weight.std().item() == pytest.approx((2 / (256 * 9)) ** 0.5, rel=0.02)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"name": "vgg"},
            "model.name=vgg: is not a model; choose among: alexnet, resnet18, resnet50, vit, torchvision:NAME, timm:",
        ),
        ({"norm": "ln"}, "model.norm=ln: is not a norm; choose bn or gn"),
        ({"width": 0}, "model.width=0: must be above 0"),
        ({"image_size": 4}, "dataset.image_size=4: is too small"),
    ],
)
def test_wrong_requests_are_refused(change, message):
    wanted = {"name": "alexnet", "norm": "bn", "width": 1, "channels_in": 3, "image_size": 32, "num_classes": 10}
    with pytest.raises(InputError, match=message):
        build_model(**wanted | change)


@pytest.mark.parametrize("norm", ["bn", "gn"])
def test_a_network_of_torchvision_is_its_own_class_with_fresh_weights(norm):
    wanted = {"norm": norm, "width": 1, "channels_in": 3, "image_size": 32, "num_classes": 7}
    torch.manual_seed(1)
    network = build_model("torchvision:resnet18", **wanted)
    torch.manual_seed(1)
    theirs = torchvision.models.resnet18(num_classes=7)
    assert type(network) is type(theirs)
    found, plain = network.state_dict(), theirs.state_dict()
    assert {name for name in plain if "running" not in name and "tracked" not in name} <= found.keys() <= plain.keys()
    assert all(torch.equal(found[name], plain[name]) for name in found)
    kinds = {nn.BatchNorm2d, nn.GroupNorm} & {type(module) for module in network.modules()}
    assert kinds == {nn.BatchNorm2d if norm == "bn" else nn.GroupNorm}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "torchvision:fcn_resnet50"}, "model.name=torchvision:fcn_resnet50: is no classifier of torchvision"),
        ({"width": 0.5}, "model.width=0.5: the sizes of torchvision:resnet18 are torchvision's; give 1"),
        ({"channels_in": 1}, "dataset.name=.*takes 3 channels; choose a data set in colour"),
        ({"norm": "gn", "name": "torchvision:densenet121"}, "model.norm=gn: torchvision:densenet121 cannot be built"),
        ({"norm": "gn", "name": "torchvision:mobilenet_v3_small"}, "model.norm=gn: .* must be divisible"),
        ({"name": "torchvision:googlenet"}, "answers with more than logits in training"),
        ({"name": "torchvision:alexnet"}, "dataset.image_size=32: torchvision:alexnet cannot take it"),
        ({"name": "torchvision:vit_b_16"}, "dataset.image_size=32: .*Expected 224"),
    ],
)
def test_what_torchvision_cannot_build_is_refused(change, message):
    wanted = {"norm": "bn", "width": 1, "channels_in": 3, "image_size": 32, "num_classes": 10}
    with pytest.raises(InputError, match=message):
        build_model(**{"name": "torchvision:resnet18"} | wanted | change)


@pytest.mark.parametrize("name", ["torchvision:regnet_y_400mf"])
def test_a_network_that_asks_for_numbers_while_it_is_built_is_built(name):
    torch.manual_seed(1)
    theirs = torchvision.models.get_model(name.partition(":")[2], num_classes=7).state_dict()
    torch.manual_seed(1)
    network = build_model(name, norm="bn", width=1.0, channels_in=3, image_size=32, num_classes=7)
    assert all(
        torch.equal(tensor, theirs[key]) for key, tensor in network.state_dict().items()
    )  # nothing was drawn before
    assert network.eval()(torch.zeros(2, 3, 32, 32)).shape == (2, 7)
    assert not any(parameter.is_meta for parameter in network.parameters())
    architecture = {"model": {"name": name, "norm": "bn", "width": 1.0}, "channels_in": 3, "image_size": 32}
    assert network_of(architecture | {"num_classes": 7}).state_dict().keys() == theirs.keys()  # a claim may name it


@pytest.mark.parametrize("name", ["resnet18", "densenet121"])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_network_of_timm_is_its_own_class_with_fresh_weights(name, channels):
    torch.manual_seed(1)
    network = build_model(f"timm:{name}", norm="bn", width=1, channels_in=channels, image_size=32, num_classes=7)
    torch.manual_seed(1)
    theirs = timm.create_model(name, pretrained=False, num_classes=7, in_chans=channels)
    assert [type(module) for module in network.modules()] == [type(module) for module in theirs.modules()]
    found, plain = network.state_dict(), theirs.state_dict()
    assert found.keys() == plain.keys()
    assert all(torch.equal(found[key], plain[key]) for key in found)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "timm:resnet18.a1_in1k"}, "model.name=timm:resnet18.a1_in1k: is no architecture of timm"),
        ({"name": "timm:hf-hub:somebody/resnet"}, "is no architecture of timm"),
        ({"name": "timm:local-dir:/tmp"}, "is no architecture of timm"),
        ({"width": 0.5}, "model.width=0.5: the sizes of timm:resnet18 are timm's; give 1"),
        ({"norm": "gn"}, "model.norm=gn: the norms of timm:resnet18 are timm's; give bn, or an architecture that has"),
        ({"name": "timm:vit_tiny_patch16_224"}, "dataset.image_size=32: timm:vit_tiny_patch16_224 cannot take it"),
    ],
)
def test_what_timm_cannot_build_is_refused(change, message):
    wanted = {"norm": "bn", "width": 1, "channels_in": 3, "image_size": 32, "num_classes": 10}
    with pytest.raises(InputError, match=message):
        build_model(**{"name": "timm:resnet18"} | wanted | change)


def test_who_lacks_timm_is_told_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(InputError, match=r"timm:resnet18: .* not installed; pip install 'ipr-passports\[timm\]'"):
        build_model("timm:resnet18", norm="bn", width=1, channels_in=3, image_size=32, num_classes=10)
