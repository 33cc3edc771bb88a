"""Scales that begin at what was trained, with the signature's signs."""

import copy

import pytest
import torch
from torch import nn

from ipr.passport.begin import begun
from ipr.passport.damped import basis
from ipr.passport.generate import random_passport
from ipr.passport.layer import Branch, affines_of, filters, passport_layers, patch_mean
from ipr.passport.surgery import find_layers, protect
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
