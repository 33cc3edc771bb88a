import pytest
import torch

from ipr.errors import InputError
from ipr.passport.generate import (
    energies,
    feature_maps,
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


def test_energies_that_cannot_be_are_refused(setting):
    network, layers, _ = setting
    passport = random_passport(layers, torch.Generator())
    for energy in (0, -1.0, float("nan")):
        with pytest.raises(InputError, match=r"passport.energy=.*above 0"):
            with_energy(passport, network, energy)
    with pytest.raises(InputError, match="passport=conv3: its mean patch is 0"):
        with_energy(passport | {"conv3": torch.zeros(2, 48, 4, 4)}, network, 3.0)
