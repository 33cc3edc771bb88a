"""Passports solved from scales and shifts, against the whole map written out as one matrix."""

import numpy as np
import pytest
import torch
from torch import nn

from ipr.claims.base import Thresholds
from ipr.passport.claim import PassportClaim
from ipr.passport.guesses import lifted_passport
from ipr.passport.layer import patch_mean
from ipr.passport.lift import lift, passport_of, public_scales
from ipr.passport.surgery import find_layers
from references import default_layers, small

CONVOLUTIONS = [
    {}, {"padding": 1, "stride": 2, "groups": 2}, {"padding": (0, 1), "dilation": 2, "padding_mode": "reflect"},
    {"padding": "same", "padding_mode": "circular"}, {"padding": 2, "padding_mode": "replicate", "stride": (1, 3)},
    {"padding": 1, "bias": False, "groups": 2},
]  # fmt: skip


class One(nn.Module):
    """A convolution of 3x2 filters with a norm behind it, in double precision."""

    def __init__(self, **settings):
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(4, 6, (3, 2), **settings)
        self.norm = nn.BatchNorm2d(6)
        self.double().eval()

    def forward(self, x):
        return self.norm(self.conv(x))


def placed(**settings):
    network = One(**settings)
    return network, find_layers(network, torch.zeros(1, 4, 7, 9, dtype=torch.float64))


def whole_map(conv):
    """gamma as a linear map of a passport's elements, (C, C_in H W): one convolution of each element by itself."""
    with torch.no_grad():
        answers = conv(torch.eye(4 * 7 * 9, dtype=torch.float64).view(-1, 4, 7, 9))
        bias = 0 if conv.bias is None else conv.bias
        return (answers.mean((2, 3)) - bias).T.numpy()


@pytest.mark.parametrize("settings", CONVOLUTIONS, ids=str)
def test_the_passport_is_the_least_squares_solution_of_least_norm(settings):
    network, places = placed(**settings)
    scales = torch.randn(2, 6, dtype=torch.float64)
    lifted = lift({"conv": scales}, network, places)
    matrix = whole_map(network.conv)
    expected = (np.linalg.pinv(matrix, rcond=1e-10) @ scales.numpy().T).T
    np.testing.assert_allclose(lifted.passport["conv"].flatten(1).numpy(), expected, atol=1e-10)
    missing = matrix @ expected.T - scales.numpy().T
    assert lifted.residual["conv"] == pytest.approx(np.linalg.norm(missing) / np.linalg.norm(scales), abs=1e-10)


@pytest.mark.parametrize("settings", CONVOLUTIONS, ids=str)
def test_a_mean_patch_is_solved_back_to_the_least_passport_that_has_it(settings):
    network, places = placed(**settings)
    basis = torch.eye(4 * 7 * 9, dtype=torch.float64).view(-1, 4, 7, 9)
    matrix = patch_mean(basis, network.conv).flatten(1).T.numpy()
    means = patch_mean(torch.randn(2, 4, 7, 9, dtype=torch.float64), network.conv)  # what some passport has
    found = passport_of({"conv": means}, network, places)["conv"]
    torch.testing.assert_close(patch_mean(found, network.conv), means)
    expected = np.linalg.pinv(matrix, rcond=1e-10) @ means.flatten(1).numpy().T
    np.testing.assert_allclose(found.flatten(1).numpy(), expected.T, atol=1e-9)


@pytest.mark.parametrize("size", [16, 32])
@pytest.mark.parametrize("model", ["alexnet", "resnet18"])
def test_networks_of_the_paper_have_a_passport_for_any_scales_but_those_of_the_1x1_shortcut(model, size):
    network = small(model, "gn", size).double()
    places = find_layers(network, torch.zeros(1, 3, size, size, dtype=torch.float64), default_layers(model))
    scales = {place.conv: torch.randn(2, place.channels, dtype=torch.float64) for place in places}
    lifted = lift(scales, network, places)
    for name, residual in lifted.residual.items():
        if "shortcut" in name:  # half of its scales cannot be had: 64 of 128 channels in, at a quarter of the width
            assert residual == pytest.approx(0.5**0.5, abs=0.1)
        else:
            assert residual <= 1e-10
            conv = network.get_submodule(name)
            answers = nn.functional.conv2d(
                lifted.passport[name], conv.weight, None, conv.stride, conv.padding, conv.dilation, conv.groups
            )
            torch.testing.assert_close(answers.mean((2, 3)), scales[name])


@pytest.mark.parametrize("norm", ["bn", "gn"])
def test_what_is_given_away_comes_back_from_a_claim_with_the_lifted_passport(norm):
    """In the float32 of a claim, through Eq. 4 as a judge computes it; nothing of the network changes."""
    network = small("alexnet", norm)
    for name, parameter in network.named_parameters():
        if "norm" in name:
            nn.init.normal_(parameter)
    before = {k: v.clone() for k, v in network.state_dict().items()}
    places = find_layers(network, torch.zeros(1, 3, 16, 16), default_layers("alexnet"))
    passport = lift(public_scales(network, places), network, places).passport
    assert all(maps.dtype == torch.float32 for maps in passport.values())
    signature = {place.conv: torch.ones(place.channels, dtype=torch.int8) for place in places}
    claim = PassportClaim(passport, signature, thresholds=Thresholds(None))
    with torch.no_grad():
        affines = claim.affines(network)
    for place in places:
        public = network.get_submodule(place.norm)
        gamma, beta = affines[place.conv]
        torch.testing.assert_close(gamma[0], public.weight.detach(), rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(beta[0], public.bias.detach(), rtol=1e-5, atol=1e-5)
    assert all(torch.equal(v, before[k]) for k, v in network.state_dict().items())


def test_norms_without_scale_and_shift_have_1_and_0():
    network, places = placed()
    network.norm = nn.BatchNorm2d(6, affine=False)
    assert public_scales(network, places)["conv"].tolist() == [[1.0] * 6, [0.0] * 6]


def test_one_network_has_as_many_lifted_passports_as_there_are_starts():
    """Each has the scales asked for; what is added to its start is what `lift` finds for the rest."""
    network, places = placed(padding=1)
    scales = {"conv": torch.randn(2, 6, dtype=torch.float64)}
    starts = [torch.randn(2, 4, 7, 9, dtype=torch.float64) for _ in range(2)]
    found = [lifted_passport(scales, network, places, {"conv": start})["conv"] for start in starts]
    matrix = torch.from_numpy(whole_map(network.conv))
    for start, maps in zip(starts, found, strict=True):
        torch.testing.assert_close(maps.flatten(1) @ matrix.T, scales["conv"])
        change = (maps - start).flatten(1)
        torch.testing.assert_close(change @ torch.linalg.pinv(matrix) @ matrix, change)  # none of it is without effect
    assert (found[0] - found[1]).norm() > 1
