"""Passports that the weights suggest, against values worked out another way."""

import copy
import itertools

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from ipr.data.images import LabelledImages
from ipr.models.inspection import evaluating
from ipr.passport.generate import energies
from ipr.passport.guesses import (
    SIGNS,
    changed_filters,
    ones_passport,
    positive_passport,
    singular_passport,
    singular_patches,
)
from ipr.passport.layer import Branch, affines_of, filters, patch_mean, presenting, scale_and_shift
from ipr.passport.surgery import find_layers, protect
from references import default_layers, small


def placed(norm="bn"):
    network = small("alexnet", norm)
    return network, find_layers(network, torch.zeros(1, 3, 16, 16), default_layers("alexnet"))


def labelled(data, count):
    return LabelledImages(data.train_pixels[:count], data.train_labels[:count], data.mean, data.std)


@pytest.mark.parametrize("signs", SIGNS)
def test_a_passport_of_ones_is_constant(signs):
    _, places = placed()
    for place in places:
        maps = ones_passport(places, signs)[place.conv]
        assert maps.shape == (2, *place.input_shape)
        assert (maps[0] == signs[0]).all()
        assert (maps[1] == signs[1]).all()


def test_positive_noise_is_uniform_above_0_and_drawn():
    _, places = placed()
    draws = [positive_passport(places, torch.Generator().manual_seed(seed)) for seed in (0, 0, 1)]
    for name, maps in draws[0].items():
        assert 0 <= maps.min() < 0.05
        assert 0.95 < maps.max() <= 1
        assert maps.mean() == pytest.approx(0.5, abs=0.05)
        assert torch.equal(maps, draws[1][name])
        assert not torch.equal(maps, draws[2][name])


def test_singular_patches_are_those_of_numpy_group_by_group():
    network, places = placed()
    conv = network.conv4
    grouped = nn.Conv2d(conv.in_channels, conv.out_channels, 3, padding=1, groups=2)
    network.conv4 = grouped
    found = singular_patches(network, places)
    for place in places:
        weight = filters(network.get_submodule(place.conv).weight.detach()).double().numpy()
        groups = 2 if place.conv == "conv4" else 1
        for rank in range(2):
            parts = []
            for matrix in np.split(weight, groups):
                _, values, right = np.linalg.svd(matrix, full_matrices=False)
                parts.append(values[rank] * right[rank])
            for got, part in zip(found[place.conv][rank].numpy(), parts, strict=True):
                cosine = got @ part / np.linalg.norm(got) / np.linalg.norm(part)
                assert abs(cosine) == pytest.approx(1, abs=1e-5)
            size = np.sqrt(sum(part @ part for part in parts))
            lengths = [np.linalg.norm(part) / size for part in parts]
            np.testing.assert_allclose(found[place.conv][rank].norm(dim=1).numpy(), lengths, rtol=1e-5)
        assert (found[place.conv].sum((1, 2)) >= 0).all()


def test_a_filter_of_one_row_has_one_singular_vector():
    network = nn.Sequential(nn.Conv2d(3, 1, 3), nn.BatchNorm2d(1)).eval()
    (patches,) = singular_patches(network, find_layers(network, torch.zeros(1, 3, 8, 8))).values()
    assert patches.shape[0] == 1
    assert patches[0].norm() == pytest.approx(1)


def test_no_more_vectors_are_made_than_there_are():
    network, places = placed()
    every = singular_patches(network, places, count=None)
    for name, patches in singular_patches(network, places, count=10**9).items():
        assert torch.equal(patches, every[name])


def plant(network, places, size, source):
    """Adds gamma S^T of norm `size` a row to the filters; layer -> S and what was added."""
    planted = {}
    for place in places:
        conv = network.get_submodule(place.conv)
        mean = patch_mean(torch.randn(2, *place.input_shape, generator=source), conv)[0, 0]
        gamma = torch.where(torch.rand(place.channels, generator=source) > 0.5, 1.0, -1.0)
        rows = gamma[:, None] * size * mean / mean.norm()
        with torch.no_grad():
            conv.weight.add_(rows.unflatten(1, (3, 3, -1)).permute(0, 3, 1, 2))
        planted[place.conv] = mean, rows
    return planted


def test_a_mean_patch_that_training_wrote_into_the_filters_is_found():
    """gamma S^T / |S|^2 added to every row, as training does, and S comes back but for its sign and length."""
    network, places = placed()
    planted = plant(network, places, 9, torch.Generator().manual_seed(0))
    for name, patches in singular_patches(network, places).items():
        cosine = functional.cosine_similarity(patches[0, 0], planted[name][0], dim=0)
        assert abs(cosine) > 0.95


def test_what_training_changed_is_what_is_looked_at_by_whoever_knows_its_start():
    """A mark too weak to show in W stands out in the difference, where there is nothing else."""
    start, places = placed()
    network = copy.deepcopy(start)
    planted = plant(network, places, 1e-3, torch.Generator().manual_seed(0))
    for name, (_, rows) in planted.items():
        torch.testing.assert_close(changed_filters(network, name, start)[0], rows.double(), rtol=1e-3, atol=1e-6)
    for known, told in ((None, False), (start, True)):
        for name, patches in singular_patches(network, places, start=known).items():
            cosine = functional.cosine_similarity(patches[0, 0], planted[name][0], dim=0)
            assert (abs(cosine) > 0.999) == told


