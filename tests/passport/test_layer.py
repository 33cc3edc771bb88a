import copy
import pickle

import pytest
import torch
from timm.layers import Conv2dSame, StdConv2dSame, pad_same
from torch import nn

from ipr.passport.fork import fork
from ipr.passport.generate import random_passport
from ipr.passport.layer import (
    Branch,
    affines_of,
    passport_layers,
    patch_mean,
    presenting,
    scale_and_shift,
)
from ipr.passport.surgery import find_layers, fold, protect, strip
from reference_forms import answer_with, cross_entropies, naive_affine, naive_protect, two_passes
from references import default_layers, protected

CONVOLUTIONS = [
    dict(kernel_size=3, padding=1),
    dict(kernel_size=5, padding=2, stride=2),
    dict(kernel_size=1, stride=2),
    dict(kernel_size=(3, 1), padding=(2, 0), dilation=(2, 1)),
    dict(kernel_size=3, padding="same", dilation=2),
    dict(kernel_size=4, padding="same"),
    dict(kernel_size=3, padding=1, groups=2),
    dict(kernel_size=3, padding=1, groups=4, bias=False),
    dict(kernel_size=3, padding=1, padding_mode="reflect"),
    dict(kernel_size=3, padding=(1, 2), padding_mode="circular"),
]


def both(network):
    """The scales and shifts of both branches, the public one first."""
    return [affines_of(network, branch) for branch in Branch]


@pytest.mark.parametrize("options", CONVOLUTIONS, ids=str)
@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")
def test_gamma_is_the_product_with_one_patch_mean(options, device):
    """Fact 1: Avg(W * P) = <W, S>, values and gradients."""
    conv = nn.Conv2d(4, 8, **options).double()
    passport = torch.randn(2, 4, 9, 7, dtype=torch.float64)
    expected = torch.stack(naive_affine(conv, passport))
    there = copy.deepcopy(conv).to(device)
    got = torch.cat(scale_and_shift(there.weight, patch_mean(passport.to(device), there)[None]))
    torch.testing.assert_close(got.cpu(), expected, rtol=0, atol=1e-9)
    weights = torch.randn_like(expected)
    (slow,) = torch.autograd.grad((expected * weights).sum(), conv.weight)
    (fast,) = torch.autograd.grad((got * weights.to(device)).sum(), there.weight)
    torch.testing.assert_close(fast.cpu(), slow, rtol=0, atol=1e-9)


@pytest.mark.parametrize("kind", [Conv2dSame, StdConv2dSame])
@pytest.mark.parametrize(
    "options", [dict(kernel_size=5, stride=2), dict(kernel_size=(2, 3), stride=3, groups=2)], ids=str
)
def test_a_convolution_that_pads_by_the_size_of_its_input_is_the_same(kind, options):
    """timm's: with the stored weights, where the convolution standardises them first."""
    conv = kind(4, 8, bias=False, **({"dilation": 2} if kind is Conv2dSame else {}), **options).double()
    for size in ((9, 7), (3, 4)):
        passport = torch.randn(2, 4, *size, dtype=torch.float64)
        padded = pad_same(passport, conv.kernel_size, conv.stride, conv.dilation)
        maps = torch.conv2d(padded, conv.weight, None, conv.stride, 0, conv.dilation, conv.groups)
        if kind is Conv2dSame:
            torch.testing.assert_close(conv(passport), maps)
        got = torch.cat(scale_and_shift(conv.weight, patch_mean(passport, conv)[None]))
        torch.testing.assert_close(got, maps.mean((2, 3)), rtol=0, atol=1e-9)


