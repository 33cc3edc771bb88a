"""Dummy channels and folded norms undone: all bits come back, and strangers stay strangers."""

import copy

import pytest
import torch
from torch import nn

from aligned import agreeing, spelled, used
from ipr.attacks.base import freedom_of
from ipr.attacks.removal.structural_obfuscation import WAYS, hidden, obfuscated
from ipr.errors import InputError
from ipr.judging.alignment import SIMILAR, align, misfit
from ipr.judging.folded_norms import put_back
from ipr.models import build_model
from ipr.models.channels import symmetry
from ipr.models.widths import gather
from ipr.passport.layer import Branch
from ipr.passport.surgery import fold, protect, strip
from references import small

MODELS = [("alexnet", "bn"), ("alexnet", "gn"), ("resnet18", "bn"), ("resnet18", "gn")]
EACH = [[way] for way in WAYS] + [list(WAYS)]


def widened(network, x, *, share=0.25, ways=WAYS, seed=0, hide=True):
    source = torch.Generator().manual_seed(seed)
    wide = obfuscated(network, freedom_of(network, x[:1]), share, ways, source)
    return hidden(wide, x, source) if hide else wide


def same(one, other, x, limit=1e-3):
    with torch.no_grad():
        torch.testing.assert_close(one.eval()(x), other.eval()(x), rtol=limit, atol=limit)


@pytest.mark.parametrize("ways", EACH, ids=str)
@pytest.mark.parametrize(("model", "norm"), MODELS)
def test_all_bits_are_back_in_the_references_widths(model, norm, ways):
    """Permuted, turned, scaled and widened, by a quarter and by as much again: what is left answers as before."""
    reference, passport, x = used(model, norm)
    claim = spelled(reference, passport)
    for share in (0.25, 1.0):
        suspect = widened(reference, x, share=share, ways=ways)
        before = copy.deepcopy(suspect.state_dict())
        found = align(suspect, reference, x[:1])
        assert (found.similar, found.ways) == (True, 2)
        assert "channels (answers changed by" in found.way
        assert misfit(found.network, reference) is None
        assert agreeing(found.network, claim) == 1
        assert min(found.similarity.values()) > 0.9999
        same(found.network, reference, x)
        assert all(torch.equal(tensor, before[name]) for name, tensor in suspect.state_dict().items())


@pytest.mark.parametrize(("model", "norm"), MODELS)
def test_the_passport_answers_again_on_a_widened_copy_with_the_passport_folded_in(model, norm):
    """V1 in use: its scales are the passport's, and not those of the reference."""
    reference, passport, x = used(model, norm)
    owners = protect(reference, passport, x[:1], public_affine=True).eval()
    holding = strip(owners, Branch.PRIVATE)
    found = align(widened(holding, x), reference, x[:1])
    assert agreeing(found.network, spelled(reference, passport)) == 1
    same(found.network, holding, x)
    same(protect(found.network, passport, x[:1], public_affine=True), owners, x)


@pytest.mark.parametrize("wide", [False, True])
@pytest.mark.parametrize("model", ["alexnet", "resnet18"])
def test_folded_norms_are_put_back(model, wide):
    reference, passport, x = used(model, "bn")
    owners = protect(reference, passport, x[:1], public_affine=True).eval()
    suspect = fold(widened(reference, x) if wide else reference, x[:1])
    found = align(suspect, reference, x[:1])
    norms = sum(isinstance(module, nn.BatchNorm2d) for module in reference.modules())
    assert found.similar
    assert f"put back {norms} norms" in found.way
    assert agreeing(found.network, spelled(reference, passport)) == 1
    same(found.network, reference, x)
    same(protect(found.network, passport, x[:1], public_affine=True), owners, x)


def test_a_norm_that_is_put_back_does_what_the_bias_did():
    """Before anything of the reference is taken over."""
    reference, _, x = used("resnet18", "bn")
    suspect = fold(reference, x[:1])
    network = copy.deepcopy(suspect)
    assert put_back(network, reference, symmetry(reference, x[:1])) == 20
    assert network.state_dict().keys() == reference.state_dict().keys()
    same(network, suspect, x, 1e-5)


def test_some_sets_alone_may_be_wider():
    reference, passport, x = used("resnet18", "bn")
    claim = spelled(reference, passport)
    found = symmetry(reference, x[:1])
    suspect = copy.deepcopy(reference)
    one = found.free[-1]
    gather(suspect, one, torch.cat([torch.arange(one.channels), torch.zeros(3, dtype=torch.long)]))
    for name, _ in one.takers:
        suspect.get_submodule(name).weight.data[:, -3:] = 0
    for channels in found.free[:-1]:
        gather(suspect, channels, torch.randperm(channels.channels, generator=torch.Generator().manual_seed(1)))
    same(suspect, reference, x)
    aligned = align(suspect, reference, x[:1])
    assert agreeing(aligned.network, claim) == 1
    same(aligned.network, reference, x)


