import copy
import math
from collections import OrderedDict

import pytest
import timm
import torch
import torchvision
from torch import nn

from ipr.errors import InputError
from ipr.models import build_model
from ipr.passport.fork import fork
from ipr.passport.generate import random_passport
from ipr.passport.layer import Branch, PassportLayer, affines_of, passport_layers, presenting
from ipr.passport.surgery import find_layers, fold, protect, strip
from references import default_layers, protected, small

FOREIGN = {
    "torchvision resnet18": (lambda: torchvision.models.resnet18(num_classes=7), "layer4", 5),
    "torchvision vgg11_bn": (lambda: torchvision.models.vgg11_bn(num_classes=7), "features", 8),
    "timm resnet18": (lambda: timm.create_model("resnet18", num_classes=7, zero_init_last=False), "layer4", 5),
    "torchvision shufflenet": (lambda: torchvision.models.shufflenet_v2_x0_5(num_classes=7), "stage4.1", 3),
}


@pytest.mark.parametrize(
    "source", [pytest.param(name, marks=pytest.mark.slow if "vgg" in name else ()) for name in FOREIGN]
)
@pytest.mark.parametrize("public_affine", [True, False])
def test_in_and_out_of_networks_we_did_not_write(source, public_affine):
    build, where, count = FOREIGN[source]
    plain, x = build().eval(), torch.randn(2, 3, 64, 64)
    untouched = copy.deepcopy(plain.state_dict())
    found = find_layers(plain, x[:1], [where])
    assert len(found) == count
    network = protect(
        plain, random_passport(found, torch.Generator().manual_seed(0)), x[:1], public_affine=public_affine
    )
    assert len(passport_layers(network)) == count
    assert not any(isinstance(m, PassportLayer) for m in plain.modules())
    assert all(torch.equal(v, untouched[k]) for k, v in plain.state_dict().items())
    with presenting(network, affines_of(network, Branch.PUBLIC)):
        torch.testing.assert_close(network(x), plain(x))  # fresh norms have scale 1 and shift 0
    assert (network(x) - plain(x)).abs().max() > 1e-3
    if public_affine:
        build().load_state_dict(network.state_dict())  # the plain architecture's own names and shapes
    stripped, folded = strip(network), strip(network, Branch.PRIVATE)
    torch.testing.assert_close(stripped(x), plain(x))
    torch.testing.assert_close(folded(x), network(x), rtol=1e-4, atol=1e-4)
    build().load_state_dict(folded.state_dict())
    assert str(stripped) == str(plain)


@pytest.mark.parametrize("norm", ["bn", "gn"])
@pytest.mark.parametrize("name", ["alexnet", "resnet18", "resnet50"])
def test_folding_at_rest_is_exact(name, norm):
    """Fact 3, float64, after the norms and weights have moved from where they start."""
    network, plain, _ = protected(name, norm)
    network = network.double()
    for parameter in network.parameters():
        parameter.data += 0.05 * torch.randn_like(parameter)
    network(torch.randn(8, 3, 16, 16, dtype=torch.float64))  # moves running statistics
    network.eval()
    x = torch.randn(2, 3, 16, 16, dtype=torch.float64)
    folded = strip(network, Branch.PRIVATE)
    torch.testing.assert_close(folded(x), network(x), rtol=0, atol=1e-9)
    with presenting(network, affines_of(network, Branch.PUBLIC)):
        public = network(x)
    torch.testing.assert_close(strip(network)(x), public, rtol=0, atol=1e-9)
    plain.double().load_state_dict(strip(network).state_dict())
    torch.testing.assert_close(plain.eval()(x), strip(network)(x), rtol=0, atol=0)
    assert {type(m) for m in folded.modules()} == {type(m) for m in plain.modules()}


@pytest.mark.parametrize("norm", ["bn", "gn"])
def test_state_dict_holds_nothing_of_the_passport(norm):
    network, plain, passport = protected("alexnet", norm)
    assert list(network.state_dict()) == list(plain.state_dict())
    other = protect(plain, {k: v + 1 for k, v in passport.items()}, torch.randn(1, 3, 16, 16), public_affine=True)
    assert all(torch.equal(v, other.state_dict()[k]) for k, v in network.state_dict().items())
    locked, _, _ = protected("alexnet", norm, public_affine=False)
    replaced = {f"norm{i}.{part}" for i in (3, 4, 5) for part in ("weight", "bias")}
    assert set(plain.state_dict()) - set(locked.state_dict()) == replaced
    assert set(locked.state_dict()) <= set(plain.state_dict())
    assert [n for n, _ in network.named_parameters()] == [n for n, _ in plain.named_parameters()]