def test_many_passports_at_once_are_each_alone():
    conv = nn.Conv2d(4, 8, 3, groups=2).double()
    passports = torch.randn(5, 2, 4, 6, 6, dtype=torch.float64)
    means = torch.stack([patch_mean(p, conv) for p in passports])
    gamma, beta = scale_and_shift(conv.weight, means)
    for k, passport in enumerate(passports):
        torch.testing.assert_close((gamma[k], beta[k]), naive_affine(conv, passport), rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", ["alexnet", "resnet18", "resnet50"])
@pytest.mark.parametrize("norm", ["bn", "gn"])
@pytest.mark.parametrize("training", [True, False])
def test_both_branches_equal_two_naive_passes(name, norm, training, device):
    """Fact 2: one trunk, the same losses and gradients as Algorithm 6 pass by pass, in float64 to 1e-9.

    Each pass has statistics of its own, those of its batch in training; the network keeps those of the public one.
    """
    network, plain, passport = protected(name, norm)
    network, plain = network.double().train(training), plain.double().train(training)
    with torch.no_grad():
        for a, b in zip(network.parameters(), plain.parameters(), strict=True):
            b.copy_(a.add_(0.02 * torch.randn_like(a)))
    naive = naive_protect(plain, {k: v.double() for k, v in passport.items()})
    for key, layer in passport_layers(network).items():
        layer.patch_means = patch_mean(passport[key].double(), layer.conv)[None]
    x, y = torch.randn(4, 3, 16, 16, dtype=torch.float64), torch.tensor([0, 1, 2, 3])
    public = copy.deepcopy(naive)
    answer_with(public, 0)
    public(x)
    slow = cross_entropies(two_passes(naive, x), y)
    network, there = network.to(device), x.to(device)
    fast = cross_entropies(fork(network, there[:1])(there, both(network)), y.to(device))
    torch.testing.assert_close(fast.cpu(), slow, rtol=0, atol=1e-9)
    slow.sum().backward()
    fast.sum().backward()
    expected = {k.replace("norm.", ""): p.grad for k, p in naive.named_parameters()}
    network.to("cpu")
    for key, parameter in network.named_parameters():
        torch.testing.assert_close(parameter.grad, expected[key], rtol=1e-9, atol=1e-9)
    if norm == "bn":
        for one, two in zip(
            [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)],
            [m for m in public.modules() if isinstance(m, nn.BatchNorm2d)],
            strict=True,
        ):
            torch.testing.assert_close(one.running_mean, two.running_mean, rtol=1e-9, atol=1e-9)
            torch.testing.assert_close(one.running_var, two.running_var, rtol=1e-9, atol=1e-9)
            assert int(one.num_batches_tracked) == int(two.num_batches_tracked) == training
            assert one.track_running_stats


@pytest.mark.parametrize("name", ["alexnet", "resnet18"])
def test_the_trunk_runs_once(name):
    network, _, _ = protected(name, "gn")
    forked = fork(network, torch.randn(1, 3, 16, 16))
    calls = {}
    first, last = network.conv2 if name == "alexnet" else network.conv5_x[0].conv1, network.linear
    for key, module in (("trunk", first), ("tail", last)):
        module.register_forward_hook(lambda m, a, out, key=key: calls.setdefault(key, []).append(out.shape[0]))
    forked(torch.randn(3, 3, 16, 16), both(network))
    assert calls == {"trunk": [3], "tail": [3, 3]}


@pytest.mark.parametrize(("name", "norm"), [("alexnet", "bn"), ("alexnet", "gn"), ("resnet18", "gn")])
def test_rival_passports_share_the_trunk_and_answer_as_alone(name, norm, device):
    network, _, _ = protected(name, norm)
    network = network.double().eval().to(device)
    layers = passport_layers(network)
    means = {key: torch.randn(4, *layer.patch_means.shape[1:], dtype=torch.float64) for key, layer in layers.items()}
    rivals = {key: scale_and_shift(layer.conv.weight.detach(), means[key].to(device)) for key, layer in layers.items()}
    x = torch.randn(2, 3, 16, 16, dtype=torch.float64).to(device)
    each = [{key: (g[k : k + 1], b[k : k + 1]) for key, (g, b) in rivals.items()} for k in range(4)]
    each.insert(0, affines_of(network, Branch.PUBLIC))
    together = fork(network, x[:1])(x, each)
    assert [answer.shape for answer in together] == [(2, 10)] * 5
    for answer, own in zip(together, each, strict=True):
        with presenting(network, own):
            torch.testing.assert_close(answer, network(x), rtol=0, atol=1e-9)