def test_all_vectors_of_a_layer_are_orthonormal_and_a_small_layer_has_fewer():
    network, places = placed()
    ranks = [min(changed_filters(network, place.conv).shape[1:]) for place in places]
    for place, rank in zip(places, ranks, strict=True):
        vectors = singular_patches(network, places, count=None)[place.conv][:, 0]
        assert vectors.shape[0] == max(ranks)
        expected = torch.diag((torch.arange(max(ranks)) < rank).float())
        torch.testing.assert_close(vectors @ vectors.T, expected, rtol=0, atol=1e-4)
        torch.testing.assert_close(vectors[:2], singular_patches(network, places)[place.conv][:, 0])


def test_a_vector_beyond_the_second_is_taken_where_the_images_like_it_better(data):
    network, places = placed("gn")
    images = labelled(data, 20)
    found = {
        count: singular_passport(network, places, images, [3.0], torch.Generator().manual_seed(0), count=count)
        for count in (2, 10)
    }

    def loss(passport):
        protected = protect(network, passport, torch.zeros(1, 3, 16, 16), public_affine=True)
        with evaluating(protected), presenting(protected, affines_of(protected, Branch.PRIVATE)):
            x, y = next(images.batches(20, torch.device("cpu")))
            return float(functional.cross_entropy(protected(x), y))

    assert loss(found[10]) < loss(found[2])


@pytest.mark.parametrize(("channels", "kernel"), [(512, 1), (64, 3)])
def test_a_mark_is_hidden_where_it_is_as_strong_as_the_weights_are_in_any_direction(channels, kernel):
    """At E = g / s (docs/passports.md); a shorter S stands out, a longer one where filters outnumber their elements."""
    source = torch.Generator().manual_seed(0)
    conv = nn.Conv2d(256 if kernel == 1 else 64, channels, kernel, bias=False)
    network = nn.Sequential(conv, nn.BatchNorm2d(channels)).eval()
    places = find_layers(network, torch.zeros(1, conv.in_channels, 8, 8))
    s, g = 0.04, 0.6
    noise = s * torch.randn(channels, conv.in_channels * kernel**2, generator=source)
    hidden = functional.normalize(torch.randn(noise.shape[1], generator=source), dim=0)
    gamma = g * torch.randn(channels, generator=source).sign()

    def shows(energy):
        rows = noise + torch.outer(gamma / energy - noise @ hidden, hidden)
        with torch.no_grad():
            conv.weight.copy_(rows.unflatten(1, (kernel, kernel, -1)).permute(0, 3, 1, 2))
        (vectors,) = singular_patches(network, places, count=None).values()
        return float((vectors[:, 0] @ hidden).abs().max())

    assert shows(3.0) > 0.8
    assert shows(g / s) < 0.25
    assert (shows(100.0) > 0.8) == (kernel == 1)


@pytest.mark.parametrize(
    ("channels", "variance", "told"),
    [
        (800, 0.15, True), (800, 0.45, False), (800, 1.0, False), (800, 1.4, False), (800, 2.4, True),
        (300, 0.15, False), (300, 1.0, False), (300, 1.6, False), (300, 3.5, True),
    ],
)  # fmt: skip
def test_a_mark_is_told_beyond_one_plus_or_minus_the_root_of_d_over_c(channels, variance, told):
    """(g / (E s))^2 beside 1 +- sqrt(D / C), D = 400; with fewer filters than numbers there is no hole at all."""
    source = torch.Generator().manual_seed(0)
    network = nn.Sequential(nn.Conv2d(400, channels, 1, bias=False), nn.BatchNorm2d(channels)).eval()
    rows = torch.randn(channels, 400, generator=source)
    rows[:, 0] = variance**0.5 * torch.randn(channels, generator=source).sign()
    with torch.no_grad():
        network[0].weight.copy_(rows[:, :, None, None])
    places = find_layers(network, torch.zeros(1, 400, 4, 4))
    (vectors,) = singular_patches(network, places, count=None).values()
    assert (float(vectors[:, 0, 0].abs().max()) > 0.5) == told


def test_of_all_signs_those_that_the_images_like_best_are_taken_or_better_ones(data):
    """No worse in cross-entropy than any of the eight signs tried by hand, along vectors of the energy asked for."""
    network, places = placed("gn")
    before = {k: v.clone() for k, v in network.state_dict().items()}
    images = labelled(data, 20)
    found = singular_passport(network, places, images, [3.0], torch.Generator().manual_seed(0))
    patches = singular_patches(network, places)
    blank = {place.conv: torch.zeros(2, *place.input_shape) for place in places}
    protected = protect(network, blank, torch.zeros(1, 3, 16, 16), public_affine=True)

    def loss(means):
        affines = {
            n: scale_and_shift(network.get_submodule(n).weight.detach(), own.float()[None]) for n, own in means.items()
        }
        with evaluating(protected), presenting(protected, affines):
            x, y = next(images.batches(20, torch.device("cpu")))
            return float(functional.cross_entropy(protected(x), y))

    def mean_patches(signs):
        parts = {n: (3 * s * v[0], 0.01 * 3 * s * v[0]) for s, (n, v) in zip(signs, patches.items(), strict=True)}
        return {n: torch.stack(both) for n, both in parts.items()}

    best = min(loss(mean_patches(signs)) for signs in itertools.product((1, -1), repeat=3))
    assert loss({n: patch_mean(maps, network.get_submodule(n)) for n, maps in found.items()}) <= best + 1e-4
    for name, maps in found.items():
        gamma, beta = energies({name: maps}, network)[name]
        assert gamma == pytest.approx(3, rel=1e-4)
        assert min(abs(float(beta) - 0.03), abs(float(beta) - 3)) < 1e-3
    again = singular_passport(network, places, images, [3.0], torch.Generator().manual_seed(0))
    assert all(torch.equal(maps, again[n]) for n, maps in found.items())
    assert all(torch.equal(v, before[k]) for k, v in network.state_dict().items())
    assert not any(parameter.grad is not None for parameter in network.parameters())