def test_only_the_named_layers_are_replaced():
    network, plain, _ = protected("alexnet", "gn", layers=["conv4"])
    assert list(passport_layers(network)) == ["conv4"]
    assert type(network.norm3) is nn.GroupNorm
    assert type(network.norm4).__name__ == "PassportGroupNorm"
    assert network.norm4.num_groups == plain.norm4.num_groups


def test_protecting_remembers_training_mode_and_leaves_statistics_alone():
    plain = small(norm="bn").train()
    before = copy.deepcopy(plain.state_dict())
    example = torch.randn(1, 3, 16, 16)
    found = find_layers(plain, example)
    network = protect(plain, random_passport(found, torch.Generator()), example, public_affine=True)
    assert all(m.training for m in [*plain.modules(), *network.modules()])
    assert all(torch.equal(v, before[k]) for k, v in network.state_dict().items())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in [*plain.modules(), *network.modules()])


def test_every_table_iii_network_offers_its_layers():
    for name, bits in (("alexnet", 384 + 256 + 256), ("resnet18", 5 * 512)):
        network = build_model(name, norm="bn", width=1, channels_in=3, image_size=32, num_classes=10)
        found = find_layers(network, torch.randn(1, 3, 32, 32), default_layers(name))
        assert sum(layer.channels for layer in found) == bits  # the authors' 896 and 2560


def test_a_name_that_matches_nothing_is_refused_with_those_that_do():
    with pytest.raises(InputError, match=r"scheme.layers=\['conv9'\].*choose among: conv1, conv2"):
        find_layers(small(), torch.randn(1, 3, 16, 16), ["conv3", "conv9"])
    with pytest.raises(InputError, match="no convolution"):
        find_layers(small(), torch.randn(1, 3, 16, 16), ["linear"])


def test_a_prefix_is_a_module_and_not_a_part_of_a_name():
    wide = nn.Sequential()
    wide.add_module("conv1", nn.Conv2d(3, 16, 3))
    wide.add_module("norm1", nn.BatchNorm2d(16))
    wide.add_module("conv10", nn.Conv2d(16, 16, 3))
    wide.add_module("norm10", nn.BatchNorm2d(16))
    assert [f.conv for f in find_layers(wide, torch.randn(1, 3, 16, 16), ["conv1"])] == ["conv1"]


class Shifted(nn.BatchNorm2d):
    """A norm that does more than its parent, which nobody has told us."""

    def forward(self, x):
        return super().forward(x) + 1


@pytest.mark.parametrize(
    ("norm", "why"),
    [
        (nn.InstanceNorm2d(16), "InstanceNorm2d is none"),
        (Shifted(16), "Shifted is none"),
    ],
)
def test_norms_that_cannot_be_protected_are_refused(norm, why):
    network = nn.Sequential(nn.Conv2d(3, 16, 3), norm)
    for layers in (None, ["0"]):
        with pytest.raises(InputError, match=rf"{why}.*cannot be protected"):
            find_layers(network, torch.randn(1, 3, 16, 16), layers)


def test_a_convolution_that_runs_twice_is_refused():
    block = nn.Sequential(nn.Conv2d(3, 3, 3), nn.BatchNorm2d(3))
    with pytest.raises(InputError, match="more than once"):
        find_layers(nn.Sequential(block, block), torch.randn(1, 3, 16, 16), ["0.0"])


def test_a_network_without_norms_is_refused():
    with pytest.raises(InputError, match="no convolution is followed by a norm"):
        find_layers(nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU()), torch.randn(1, 3, 8, 8))


def test_passports_that_do_not_fit_are_refused():
    _, plain, passport = protected()
    example = torch.randn(1, 3, 16, 16)
    with pytest.raises(InputError, match=r"conv3: \(2, 48, 5, 5\).*must be \(2, 48, 4, 4\)"):
        protect(plain, passport | {"conv3": torch.zeros(2, 48, 5, 5)}, example, public_affine=True)
    with pytest.raises(InputError, match="nothing would be protected"):
        protect(plain, {}, example, public_affine=True)
    with pytest.raises(InputError, match="conv7"):
        protect(plain, {"conv7": torch.zeros(2, 48, 4, 4)}, example, public_affine=True)


