"""The magnitude that the sign loss asks of scales: by energy and weights, layer by layer."""

import pytest
import torch

from ipr.data.opening import open_images
from ipr.passport.margin import LEAST, MOST, OF_NOISE, margins
from ipr.schemes.passport_v2 import PassportV2
from ipr.schemes.start import start_network
from ipr.workflows.request import key_of
from references import small


def network(spread):
    found = small("alexnet", "bn")
    with torch.no_grad():
        for name in ("conv4", "conv5"):
            weight = found.get_submodule(name).weight
            weight.copy_(torch.linspace(-1, 1, weight.numel()).view_as(weight) * spread * 3**0.5)
    return found


@pytest.mark.parametrize(
    ("energy", "spread", "expected"),
    [
        (30.0, 0.03, OF_NOISE * 0.9),
        (15.0, 0.06, OF_NOISE * 0.9),  # the same noise in the scales
        (3.0, 0.05, LEAST),
        (30.0, 0.001, LEAST),
        (100.0, 0.05, MOST),
    ],
)
def test_it_is_a_share_of_what_noise_as_large_as_the_weights_does_to_a_scale(energy, spread, expected):
    energies = {"conv4": torch.tensor([energy, 99.0]), "conv5": torch.tensor([2 * energy, 1.0])}
    found = margins(network(spread), energies)
    assert found["conv4"] == pytest.approx(expected, rel=1e-3)
    assert found["conv5"] == pytest.approx(min(MOST, max(LEAST, 2 * OF_NOISE * energy * spread)), rel=1e-3)


def built(request_for, *more):
    config = request_for("scheme=passport_v2", "passport=random", "passport.energy=30", *more)
    data = open_images(config.dataset, config.paths)
    plain = start_network(config, data)
    claim = PassportV2.secrets_for(plain, config, data, None)
    return PassportV2.around(plain, config, data, claim), plain, claim, key_of(config, data)


def test_each_layer_is_asked_for_its_own_and_nothing_changes_where_a_number_is_given(request_for):
    usual, *_, named = built(request_for)
    by_weights, plain, claim, other = built(request_for, "scheme.gamma_0=null")
    assert named == built(request_for, "scheme.gamma_0=0.1")[-1] != other
    assert usual.magnitudes is None
    asked, expected = margins(plain, claim.energies(plain)), 0.0
    assert len({*asked.values()}) > 1
    affines = by_weights.passport_affines()
    for name, (gamma, _) in affines.items():
        for value, bit in zip(gamma.flatten(), claim.signature[name], strict=True):
            expected = expected + 0.1 * torch.clamp(asked[name] - value * bit, min=0)
    torch.testing.assert_close(by_weights.regulariser(affines)["sign_loss"], expected)