def test_a_skip_around_the_first_passport_layer_joins_trunk_and_tail(device):
    network, plain, passport = protected("resnet18", "gn", layers=["conv5_x.1.conv1"])
    network = network.double()
    naive = naive_protect(plain.double(), {k: v.double() for k, v in passport.items()})
    for key, layer in passport_layers(network).items():
        layer.patch_means = patch_mean(passport[key].double(), layer.conv)[None]
    x = torch.randn(2, 3, 16, 16, dtype=torch.float64)
    forked = fork(network.to(device), x[:1].to(device))
    assert forked.shares_trunk
    answers = torch.stack(forked(x.to(device), both(network)))
    torch.testing.assert_close(answers.cpu(), torch.stack(two_passes(naive, x)), rtol=0, atol=1e-9)


class _ChangesInPlace(nn.Module):
    """A skip that the tail adds to in place: a second tail would find what the first one left."""

    def __init__(self):
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(3, 16, 3, padding=1), nn.GroupNorm(1, 16)
        self.conv2, self.norm2 = nn.Conv2d(16, 16, 3, padding=1), nn.GroupNorm(1, 16)

    def forward(self, x):
        skip = self.norm1(self.conv1(x))
        skip.add_(self.norm2(self.conv2(skip)))
        return skip.mean((2, 3))


class _DecidesByValue(_ChangesInPlace):
    """Python looks at a value: this cannot be traced."""

    def forward(self, x):
        x = self.norm2(self.conv2(self.norm1(self.conv1(x))))
        return x.mean((2, 3)) if x.sum() > 0 else x.amax((2, 3))


@pytest.mark.parametrize("kind", [_ChangesInPlace, _DecidesByValue])
def test_a_graph_that_cannot_be_split_takes_full_passes(kind, device):
    torch.manual_seed(0)
    plain, x = kind(), torch.randn(2, 3, 8, 8)
    layers = find_layers(plain, x, ["conv2"])
    network = protect(plain, random_passport(layers, torch.Generator()), x, public_affine=True).to(device)
    x = x.to(device)
    forked = fork(network, x[:1])
    assert not forked.shares_trunk
    with presenting(network, affines_of(network, Branch.PUBLIC)):
        public = network(x)
    expected = [public, network(x)]
    torch.testing.assert_close(forked(x, both(network)), expected, rtol=0, atol=0)


def test_an_example_that_does_not_fit_is_not_taken_for_a_graph_that_cannot_be_split():
    network, _, _ = protected()
    with pytest.raises(RuntimeError, match="channels"):
        fork(network, torch.randn(1, 5, 16, 16))