def test_an_optimiser_made_afterwards_trains_the_public_affine_too():
    network, _, _ = protected("alexnet", "gn")
    forked = fork(network, torch.randn(1, 3, 16, 16))
    answers = forked(torch.randn(4, 3, 16, 16), [affines_of(network, branch) for branch in Branch])
    torch.stack(answers).square().mean().backward()
    assert all(p.grad is not None for p in network.parameters())


@pytest.mark.parametrize("name", ["alexnet", "resnet18", "torchvision resnet18", "timm resnet18"])
def test_batch_norms_fold_into_their_convolutions(name):
    """Float64, after weights and statistics have moved: the same answers, no batch norm, the original as it was."""
    plain = (FOREIGN[name][0]() if name in FOREIGN else small(name, "bn")).double().train()
    for parameter in plain.parameters():
        parameter.data += 0.05 * torch.randn_like(parameter)
    plain(torch.randn(8, 3, 32, 32, dtype=torch.float64) if name in FOREIGN else torch.randn(8, 3, 16, 16).double())
    plain.eval()
    x = torch.randn(4, 3, 32, 32) if name in FOREIGN else torch.randn(4, 3, 16, 16)
    before = copy.deepcopy(plain.state_dict())
    folded = fold(plain, x[:1].double())
    assert not any(isinstance(m, nn.BatchNorm2d) for m in folded.modules())
    torch.testing.assert_close(folded(x.double()), plain(x.double()), rtol=1e-9, atol=1e-9)
    assert all(torch.equal(v, before[k]) for k, v in plain.state_dict().items())


def test_a_v1_network_folds_with_its_passport_and_group_norm_stays():
    network, _, _ = protected("alexnet", "bn", public_affine=False)
    x = torch.randn(4, 3, 16, 16)
    network.eval()
    torch.testing.assert_close(fold(strip(network, Branch.PRIVATE), x[:1])(x), network(x), rtol=1e-4, atol=1e-4)
    grouped, _, _ = protected("alexnet", "gn")
    folded = fold(strip(grouped), x[:1])
    assert sum(isinstance(m, nn.GroupNorm) for m in folded.modules()) == 5
    with pytest.raises(InputError, match="has passport layers; strip it first"):
        fold(network, x[:1])


def test_a_convolution_whose_output_is_used_twice_is_not_folded():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)
            self.norm.running_var.fill_(4.0)

        def forward(self, x):
            x = self.conv(x)
            return x + self.norm(x)

    with pytest.raises(InputError, match="uses a convolution's output twice"):
        fold(Twice().eval(), torch.randn(1, 3, 8, 8))


def numbered(norm):
    """Children that are numbered, but not from nought."""
    network = nn.Sequential()
    for name, layer in zip("1234567", [*stem(), nn.Conv2d(4, 6, 3), norm, nn.ReLU(), nn.Flatten()], strict=True):
        network.add_module(name, layer)
    return network


def named(norm):
    return nn.Sequential(OrderedDict({"stem": nn.Sequential(*stem()), "conv": nn.Conv2d(4, 6, 3), "norm": norm}))


def stem():
    return nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU()


class Keeping(nn.Module):
    """A norm that has two names, stands in a list, and is called by the last."""

    def __init__(self, norm):
        super().__init__()
        self.norm, self.conv = norm, nn.Conv2d(3, 6, 3)
        self.stages = nn.ModuleDict({"1": nn.Identity(), "0": norm})
        self.all = [self.conv, norm]

    def forward(self, x):
        for layer in self.all:
            x = layer(x)
        return x


KINDS = {"numbered": numbered, "named": named, "twice": Keeping}
CONVS = {"numbered": "4", "named": "conv", "twice": "conv"}