@pytest.mark.parametrize("sign", [1, -1])
def test_decoys_with_the_filters_of_true_channels_are_not_taken_for_them(sign):
    """Equal filters or their opposites, another scale and shift behind them, and nothing that takes them."""
    reference, passport, x = used("resnet18", "bn")
    found = symmetry(reference, x[:1])
    suspect = copy.deepcopy(reference)
    for one in found.free:
        more = torch.arange(one.channels // 2)
        gather(suspect, one, torch.cat([more, torch.arange(one.channels)]))  # decoys stand first
        for name, _ in one.takers:
            suspect.get_submodule(name).weight.data[:, more] = 0
        for name in one.makers:
            suspect.get_submodule(name).weight.data[more] *= sign
        for axis in one.axes:
            if ".norm" in f".{axis.tensor}" and axis.tensor.endswith("bias"):
                suspect.get_parameter(axis.tensor).data[more] += 1
    same(suspect, reference, x)
    aligned = align(suspect, reference, x[:1])
    assert agreeing(aligned.network, spelled(reference, passport)) == 1
    same(aligned.network, reference, x)


@pytest.mark.parametrize("noise", [0.01, 0.1])
@pytest.mark.parametrize("ways", EACH, ids=str)
def test_noise_costs_no_more_bits_than_it_costs_without_dummies(ways, noise):
    """Copies are no longer equal, and columns no longer cancel; noise in shares of each tensor's standard deviation."""
    reference, passport, x = used("resnet18", "bn")
    claim, source = spelled(reference, passport), torch.Generator().manual_seed(4)

    def read(network):
        with torch.no_grad():
            for parameter in network.parameters():
                parameter += noise * parameter.std() * torch.randn(parameter.shape, generator=source)
        found = align(hidden(network, x, source), reference, x[:1])
        assert found.similar
        return agreeing(found.network, claim)

    plain = read(copy.deepcopy(reference))
    assert read(widened(reference, x, ways=ways, hide=False)) >= plain - 0.01 > 0.94


@pytest.mark.parametrize(("model", "norm"), MODELS)
def test_a_wider_stranger_stays_a_stranger(model, norm):
    """Four times as many channels to choose from."""
    reference, _, x = used(model, norm)
    torch.manual_seed(11)
    sizes = {"channels_in": 3, "image_size": 16, "num_classes": 10}
    stranger = build_model(model, norm=norm, width=0.25, **sizes)
    suspect = build_model(model, norm=norm, width=1.0, **sizes)
    for one in (widened(stranger, x), *([suspect] if model == "alexnet" else [])):
        found = align(one, reference, x[:1])
        assert (found.similar, found.ways) == (False, 1)
        assert "it is another network than the reference" in found.way
        assert sorted(found.similarity.values())[len(found.similarity) // 2] < SIMILAR / 2
        assert misfit(found.network, one) is None


def wider(times):
    def change(network):
        for one in symmetry(network, torch.zeros(1, 3, 16, 16)).free:
            gather(network, one, torch.arange(times * one.channels) % one.channels)

    return change


def narrower(network):
    one = symmetry(network, torch.zeros(1, 3, 16, 16)).free[1]
    gather(network, one, torch.arange(one.channels - 1))


def other_kernel(network):
    network.conv2.weight = nn.Parameter(network.conv2.weight[..., :3, :3])


def without_a_layer(network):
    network.conv3 = nn.Identity()


def of_other_classes(network):
    network.linear = nn.Linear(network.linear.in_features, 11)


@pytest.mark.parametrize("change", [wider(5), narrower, other_kernel, without_a_layer, of_other_classes])
def test_what_differs_in_anything_else_is_refused_by_name(change):
    reference, suspect = small("alexnet", "bn"), small("alexnet", "bn")
    change(suspect)
    with pytest.raises(InputError, match=r"^reference=AlexNet: (has \d+ channels behind|'\w+.*' is not of the same)"):
        align(suspect, reference, torch.zeros(1, 3, 16, 16))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 3e38, 1e-42, 0.0])
def test_hostile_numbers_do_no_harm(value):
    """In filters, scales and variances: aligned or left, and finite where it is aligned."""
    reference, _, x = used("alexnet", "bn")
    for name in ("conv2.weight", "norm2.weight", "norm2.running_var", "conv3.weight"):
        suspect = widened(reference, x, hide=False)
        suspect.state_dict()[name][:20] = value
        found = align(suspect, reference, x[:1])
        if found.similar:
            assert all(tensor.isfinite().all() for tensor in found.network.state_dict().values())


def test_a_file_of_equal_channels_takes_no_longer_than_another():
    """All alike, and of several kinds beside: the rounds of comparing are bounded."""
    reference, _, x = used("alexnet", "bn")
    for kinds in (1, 7):
        suspect = copy.deepcopy(reference)
        wider(4)(suspect)
        with torch.no_grad():
            for conv in (module for module in suspect.modules() if isinstance(module, nn.Conv2d)):
                conv.weight.copy_(conv.weight[torch.arange(len(conv.weight)) % kinds])
        assert not align(suspect, reference, x[:1]).similar
