"""Unbiased CKA against its literal sum, and lineage of copies, of changed copies and of strangers."""

import copy

import pytest
import torch

from ipr.attacks.removal.prune import pruned
from ipr.attacks.removal.same_answers import permuted
from ipr.errors import InputError
from ipr.judging.cka import unbiased_cka
from ipr.judging.lineage import lineage, smooth_noise
from ipr.models.channels import symmetry
from ipr.models.gauge import before_norms, scale
from references import memorise, small


def literal_hsic(one, other):
    """The unbiased estimator of Song et al. 2012, Theorem 2, sum by sum over distinct rows."""
    n = len(one)
    k = [[float(a @ b) for b in one] for a in one]
    m = [[float(a @ b) for b in other] for a in other]
    pairs = [(i, j) for i in range(n) for j in range(n) if i != j]
    first = sum(k[i][j] * m[i][j] for i, j in pairs) / (n * (n - 1))
    triples = [(i, j, q) for i, j in pairs for q in range(n) if q not in (i, j)]
    second = sum(k[i][j] * m[i][q] for i, j, q in triples) / (n * (n - 1) * (n - 2))
    fours = [(i, j, q, r) for i, j, q in triples for r in range(n) if r not in (i, j, q)]
    third = sum(k[i][j] * m[q][r] for i, j, q, r in fours) / (n * (n - 1) * (n - 2) * (n - 3))
    return first + third - 2 * second


def literal_cka(one, other):
    return literal_hsic(one, other) / (literal_hsic(one, one) * literal_hsic(other, other)) ** 0.5


@pytest.mark.parametrize("rows", [4, 5, 9])
def test_cka_is_the_literal_sum_over_distinct_rows(rows):
    one, other = torch.randn(rows, 3).double(), torch.randn(rows, 5).double()
    other[:, :3] += 2 * one
    assert unbiased_cka(one, other) == pytest.approx(literal_cka(one, other), rel=1e-9)
    assert unbiased_cka(one, one) == pytest.approx(1)


def test_cka_does_not_change_when_a_set_is_turned_moved_or_scaled():
    one, other = torch.randn(20, 6).double(), torch.randn(20, 4).double()
    other[:, :4] += one[:, :4]
    turned = one @ torch.linalg.qr(torch.randn(6, 6).double())[0]
    before = unbiased_cka(one, other)
    assert unbiased_cka(7 * turned + torch.randn(6), other) == pytest.approx(before, rel=1e-9)
    assert unbiased_cka(one[torch.randperm(20)], other) < before  # but rows belong together


def test_unrelated_vectors_have_a_cka_of_0_in_the_mean_however_long_they_are():
    found = torch.tensor([unbiased_cka(torch.randn(10, 500), torch.randn(10, 500)) for _ in range(300)])
    assert abs(float(found.mean())) < 4 * float(found.std()) / 300**0.5
    assert float(found.std()) < 0.2


def test_too_few_rows_are_refused_and_equal_rows_say_nothing():
    with pytest.raises(ValueError, match="from 4 on"):
        unbiased_cka(torch.randn(3, 2), torch.randn(3, 2))
    with pytest.raises(ValueError, match="as many"):
        unbiased_cka(torch.randn(5, 2), torch.randn(6, 2))
    assert unbiased_cka(torch.zeros(5, 2), torch.randn(5, 2)) == 0


@pytest.fixture
def network(data):
    made = small("alexnet", "bn")
    memorise(made, data)
    return made


PROBES = smooth_noise(3, 16)


def share(found):
    return sum(found.identified.values()) / sum(found.channels.values())


def test_a_copy_with_moved_scaled_and_turned_channels_is_found(network):
    """Without a change of its answers; and nothing of either network is changed by looking."""
    found = symmetry(network, PROBES[:1])
    moved = permuted(network, found, torch.Generator().manual_seed(0))
    for segment in before_norms(moved, found):
        factors = torch.where(torch.rand(segment.channels) < 0.5, -2.0, 0.5)
        scale(moved, segment, factors)
    before = {name: value.clone() for name, value in moved.state_dict().items()}
    seen = lineage(moved, network, PROBES)
    assert share(seen) > 0.95
    assert seen.similarity == pytest.approx(1, abs=1e-3)
    assert seen.least > 0.99
    assert all(torch.equal(value, before[name]) for name, value in moved.state_dict().items())
    assert network.training


@pytest.mark.parametrize(("name", "norm"), [("alexnet", "bn"), ("resnet18", "gn")])
def test_pruned_and_tuned_copies_are_found_and_strangers_are_not(name, norm, data):
    network = small(name, norm)
    memorise(network, data, 6)
    cut, tuned, stranger = pruned(network, 0.5), copy.deepcopy(network), small(name, norm)
    memorise(tuned, data, 6)
    torch.manual_seed(9)
    for module in stranger.modules():
        if hasattr(module, "reset_parameters"):
            module.reset_parameters()
    memorise(stranger, data, 6)
    for copied in (cut, tuned):
        found = lineage(copied, network, PROBES)
        assert share(found) > 0.6  # six steps at a high rate leave channels that always answer the same
        assert found.similarity > 0.7
    found = lineage(stranger, network, PROBES)
    assert share(found) < 0.2
    assert abs(found.similarity) < 0.2
    assert found.choices == 16


def test_what_cannot_be_matched_is_refused(network):
    with pytest.raises(InputError, match="takes a convolutional network"):
        lineage(small("vit", "bn"), small("vit", "bn"), torch.randn(2, 3, 16, 16))
    broken = copy.deepcopy(network)
    torch.nn.init.constant_(broken.conv1.weight, torch.nan)
    with pytest.raises(InputError, match="not finite"):
        lineage(broken, network, PROBES)