@pytest.mark.parametrize("public_affine", [True, False])
@pytest.mark.parametrize("affine", [True, False, "scale alone"])
@pytest.mark.parametrize("kind", KINDS)
def test_layers_are_replaced_whatever_their_names_are(kind, affine, public_affine):
    norm = nn.BatchNorm2d(6, affine=bool(affine))
    if affine == "scale alone":
        norm.register_parameter("bias", None)
    plain, x = KINDS[kind](norm).eval(), torch.randn(2, 3, 8, 8)
    if affine and public_affine:
        torch.nn.init.normal_(norm.weight)
    (found,) = find_layers(plain, x, [CONVS[kind]])
    network = protect(plain, random_passport([found], torch.Generator().manual_seed(0)), x, public_affine=public_affine)
    assert [type(m).__name__ for m in network.modules() if isinstance(m, PassportLayer)] == ["PassportBatchNorm2d"]
    assert isinstance(network.get_submodule(found.norm), PassportLayer)
    assert (network(x) - plain(x)).abs().max() > 1e-3
    stripped = strip(network)
    assert str(stripped) == str(plain)
    assert [*stripped.state_dict()] == [*plain.state_dict()]
    torch.testing.assert_close(stripped(x), plain(x))
    torch.testing.assert_close(strip(network, Branch.PRIVATE)(x), network(x), rtol=1e-4, atol=1e-4)
    for given in (stripped, strip(network, Branch.PRIVATE)):
        names = {name for module in given.modules() for name in [*vars(module), *module._buffers]}
        assert not names & {"patch_means", "_conv", "presented", "branch", "plain_affine"}
    assert [type(m).__name__ for m in network.modules() if isinstance(m, PassportLayer)] == ["PassportBatchNorm2d"]
    torch.testing.assert_close(fold(stripped, x)(x), plain(x), rtol=1e-4, atol=1e-4)


def test_a_network_with_named_children_goes_in_and_out():
    plain, x = torchvision.models.densenet121(num_classes=7).eval(), torch.randn(2, 3, 32, 32)
    found = find_layers(plain, x, ["features.denseblock4"])
    network = protect(plain, random_passport(found, torch.Generator().manual_seed(0)), x, public_affine=True)
    assert len(passport_layers(network)) == 16
    torch.testing.assert_close(strip(network)(x), plain(x))
    assert strip(network).state_dict().keys() == plain.state_dict().keys()


def small_protected():
    plain, x = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU()), torch.randn(1, 3, 8, 8)
    found = find_layers(plain, x)
    return protect(plain, random_passport(found, torch.Generator().manual_seed(0)), x, public_affine=True)


def keep_buffer(network, layer):
    network.register_buffer("mine", layer.patch_means)


def keep_copy(network, layer):
    network[2].mine = {"of": [layer.patch_means.double().clone()]}


def keep_view(network, layer):
    network.mine = layer.patch_means[0, 1]


def keep_presented(network, layer):
    network.mine = lambda: layer


def keep_original(network, layer):
    network[0].register_forward_hook(lambda module, args, output: layer.normalise(output, *layer.public_affine()))


def keep_another(network, layer):
    network.mine = (copy.deepcopy(layer),)


@pytest.mark.parametrize("keep", [keep_buffer, keep_copy, keep_view, keep_presented, keep_original, keep_another])
def test_a_network_that_holds_a_passport_elsewhere_is_not_given_away(keep):
    network = small_protected()
    keep(network, network[1])
    for branch in Branch:
        with pytest.raises(InputError, match=r"holds a pass.*besides its modules, so it cannot be given away"):
            strip(network, branch)
    assert isinstance(network[1], PassportLayer)


def test_what_else_the_norm_has_stays():
    """Frozen parameters, tied ones, statistics and hooks."""
    plain, x = nn.Sequential(*stem(), nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4)), torch.randn(2, 3, 8, 8)
    plain[4].weight = plain[1].weight
    plain[4].bias.requires_grad_(False)
    called = []
    plain[4].register_forward_hook(lambda *_: called.append(1))
    found = find_layers(plain, x, ["3"])
    called.clear()
    network = protect(plain, random_passport(found, torch.Generator()), x, public_affine=True)
    given = strip(network)
    for one in (network, given):
        assert one[4].weight is one[1].weight
        assert not one[4].bias.requires_grad
        called.clear()
        one(x)
        assert called == [1]
    assert given[4].weight is not plain[4].weight


def test_what_is_stored_of_a_passport_is_summed_exactly_and_rounded_once():
    """So that every processor stores the same numbers: against sums of products that `math.fsum` rounds once."""
    network, _, _ = protected("alexnet", "bn")
    folded = strip(network, Branch.PRIVATE)
    for layer in passport_layers(network).values():
        name = next(name for name, module in network.named_modules() if module is layer)
        rows, (gammas, _) = layer.conv.weight.detach().movedim(1, -1).flatten(1).double(), layer.patch_means[0]
        sums = [math.fsum(row) for row in (rows * gammas.double()).tolist()]
        assert torch.equal(folded.get_parameter(f"{name}.weight"), torch.tensor(sums, dtype=torch.float64).float())
