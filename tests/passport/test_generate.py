import pytest
import torch
from torch import nn

from ipr.errors import InputError
from ipr.passport.generate import (
    energies,
    feature_maps,
    hidden_energies,
    image_passport,
    random_passport,
    shuffled_passport,
    with_energy,
)
from ipr.passport.layer import passport_layers
from ipr.passport.surgery import find_layers, protect
from references import small


@pytest.fixture
def setting():
    network, images = small("alexnet", "bn").eval(), torch.randn(40, 3, 16, 16)
    return network, find_layers(network, images[:1], ["conv1", "conv3", "conv4"]), images


def test_random_passports_are_uniform_and_follow_the_generator(setting):
    _, layers, _ = setting
    passport = random_passport(layers, torch.Generator().manual_seed(3))
    again = random_passport(layers, torch.Generator().manual_seed(3))
    values = torch.cat([maps.flatten() for maps in passport.values()])
    assert {name: tuple(maps.shape[1:]) for name, maps in passport.items()} == {f.conv: f.input_shape for f in layers}
    assert all(torch.equal(passport[name], again[name]) for name in passport)
    assert values.min() >= -1
    assert values.max() <= 1
    assert abs(values.mean()) < 0.05
    assert values.var() == pytest.approx(1 / 3, rel=0.05)  # of a uniform distribution on [-1, 1]


def test_image_passport_is_the_image_and_its_maps(setting):
    network, layers, images = setting
    passport = image_passport(network, layers, images[:2])
    assert torch.equal(passport["conv1"], images[:2])  # at the input, the image itself
    with torch.no_grad():
        x = network.pool(torch.relu(network.norm1(network.conv1(images[:2]))))
        x = network.pool(torch.relu(network.norm2(network.conv2(x))))
    torch.testing.assert_close(passport["conv3"], x)


def test_shuffled_passport_takes_each_layers_map_from_one_image_of_its_half(setting):
    network, layers, images = setting
    maps = feature_maps(network, layers, images)
    picked = set()
    for seed in range(8):
        passport = shuffled_passport(network, layers, images, torch.Generator().manual_seed(seed))
        sources = []
        for name, chosen in passport.items():
            gamma, beta = ([i for i, m in enumerate(maps[name]) if torch.equal(m, part)] for part in chosen)
            assert len(gamma) == len(beta) == 1
            assert gamma[0] < 20 <= beta[0]
            sources += [*gamma, *beta]
        picked.add(tuple(sources))
    assert len(picked) == 8
    assert any(len(set(sources[::2])) > 1 for sources in picked)  # layers choose independently


@pytest.mark.parametrize("energy", [0.5, 3])
def test_energy_scales_s_and_changes_no_sign(setting, energy):
    network, layers, images = setting
    passport = shuffled_passport(network, layers, images, torch.Generator())
    scaled = with_energy(passport, network, energy)
    for name, values in energies(scaled, network).items():
        torch.testing.assert_close(values, torch.full((2,), float(energy), dtype=torch.float64), rtol=1e-6, atol=0)
        ratio = scaled[name] / passport[name]
        assert (ratio[passport[name] != 0] > 0).all()
    before = passport_layers(protect(network, passport, images[:1], public_affine=False))
    after = passport_layers(protect(network, scaled, images[:1], public_affine=False))
    for name in passport:
        assert torch.equal(before[name].passport_affine()[0].sign(), after[name].passport_affine()[0].sign())


def test_energy_is_the_learning_rate_of_gamma(setting):
    """One step of SGD on W moves gamma by -lr * |S|^2 * dL/dgamma."""
    network, layers, images = setting
    passport = with_energy(random_passport(layers, torch.Generator()), network, 5.0)
    layer = passport_layers(protect(network, passport, images[:1], public_affine=False))["conv4"]
    gamma = layer.passport_affine()[0]
    gradient = torch.randn_like(gamma)
    (gamma * gradient).sum().backward()
    with torch.no_grad():
        layer.conv.weight -= 0.01 * layer.conv.weight.grad
    torch.testing.assert_close(layer.passport_affine()[0] - gamma, -0.01 * 25 * gradient, rtol=1e-3, atol=1e-4)


def test_null_energy_leaves_the_passport_as_published(setting):
    network, layers, _ = setting
    passport = random_passport(layers, torch.Generator())
    assert all(torch.equal(passport[name], maps) for name, maps in with_energy(passport, network, None).items())


def test_a_passport_is_no_longer_than_g_over_s_where_filters_outnumber_their_numbers():
    """By hand, for a shortcut that widens, one in two groups, a norm without scales, and layers that do not widen."""
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.Conv2d(8, 16, 1), nn.BatchNorm2d(16),
        nn.Conv2d(16, 16, 1), nn.BatchNorm2d(16), nn.Conv2d(16, 40, 1, groups=2), nn.GroupNorm(2, 40, affine=False),
    )  # fmt: skip
    with torch.no_grad():
        network[3].weight.copy_(torch.tensor([0.5, -0.7] * 8))
    layers = find_layers(network, torch.zeros(1, 3, 6, 6))
    found = hidden_energies(network, layers, 30.0)
    s, grouped = (network[i].weight.detach().double().std() for i in (2, 6))
    expected = {"0": 30.0, "2": (0.37**0.5 / s), "4": 30.0, "6": 1 / grouped}
    assert {name: one.tolist() for name, one in found.items()} == {
        name: [pytest.approx(float(value))] * 2 for name, value in expected.items()
    }
    assert max(expected["2"], expected["6"]) < 30
    short = hidden_energies(network, layers, 3.0)
    assert all(torch.equal(one, torch.full((2,), 3.0, dtype=torch.float64)) for one in short.values())
    assert hidden_energies(network, layers, None) is None
    passport = random_passport(layers, torch.Generator().manual_seed(0))
    for name, values in energies(with_energy(passport, network, found), network).items():
        torch.testing.assert_close(values, found[name], rtol=1e-6, atol=0)


def test_energies_that_cannot_be_are_refused(setting):
    network, layers, _ = setting
    passport = random_passport(layers, torch.Generator())
    for energy in (0, -1.0, float("nan")):
        with pytest.raises(InputError, match=r"passport.energy=.*above 0"):
            with_energy(passport, network, energy)
    with pytest.raises(InputError, match="passport=conv3: its mean patch is 0"):
        with_energy(passport | {"conv3": torch.zeros(2, 48, 4, 4)}, network, 3.0)
