"""Which networks have gradients that torch cannot compute deterministically on CUDA, beside what they really run."""

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torchvision import models

from ipr.config.registry import entries
from ipr.models import build_model
from ipr.models.determinism import without_deterministic_gradient

NONDETERMINISTIC = {
    "aten::_adaptive_avg_pool2d_backward", "aten::_adaptive_avg_pool3d_backward", "aten::adaptive_max_pool2d_backward",
    "aten::avg_pool3d_backward", "aten::fractional_max_pool2d_backward", "aten::fractional_max_pool3d_backward",
    "aten::max_unpool2d", "aten::max_unpool3d", "aten::reflection_pad1d_backward", "aten::reflection_pad2d_backward",
    "aten::reflection_pad3d_backward", "aten::upsample_linear1d_backward", "aten::upsample_bilinear2d_backward",
    "aten::upsample_bicubic2d_backward", "aten::upsample_trilinear3d_backward",
}  # fmt: skip
"""What raises on CUDA in deterministic mode."""


class Ran(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.names = set()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.names.add(function._schema.name)
        return function(*args, **(kwargs or {}))


def raises(build, *shape):
    """Whether one of these is run in a step; without memory or arithmetic."""
    with torch.device("meta"):
        network, x = build().train(), torch.zeros(*shape, requires_grad=True)
        with Ran() as ran:
            network(x).sum().backward()
    return network, bool(ran.names & NONDETERMINISTIC)


@pytest.mark.parametrize(
    "name", ["alexnet", "vgg11", "vgg11_bn", "resnet18", "densenet121", "mobilenet_v2", "squeezenet1_1", "swin_t"]
)
def test_torchvisions_classifiers(name):
    network, expected = raises(lambda: models.get_model(name, weights=None, num_classes=10), 2, 3, 224, 224)
    assert (without_deterministic_gradient(network) is not None) == expected
    assert expected == (name in ("alexnet", "vgg11", "vgg11_bn"))


@pytest.mark.parametrize(
    ("name", "norm"),
    [(name, norm) for name in entries("model") for norm in ("bn", "gn") if (name, norm) != ("vit", "gn")],
)
def test_our_own_networks_are_fine(name, norm):
    if (name, norm) == ("vit", "gn"):
        return  # is refused
    sizes = {"width": 0.25, "channels_in": 3, "image_size": 32, "num_classes": 10}
    network, expected = raises(lambda: build_model(name, norm=norm, **sizes), 2, 3, 32, 32)
    assert not expected
    assert without_deterministic_gradient(network) is None


@pytest.mark.parametrize(
    "module",
    [
        nn.AdaptiveAvgPool2d(2), nn.AdaptiveAvgPool2d((1, 2)), nn.AdaptiveAvgPool2d((None, 1)), nn.AdaptiveAvgPool2d(1),
        nn.AdaptiveMaxPool2d(2), nn.ReflectionPad2d(1), nn.ReplicationPad2d(1), nn.ZeroPad2d(1), nn.MaxPool2d(2),
        nn.AvgPool2d(2), nn.Upsample(scale_factor=2, mode="bilinear"), nn.Upsample(scale_factor=2, mode="nearest"),
        nn.Conv2d(3, 3, 3, padding=1, padding_mode="reflect"), nn.Conv2d(3, 3, 3, padding=1),
    ],
    ids=repr,
)  # fmt: skip
def test_modules(module):
    network, expected = raises(lambda: nn.Sequential(module.to("meta")), 2, 3, 8, 8)
    found = without_deterministic_gradient(network)
    assert found == (f"0 ({type(module).__name__})" if expected else None)
