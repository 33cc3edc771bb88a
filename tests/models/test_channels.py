"""Which channels belong together, and that what may be done to them changes no answer."""

import copy
import itertools

import pytest
import torch
from torch import nn

from ipr.config.registry import entries
from ipr.errors import InputError
from ipr.models import build_model
from ipr.models.channels import symmetry
from ipr.models.gauge import before_norms, permute, random_order, restate, scale

SHAPES = [
    *((name, norm, 16) for name in entries("model") for norm in ("bn", "gn") if (name, norm) != ("vit", "gn")),
    ("torchvision:resnet18", "bn", 32), ("torchvision:resnet18", "gn", 32), ("torchvision:mobilenet_v2", "bn", 32),
    ("torchvision:mobilenet_v3_small", "bn", 32), ("torchvision:squeezenet1_1", "bn", 32),
    ("torchvision:shufflenet_v2_x0_5", "bn", 32), ("torchvision:resnext50_32x4d", "bn", 32),
]  # fmt: skip


def used(name, norm, size):
    """A network whose norms have scales, shifts and statistics of their own, and images for it."""
    torch.manual_seed(0)
    width = 1 if name.startswith("torchvision:") else 0.25
    network = build_model(name, norm=norm, width=width, channels_in=3, image_size=size, num_classes=10)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d | nn.GroupNorm):
            nn.init.normal_(module.weight)
            nn.init.normal_(module.bias)
    x = torch.randn(4, 3, size, size)
    with torch.no_grad():
        network(x)
        network(x)
    return network.eval(), x


def unchanged(network, x, expected):
    with torch.no_grad():
        return float((network(x) - expected).abs().max()) <= 1e-5 * float(expected.abs().max())


@pytest.mark.sampled(4)
@pytest.mark.parametrize(("name", "norm", "size"), SHAPES)
def test_no_answer_changes(name, norm, size):
    """Each in turn and then all of them together, each against the network's own answers."""
    network, x = used(name, norm, size)
    with torch.no_grad():
        expected = network(x)
    before = copy.deepcopy(network.state_dict())
    found, source = symmetry(network, x[:1]), torch.Generator().manual_seed(1)
    assert all(torch.equal(tensor, before[key]) for key, tensor in network.state_dict().items())
    for channels in found.free:
        permute(network, channels, random_order(channels, source))
    assert unchanged(network, x, expected)
    for segment in found.segments:
        low, high = (-2.0, 2.0) if segment.signed else (0.5, 2.0)
        factors = low + (high - low) * torch.rand(segment.channels // segment.block, generator=source)
        normed = any(isinstance(network.get_submodule(taker), nn.GroupNorm) for taker, _ in segment.takers)
        if normed:  # a factor below 1 would let eps be felt
            factors = factors.sign() * factors.abs().clamp(min=1)
        scale(network, segment, (factors + factors.sign() * 0.05).repeat_interleave(segment.block))
    assert unchanged(network, x, expected)
    for segment in before_norms(network, found):
        conv, norm_ = (network.get_submodule(n) for n in (segment.makers[0], segment.takers[0][0]))
        if isinstance(norm_, nn.BatchNorm2d):
            drawn = torch.randn(segment.channels, generator=source)
            restate(conv, norm_, norm_.running_mean + drawn, norm_.running_var * drawn.abs())
    assert unchanged(network, x, expected)
    state = network.state_dict()
    assert not any(
        torch.equal(state[f"{one.makers[0]}.weight"], before[f"{one.makers[0]}.weight"]) for one in found.free
    )


def test_what_belongs_together_in_alexnet():
    network, x = used("alexnet", "gn", 16)
    found = symmetry(network, x[:1])
    assert [one.pinned for one in found.sets] == ["they are the input", "", "", "", "", "", "they are the output"]
    second, last = found.free[1], found.free[-1]
    assert (second.channels, second.block, second.makers, second.takers) == (48, 16, ("conv2",), (("conv3", 1),))
    assert {(axis.tensor, axis.axis) for axis in second.axes} == {
        ("conv2.weight", 0), ("norm2.weight", 0), ("norm2.bias", 0), ("conv3.weight", 1)
    }  # fmt: skip
    assert last.takers == (("linear", 4),)  # four places of the flattened map for each channel
    assert [s.block for s in found.segments] == [16, 1] * 5
    assert [s.signed for s in found.segments] == [True, False] * 5


def test_a_residual_stream_is_one_set():
    network, x = used("resnet18", "bn", 16)
    stream = next(one for one in symmetry(network, x[:1]).free if "conv1" in one.makers)
    assert stream.makers == ("conv1", "conv2_x.0.conv2", "conv2_x.1.conv2")
    assert [name for name, _ in stream.takers] == [
        "conv2_x.0.conv1", "conv2_x.1.conv1", "conv3_x.0.conv1", "conv3_x.0.shortcut.0"
    ]  # fmt: skip


def test_a_permutation_is_the_one_asked_for():
    """Against moving rows and columns by hand."""
    network, x = used("alexnet", "bn", 16)
    moved, order = copy.deepcopy(network), torch.randperm(16, generator=torch.Generator().manual_seed(2))
    permute(moved, symmetry(network, x[:1]).free[0], order)
    assert torch.equal(moved.conv1.weight, network.conv1.weight[order])
    assert torch.equal(moved.norm1.running_var, network.norm1.running_var[order])
    assert torch.equal(moved.conv2.weight, network.conv2.weight[:, order])
    assert torch.equal(moved.conv3.weight, network.conv3.weight)


def test_a_random_order_keeps_blocks():
    network, x = used("alexnet", "gn", 16)
    channels = symmetry(network, x[:1]).free[1]
    order = random_order(channels, torch.Generator().manual_seed(0))
    assert sorted(order.tolist()) == list(range(48))
    assert all(len({c // 16 for c in block.tolist()}) == 1 for block in order.split(16))
    assert not torch.equal(order // 16, torch.arange(48) // 16)


class Twice(nn.Module):
    """A convolution that runs twice, one behind whose output other channels are joined, and one that is free."""

    def __init__(self):
        super().__init__()
        self.first, self.twice = nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1)
        self.joined, self.free, self.last = nn.Conv2d(4, 4, 1), nn.Conv2d(8, 5, 1), nn.Conv2d(5, 2, 1)

    def forward(self, x):
        x = self.twice(self.twice(self.first(x)))
        return self.last(torch.relu(self.free(torch.cat([self.joined(x), x], 1)))).mean((2, 3))


def test_what_is_not_understood_stays_and_says_why():
    found = symmetry(Twice(), torch.zeros(1, 3, 4, 4))
    reasons = {one.makers: one.pinned for one in found.sets if one.makers}
    assert reasons[("first",)] == "twice is used more than once"
    assert reasons[("joined",)] == "cat is not understood"
    assert reasons[("free",)] == ""


class Choosy(nn.Module):
    def forward(self, x):
        return x if x.sum() > 0 else -x


def test_what_cannot_be_traced_is_refused():
    with pytest.raises(InputError, match="network=Choosy: its channels cannot be followed"):
        symmetry(Choosy(), torch.zeros(1, 3, 4, 4))


def test_every_pair_of_sets_is_apart():
    network, x = used("resnet50", "gn", 16)
    sets = symmetry(network, x[:1]).sets
    for one, other in itertools.combinations(sets, 2):
        assert not {*one.axes} & {*other.axes}
    state = network.state_dict()
    assert {a.tensor for one in sets for a in one.axes} == {*state}