@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("public_affine", [True, False])
@pytest.mark.parametrize(
    "norm",
    [
        lambda affine: nn.BatchNorm2d(6, affine=affine),
        lambda affine: nn.BatchNorm2d(6, momentum=None, affine=affine),
        lambda affine: nn.BatchNorm2d(6, momentum=1.0, affine=affine),
        lambda affine: nn.BatchNorm2d(6, momentum=0.0, affine=affine),
        lambda affine: nn.BatchNorm2d(6, track_running_stats=False, affine=affine),
        lambda affine: nn.BatchNorm2d(6, momentum=None, track_running_stats=False, affine=affine),
        lambda affine: nn.GroupNorm(2, 6, affine=affine),
    ],
    ids=["momentum", "cumulative", "momentum 1", "momentum 0", "no statistics", "neither", "group norm"],
)
def test_it_normalises_as_torch_does(norm, affine, public_affine):
    """Three batches, then at rest: the answers and the statistics of the plain norm with its scale and shift."""
    torch.manual_seed(0)
    plain, x = nn.Sequential(nn.Conv2d(3, 6, 3), norm(affine)), torch.randn(1, 3, 8, 8)
    passport = random_passport(find_layers(plain, x), torch.Generator().manual_seed(0))
    network = protect(plain, passport, x, public_affine=public_affine)
    for images in torch.randn(3, 4, 3, 8, 8):
        with presenting(network, affines_of(network, Branch.PUBLIC)):
            torch.testing.assert_close(network.train()(images), plain.train()(images), rtol=1e-6, atol=1e-6)
    for name, statistic in plain[1].named_buffers():
        assert torch.equal(network[1].get_buffer(name), statistic), name
    images = torch.randn(4, 3, 8, 8)
    with presenting(network, affines_of(network, Branch.PUBLIC)):
        torch.testing.assert_close(network.eval()(images), plain.eval()(images), rtol=1e-6, atol=1e-6)
    assert torch.equal(strip(network)(images), plain(images))
    torch.testing.assert_close(strip(network, Branch.PRIVATE)(images), network(images))
    torch.testing.assert_close(fold(plain, x)(images), plain(images), rtol=1e-4, atol=1e-4)
    assert str(strip(network)) == str(plain)


def test_statistics_that_are_no_longer_tracked_stay_as_they_are():
    """`track_running_stats` may be set at any time: torch then uses the batch's in training, and those kept at rest."""
    network, plain, _ = protected("alexnet", "bn")
    layer, norm = network.norm5, copy.deepcopy(plain.norm5)
    assert isinstance(layer, nn.BatchNorm2d)
    layer.track_running_stats = norm.track_running_stats = False
    for training in (True, False):
        x = torch.randn(4, norm.num_features, 3, 3)
        torch.testing.assert_close(layer.train(training)(x, layer.public_affine()), norm.train(training)(x))
    assert all(torch.equal(layer.get_buffer(name), value) for name, value in norm.named_buffers())


def test_several_passports_need_a_fork():
    network, _, _ = protected()
    two = {key: (torch.ones(2, layer.conv.out_channels),) * 2 for key, layer in passport_layers(network).items()}
    with pytest.raises(ValueError, match=r"2 scales for conv3; let ipr\.fork"), presenting(network, two):
        pass
    network(torch.randn(1, 3, 16, 16))  # nothing of it is left


def test_other_scales_last_only_inside():
    network, _, _ = protected()
    zeros = {key: (torch.zeros(1, layer.conv.out_channels),) * 2 for key, layer in passport_layers(network).items()}
    x, public = torch.randn(2, 3, 16, 16), affines_of(network, Branch.PUBLIC)
    genuine = network(x)
    with presenting(network, zeros):
        assert not torch.equal(network(x), genuine)
    with pytest.raises(RuntimeError, match="on purpose"):
        with presenting(network, zeros), presenting(network, public):
            raise RuntimeError("on purpose")
    assert torch.equal(network(x), genuine)


def test_the_passport_reaches_the_weights_of_its_convolution_only(device):
    """gamma's gradient goes into W (Eq. 4), not into a parameter of its own."""
    network, _, _ = protected("alexnet", "bn", public_affine=False)
    layer = passport_layers(network.to(device))["conv4"]
    gamma, _ = layer.passport_affine()
    gamma.sum().backward()
    touched = {name for name, p in network.named_parameters() if p.grad is not None}
    assert touched == {"conv4.weight"}
    c_in, *kernel = network.conv4.weight.shape[1:]
    mean = layer.patch_means[0, 0].reshape(*kernel, c_in).movedim(-1, 0)
    torch.testing.assert_close(network.conv4.weight.grad, mean.expand_as(network.conv4.weight))


