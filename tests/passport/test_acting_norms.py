"""Norms that do more than normalise: timm's, which drop and act as well, against Eq. 3 written out."""

from __future__ import annotations

import copy
import pickle

import pytest
import timm
import torch
import torchvision
from timm.layers import (
    BatchNormAct2d,
    DropBlock2d,
    FrozenBatchNormAct2d,
    GroupNorm,
    GroupNorm1,
    GroupNorm1Act,
    GroupNormAct,
    LayerNormAct2d,
)
from torch import nn
from torch.nn import functional

import ipr
from ipr.errors import InputError
from ipr.passport.fork import fork
from ipr.passport.generate import random_passport
from ipr.passport.layer import Branch, PassportLayer, affines_of, passport_layers, presenting
from ipr.passport.surgery import find_layers, fold, protect, strip
from reference_forms import naive_affine

X = torch.randn(4, 3, 9, 9, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def identity(x):
    return x


NORMS = {
    "batch norm, relu in place": (lambda: BatchNormAct2d(8), functional.relu),
    "batch norm, silu": (lambda: BatchNormAct2d(8, act_layer="silu", inplace=False), functional.silu),
    "batch norm, no act": (lambda: BatchNormAct2d(8, apply_act=False), identity),
    "batch norm, cumulative": (lambda: BatchNormAct2d(8, momentum=None), functional.relu),
    "batch norm, no statistics": (lambda: BatchNormAct2d(8, track_running_stats=False), functional.relu),
    "batch norm, drop": (lambda: BatchNormAct2d(8, drop_layer=DropBlock2d), functional.relu),
    "group norm, gelu": (lambda: GroupNormAct(8, num_groups=2, act_layer="gelu", inplace=False), functional.gelu),
    "one group, relu": (lambda: GroupNorm1Act(8), functional.relu),
    "timm's group norm": (lambda: GroupNorm(8, num_groups=2), identity),
    "timm's one group": (lambda: GroupNorm1(8), identity),
}


class Net(nn.Module):
    """Two pairs, each of the norm; the second is protected, and its own norm is followed by the first kind again."""

    def __init__(self, make):
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(3, 8, 3, padding=1), make()
        self.conv2, self.norm2 = nn.Conv2d(8, 8, 3, stride=2, bias=False), make()
        self.conv3, self.norm3 = nn.Conv2d(8, 8, 1), make()
        self.linear = nn.Linear(8, 4)

    def forward(self, x):
        x = self.norm2(self.conv2(self.norm1(self.conv1(x))))
        return self.linear(self.norm3(self.conv3(x)).mean((2, 3)))


def protected(make, *, public_affine=True):
    torch.manual_seed(0)
    plain = Net(make).double()
    for norm in (plain.norm1, plain.norm2, plain.norm3):
        nn.init.normal_(norm.weight)
        nn.init.normal_(norm.bias)
    found = find_layers(plain, X[:1], ["conv2"])
    passport = {
        name: maps.double() * 5 for name, maps in random_passport(found, torch.Generator().manual_seed(2)).items()
    }
    return plain, passport, protect(plain, passport, X[:1], public_affine=public_affine)


def with_scale_of(plain, passport):
    """The plain network with what Eq. 4 gives, by a convolution over the passport, as its norm's affine."""
    there = copy.deepcopy(plain)
    gamma, beta = naive_affine(there.conv2, passport["conv2"])
    there.norm2.weight, there.norm2.bias = nn.Parameter(gamma.detach()), nn.Parameter(beta.detach())
    return there


def buffers_of(network):
    return {name: buffer.clone() for name, buffer in network.named_buffers() if "patch_means" not in name}


@pytest.mark.parametrize("public_affine", [True, False])
@pytest.mark.parametrize("name", NORMS)
def test_with_the_scales_of_its_passport_a_plain_network_answers_the_same(name, public_affine):
    """In training for three batches, with their statistics, and at rest; float64, to 1e-12."""
    plain, passport, network = protected(NORMS[name][0], public_affine=public_affine)
    same = with_scale_of(plain, passport)
    for images in torch.randn(3, 4, 3, 9, 9, dtype=torch.float64):
        torch.manual_seed(4)  # what is dropped
        expected = same.train()(images)
        torch.manual_seed(4)
        torch.testing.assert_close(network.train()(images), expected, rtol=1e-12, atol=1e-12)
    for key, buffer in buffers_of(same).items():
        torch.testing.assert_close(network.get_buffer(key), buffer, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(network.eval()(X), same.eval()(X), rtol=1e-12, atol=1e-12)
    assert (network(X) - plain.eval()(X)).abs().max() > 1e-3
    torch.testing.assert_close(strip(network, Branch.PRIVATE)(X), network(X), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", NORMS)
def test_scale_and_shift_come_first_and_the_activation_last(name):
    """Eq. 3 written out: what the layer makes of a map of its own."""
    make, act = NORMS[name]
    plain, passport, network = protected(make)
    gamma, beta = naive_affine(plain.conv2, passport["conv2"])
    layer, y = network.norm2.train(), torch.randn(4, 8, 5, 5, dtype=torch.float64)
    groups = layer.num_groups if isinstance(layer, nn.GroupNorm) else None
    rows = y.flatten(2).transpose(0, 1).flatten(1) if groups is None else y.reshape(4 * groups, -1)
    mean, var = rows.mean(1), rows.var(1, correction=0)
    shape = (1, 8, 1, 1) if groups is None else (4, groups, 1, 1, 1)
    cut = y if groups is None else y.unflatten(1, (groups, -1))
    normalised = ((cut - mean.view(shape)) / (var.view(shape) + layer.eps).sqrt()).view_as(y)
    expected = act(normalised * gamma.view(1, -1, 1, 1) + beta.view(1, -1, 1, 1))
    if name != "batch norm, drop":
        torch.testing.assert_close(layer(y), expected, rtol=1e-9, atol=1e-9)
    else:
        kept = layer(y) != 0
        assert 0 < kept.sum() < (expected != 0).sum()


@pytest.mark.parametrize("name", NORMS)
def test_a_network_goes_in_and_comes_out_as_it_was(name):
    plain, passport, network = protected(NORMS[name][0])
    plain.eval()
    network.eval()
    assert [*network.state_dict()] == [*plain.state_dict()]
    there = pickle.loads(pickle.dumps(copy.deepcopy(network)))
    assert torch.equal(there(X), network(X))
    for one in (network, there):
        assert isinstance(one.norm2, PassportLayer)
        stripped = strip(one)
        assert [type(module) for module in stripped.modules()] == [type(module) for module in plain.modules()]
        assert [*stripped.state_dict()] == [*plain.state_dict()]
        assert vars(stripped.norm2).keys() == vars(plain.norm2).keys()
        assert torch.equal(stripped(X), plain(X))
    torch.testing.assert_close(fold(plain, X[:1])(X), plain(X), rtol=1e-9, atol=1e-9)
    v1 = protect(plain, passport, X[:1], public_affine=False)
    assert plain.state_dict().keys() - v1.state_dict().keys() == {"norm2.weight", "norm2.bias"}
    assert [*strip(v1, Branch.PRIVATE).state_dict()] == [*plain.state_dict()]


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", [name for name in NORMS if "drop" not in name])
def test_both_branches_at_once_are_two_passes(name, training):
    """Answers, gradients and statistics: those of the public branch, moved once."""
    _, _, network = protected(NORMS[name][0])
    network.train(training)
    apart = copy.deepcopy(network)
    forked = fork(network, X[:1])
    assert forked.shares_trunk
    answers = forked(X, [affines_of(network, branch) for branch in Branch])
    with presenting(apart, affines_of(apart, Branch.PUBLIC)):
        public = apart(X)
    statistics = buffers_of(apart)
    expected = [public, apart(X)]
    torch.testing.assert_close(answers, expected, rtol=1e-12, atol=1e-12)
    for key, buffer in buffers_of(network).items():
        assert torch.equal(buffer, statistics[key]), key
    sum(answer.square().sum() for answer in answers).backward()
    sum(answer.square().sum() for answer in expected).backward()
    for one, two in zip(network.parameters(), apart.parameters(), strict=True):
        torch.testing.assert_close(one.grad, two.grad, rtol=1e-9, atol=1e-9)


def test_statistics_of_a_branch_are_those_of_a_pass_of_its_own():
    """Of norms behind the passport that drop and act, too: given back to the plain network they give its answers."""
    plain, passport, network = protected(NORMS["batch norm, silu"][0])
    network.eval()
    (private,) = fork(network, X[:1]).statistics(X, [affines_of(network, Branch.PRIVATE)])
    assert {*private} == {network.norm2, network.norm3}
    alone = with_scale_of(plain, passport).eval()
    for norm in (alone.norm2, alone.norm3):
        norm.train()
        norm.momentum = 1.0
    with torch.no_grad():
        alone(X)
    torch.testing.assert_close(private[network.norm3][0], alone.norm3.running_mean, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(private[network.norm3][1], alone.norm3.running_var, rtol=1e-9, atol=1e-9)


class Set(nn.BatchNorm2d):
    """Chooses its arguments, as people do, and does nothing else."""

    momentum: float | None

    def __init__(self, channels):
        super().__init__(channels, eps=0.1, momentum=0.5)


class Held(Set):
    """Stays in evaluation mode whatever the network does."""

    def train(self, mode=True):
        return super().train(False)


class Mixed(Set, nn.Sequential):
    """Has two parents."""


def test_a_subclass_that_but_chooses_its_arguments_is_protected():
    plain, _, network = protected(lambda: Set(8))
    assert isinstance(network.norm2, PassportLayer)
    assert [type(module) for module in strip(network).modules()] == [type(module) for module in plain.modules()]
    assert torch.equal(strip(network).eval()(X), plain.eval()(X))


class EvoNorm(nn.Module):
    def forward(self, x):
        return x / x.std((2, 3), keepdim=True)


@pytest.mark.parametrize(
    "norm",
    [
        FrozenBatchNormAct2d(8), torchvision.ops.FrozenBatchNorm2d(8), LayerNormAct2d(8), timm.layers.SimpleNorm2d(8),
        nn.SyncBatchNorm(8), timm.layers.SplitBatchNorm2d(8), EvoNorm(),
        Held(8), Mixed(8),
    ],
    ids=lambda norm: type(norm).__name__,
)  # fmt: skip
def test_other_norms_are_refused_by_their_name(norm):
    network = nn.Sequential(nn.Conv2d(3, 8, 3), norm)
    if isinstance(norm, nn.SyncBatchNorm):
        norm.forward = lambda x: x  # it knows no CPU
    for layers in (None, ["0"]):
        with pytest.raises(InputError, match=rf"{type(norm).__name__} is none of BatchNorm2d, GroupNorm"):
            find_layers(network, torch.randn(1, 3, 9, 9), layers)


def test_convolution_and_norm_are_found_within_any_block():
    block = torchvision.ops.Conv2dNormActivation(3, 8)
    named = nn.Sequential()
    named.add_module("Norm", nn.Conv2d(8, 8, 3))
    named.add_module("conv", nn.BatchNorm2d(8))
    found = find_layers(nn.Sequential(block, timm.layers.ConvNormAct(8, 8), named), torch.randn(1, 3, 9, 9))
    assert [(layer.conv, layer.norm) for layer in found] == [("0.0", "0.1"), ("1.conv", "1.bn"), ("2.Norm", "2.conv")]


class Depth(nn.Module):
    """A random depth in training, as Python decides it."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm2d(8)

    def forward(self, x):
        return self.norm(x) if self.training and x.sum() > 0 else x.relu()


class Deep(Net):
    def __init__(self, make, within):
        super().__init__(make)
        self.depth, self.within = Depth(), within

    def forward(self, x):
        x = self.norm2(self.conv2(self.norm1(self.conv1(x))))
        if self.within:
            x = self.depth(x)
        elif self.training and x.sum() > 0:
            x = -x
        return self.linear(x.mean((2, 3)))


@pytest.mark.parametrize("within", [True, False])
def test_what_python_decides_in_training_is_decided_for_each_branch(within):
    """Within a module the trunk is shared all the same; beside modules it takes full passes, in training alone."""
    torch.manual_seed(0)
    plain = Deep(lambda: nn.BatchNorm2d(8), within).double()
    passport = random_passport(find_layers(plain, X[:1], ["conv2"]), torch.Generator().manual_seed(2))
    network = protect(plain, {name: maps.double() for name, maps in passport.items()}, X[:1], public_affine=True)
    apart, forked = copy.deepcopy(network), fork(network, X[:1])
    assert forked.shares_trunk
    calls = []
    network.conv1.register_forward_hook(lambda *_: calls.append(1))
    answers = forked(X, [affines_of(network.train(), branch) for branch in Branch])
    assert len(calls) == (1 if within else 2)
    with presenting(apart.train(), affines_of(apart, Branch.PUBLIC)):
        public = apart(X)
    torch.testing.assert_close(answers, [public, apart(X)], rtol=1e-12, atol=1e-12)
    assert len(passport_layers(network)) == 1


class Lists(nn.Module):
    """Asks whether it was given a list, as timm's SelecSLS does, and answers with one."""

    def __init__(self, pair):
        super().__init__()
        self.pair = pair

    def forward(self, x):
        given = x if isinstance(x, list) else [x]
        return [self.pair(given[0]), given[1] if len(given) == 2 else given[0].relu()]


class Listing(nn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.two = (Lists(nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3))) for _ in range(2))

    def forward(self, x):
        one, other = self.two(self.one(x))
        return (one + other).mean((2, 3))


def test_modules_that_hand_on_lists_are_followed_and_share_the_trunk():
    torch.manual_seed(0)
    plain = Listing().double().eval()
    passport = random_passport(find_layers(plain, X[:1], ["two"]), torch.Generator().manual_seed(2))
    network = protect(plain, {name: maps.double() for name, maps in passport.items()}, X[:1], public_affine=True)
    forked = fork(network, X[:1])
    assert forked.shares_trunk
    answers = forked(X, [affines_of(network, branch) for branch in Branch])
    torch.testing.assert_close(answers, [plain(X), network(X)], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("build", ["fcn_resnet50", "ssdlite320_mobilenet_v3_large"])
def test_networks_that_answer_with_a_tree_of_tensors_are_refused_in_words(build):
    kind = torchvision.models.get_model
    network = kind(build, weights=None, weights_backbone=None)
    for use in (
        lambda: ipr.find_layers(network, torch.randn(1, 3, 64, 64)),
        lambda: ipr.protect(
            network, {"backbone": torch.zeros(2, 3, 8, 8)}, torch.randn(1, 3, 64, 64), public_affine=True
        ),
    ):
        with pytest.raises(InputError, match=r"network=\w+: answers with \w+, and not with .*logits alone"):
            use()
