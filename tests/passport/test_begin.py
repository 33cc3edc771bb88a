"""Scales that begin at what was trained, with the signature's signs."""

import copy

import pytest
import torch
from torch import nn

from ipr.passport.begin import _turn, begun
from ipr.passport.damped import basis
from ipr.passport.generate import random_passport, with_energy
from ipr.passport.layer import Branch, affines_of, filters, passport_layers, patch_mean
from ipr.passport.surgery import find_layers, protect, strip
from references import default_layers, small


@pytest.mark.parametrize(("name", "norm"), [("alexnet", "bn"), ("alexnet", "gn"), ("resnet18", "bn")])
def test_gamma_and_beta_are_the_norms_own_but_for_signs(name, norm):
    network, x = small(name, norm).double(), torch.randn(1, 3, 16, 16, dtype=torch.float64)
    layers = find_layers(network, x, default_layers(name))
    passport = {k: v.double() for k, v in random_passport(layers, torch.Generator().manual_seed(2)).items()}
    with torch.no_grad():
        for layer in layers:
            network.get_submodule(layer.norm).weight.normal_()
            network.get_submodule(layer.norm).bias.normal_()
    signs = {layer.conv: torch.randint(-1, 2, (layer.channels,)).to(torch.int8) for layer in layers}
    before = {key: value.clone() for key, value in network.state_dict().items()}
    there = begun(network, passport, signs, x)
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
    protected = protect(there, passport, x, public_affine=True)
    private, public = affines_of(protected, Branch.PRIVATE), affines_of(protected, Branch.PUBLIC)
    for key, bits in signs.items():
        (gamma, beta), (own_gamma, own_beta) = private[key], public[key]
        wanted = torch.where(bits == 0, own_gamma[0], bits * own_gamma[0].abs())  # 0: as it was trained
        torch.testing.assert_close(gamma[0], wanted, rtol=1e-6, atol=1e-9)
        torch.testing.assert_close(beta, own_beta, rtol=1e-6, atol=1e-9)
        change = filters(there.get_parameter(f"{key}.weight") - before[f"{key}.weight"])
        q = basis(patch_mean(passport[key], network.get_submodule(key)))[0]
        torch.testing.assert_close(change @ q @ q.T, change, rtol=1e-6, atol=1e-9)  # nothing else of a filter moves
    changed = {key for key, value in there.state_dict().items() if not torch.equal(value, before[key])}
    assert changed == {f"{key}.weight" for key in signs}
    assert passport_layers(protected).keys() == signs.keys()


@pytest.mark.parametrize("name", ["alexnet", "resnet18"])
def test_a_network_whose_filters_turn_with_their_scales_begins_as_it_was_trained(name):
    """And without its passport as one with half of the channels turned over."""
    network, x = small(name, "bn").double(), torch.randn(6, 3, 16, 16, dtype=torch.float64)
    layers = find_layers(network, x[:1], default_layers(name))
    drawn = {k: v.double() for k, v in random_passport(layers, torch.Generator().manual_seed(2)).items()}
    passport = with_energy(drawn, network, 30.0)
    with torch.no_grad():
        for layer in layers:
            network.get_submodule(layer.norm).weight.normal_()
            network.get_submodule(layer.norm).bias.normal_()
            network.get_submodule(layer.norm).running_mean.normal_()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    signs = {layer.conv: torch.randint(-1, 2, (layer.channels,)).to(torch.int8) for layer in layers}
    turned, moved = (
        protect(begun(network, passport, signs, x[:1], turned=one), passport, x[:1], public_affine=False).eval()
        for one in (True, False)
    )
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
    for key, bits in signs.items():
        gamma = affines_of(turned, Branch.PRIVATE)[key][0][0]
        assert torch.equal(gamma.sign()[bits != 0], bits[bits != 0].double())
    with torch.no_grad():
        answers = network.eval()(x)
        locked = strip(turned).eval()
        off = [float((one(x) - answers).norm() / answers.norm()) for one in (turned, moved, locked)]
    assert off[0] < 0.5 * min(off[1:])  # what is left is the move along the passport


def test_a_filter_and_what_its_norm_subtracts_turn_what_the_norm_returns():
    conv, norm = nn.Conv2d(3, 8, 3).double(), nn.BatchNorm2d(8).double()
    x, which = torch.randn(5, 3, 9, 9, dtype=torch.float64), torch.arange(8) % 3 == 0
    with torch.no_grad():
        norm.running_mean.normal_()
        before = {mode: norm.train(mode)(conv(x)) for mode in (False, True)}
        again = copy.deepcopy((conv, norm))
        norm.load_state_dict(again[1].state_dict())
        _turn(conv, norm, which)
        for mode in (True, False):
            turned = norm.train(mode)(conv(x))
            expected = again[1].train(mode)(again[0](x))
            torch.testing.assert_close(turned, torch.where(which[:, None, None], -1, 1) * expected)
            assert not torch.equal(before[mode], turned)


def test_groups_and_norms_without_scales():
    network = nn.Sequential(
        nn.Conv2d(4, 8, 3, groups=2), nn.BatchNorm2d(8), nn.Conv2d(8, 8, 3), nn.BatchNorm2d(8, affine=False)
    )
    x = torch.randn(1, 4, 9, 9)
    passport = {"0": torch.randn(2, 4, 9, 9), "2": torch.randn(2, 8, 7, 7)}
    there = begun(network, passport, {"0": torch.tensor([1, -1] * 4), "2": torch.ones(8)}, x)
    (gamma, beta) = affines_of(protect(there, passport, x, public_affine=True), Branch.PRIVATE)["0"]
    torch.testing.assert_close(gamma[0], torch.tensor([1.0, -1.0] * 4), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(beta[0], torch.zeros(8), rtol=1e-4, atol=1e-4)
    assert torch.equal(there[2].weight, network[2].weight)
    assert copy.deepcopy(there)[1].affine