def _works_with_its_own_weights(network, x):
    """Changing a convolution's weights changes what its passport layer derives from them."""
    before = passport_layers(network)["conv4"].passport_affine()[0].clone()
    with torch.no_grad():
        network.conv4.weight.mul_(2)
    after = passport_layers(network)["conv4"].passport_affine()[0]
    torch.testing.assert_close(after, 2 * before)
    return network(x)


@pytest.mark.parametrize("through", ["deepcopy", "pickle", "to", "load_state_dict"])
def test_the_tie_to_the_convolution_survives(through, device):
    network, _, _ = protected("alexnet", "gn")
    network, x = network.to(device), torch.randn(2, 3, 16, 16).to(device)
    expected = network(x)
    if through == "deepcopy":
        moved = copy.deepcopy(network)
    elif through == "pickle":
        moved = pickle.loads(pickle.dumps(network))
    elif through == "to":
        moved = copy.deepcopy(network).to(torch.float64).to(torch.float32)
    else:
        moved, _, _ = protected("alexnet", "gn")
        moved.to(device).load_state_dict(network.state_dict())
    moved = moved.to(device)  # a pickle of the emulated device is opened on the CPU
    torch.testing.assert_close(moved(x), expected)
    _works_with_its_own_weights(moved, x)
    torch.testing.assert_close(network(x), expected)  # the original is untouched


def test_bfloat16_autocast_keeps_gamma_in_full_precision(device):
    network, _, _ = protected("alexnet", "gn")
    exact = passport_layers(network.to(device))["conv3"].passport_affine()[0]
    with torch.autocast(device.type, torch.bfloat16):
        inside = passport_layers(network)["conv3"].passport_affine()[0]
        assert network(torch.randn(2, 3, 16, 16).to(device)).isfinite().all()
    assert inside.dtype == torch.float32
    assert torch.equal(inside, exact)


@pytest.mark.parametrize(("norm", "public_affine"), [("bn", False), ("gn", True)])
@pytest.mark.sampled(2)
def test_it_compiles_into_one_graph(norm, public_affine):
    network, _, _ = protected("alexnet", norm, public_affine=public_affine)
    network.eval()
    compiled = torch.compile(network, backend="aot_eager", fullgraph=True)
    x = torch.randn(2, 3, 16, 16)
    torch.testing.assert_close(compiled(x), network(x))
    with torch.no_grad():
        network.conv4.weight.mul_(2)
    torch.testing.assert_close(compiled(x), network(x))


def test_layers_are_named_by_their_convolutions():
    for name in ("alexnet", "resnet18"):
        network, _, passport = protected(name)
        assert set(passport_layers(network)) == set(passport)
        assert all(key.startswith(tuple(default_layers(name))) for key in passport)
    with pytest.raises(ValueError, match=r"no passport layer.*ipr\.protect"):
        passport_layers(nn.Linear(1, 1))


def test_it_trains_under_distributed_data_parallel(tmp_path):
    """DDP broadcasts buffers and hooks gradients; neither breaks the tie nor changes what is learnt."""
    network, _, _ = protected("alexnet", "gn")
    alone = copy.deepcopy(network)
    x = torch.randn(4, 3, 16, 16)
    torch.distributed.init_process_group("gloo", init_method=f"file://{tmp_path}/rendezvous", rank=0, world_size=1)
    try:
        parallel = nn.parallel.DistributedDataParallel(network, find_unused_parameters=True)
        parallel(x).square().mean().backward()
    finally:
        torch.distributed.destroy_process_group()
    alone(x).square().mean().backward()
    for one, two in zip(network.parameters(), alone.parameters(), strict=True):
        torch.testing.assert_close(torch.zeros_like(one) if one.grad is None else one.grad,
                                   torch.zeros_like(two) if two.grad is None else two.grad)  # fmt: skip
    _works_with_its_own_weights(network, x)
