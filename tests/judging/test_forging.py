"""What a bound signature costs to forge, against enumeration and sums of fractions."""

import math
from fractions import Fraction
from itertools import product

import pytest
import torch
from torch import nn

from ipr.judging.forging import YEAR, bits_needed, folded_tail_log10, forging_cost, turnable_groups
from ipr.passport.surgery import find_layers

LOG2 = math.log10(2)


def chance(total, agreeing):
    """P(X >= agreeing) of so many fair coins, one after another."""
    distribution = [Fraction(1)]
    for _ in range(total):
        padded = [Fraction(0), *distribution, Fraction(0)]
        distribution = [(padded[i] + padded[i + 1]) / 2 for i in range(len(padded) - 1)]
    return sum(distribution[agreeing:])


@pytest.mark.parametrize("groups", [(3,), (1, 1, 1), (4, 2, 3), (5, 5), (1, 6, 4)])
def test_the_folded_tail_against_every_outcome(groups):
    total = sum(groups)
    found = [0] * (total + 1)
    for outcome in product((0, 1), repeat=total):
        rest, agree = list(outcome), 0
        for size in groups:
            part, rest = rest[:size], rest[size:]
            agree += max(sum(part), size - sum(part))
        found[agree] += 1
    for agreeing in range(total + 1):
        expected = Fraction(sum(found[agreeing:]), 2**total)
        if expected:
            assert folded_tail_log10(groups, agreeing) == pytest.approx(math.log10(expected), abs=1e-12)


def test_channels_that_turn_alone_always_agree():
    assert folded_tail_log10([1] * 224, 224) == pytest.approx(0.0, abs=1e-9)
    assert folded_tail_log10([16] * 14, 0) == pytest.approx(0.0, abs=1e-9)
    assert folded_tail_log10([16] * 14, 224) == pytest.approx((14 - 224) * LOG2)


@pytest.mark.parametrize(("groups", "agreeing"), [([], 0), ([0, 3], 1), ([3], 4), ([3], -1)])
def test_what_is_no_group_or_no_count_is_refused(groups, agreeing):
    with pytest.raises(ValueError, match="out of range"):
        folded_tail_log10(groups, agreeing)


@pytest.mark.parametrize(("total", "power", "needed"), [(224, 40, 165), (224, 80, 186), (64, 64, 64), (64, 65, None)])
def test_the_bits_that_a_threshold_takes(total, power, needed):
    assert bits_needed(total, -power * LOG2) == needed
    if needed is not None:
        assert chance(total, needed) <= Fraction(1, 2**power)
        assert chance(total, needed - 1) > Fraction(1, 2**power)


def test_the_cost_is_the_inverse_of_the_chance():
    cost = forging_cost(224, -80 * LOG2, seconds_per_try=0.5)
    tries = 1 / float(chance(224, 186))
    assert (cost.needed, cost.tries_log2) == (186, pytest.approx(math.log2(tries)))
    assert cost.core_years == pytest.approx(tries * 0.5 / YEAR)
    turned = forging_cost(224, -40 * LOG2, groups=[16] * 14)
    assert turned.tries_log2 == pytest.approx(-folded_tail_log10([16] * 14, 165) / LOG2)
    assert forging_cost(224, -80 * LOG2, groups=[1] * 224).tries_log2 == pytest.approx(0, abs=1e-9)
    free = forging_cost(224, -80 * LOG2, free=60)
    assert (free.needed, free.tries_log2) == (186, pytest.approx(-math.log2(chance(224, 126))))
    assert forging_cost(64, -80 * LOG2) is None
    assert forging_cost(64, -10 * LOG2, free=64).tries_log2 == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize(
    "wrong", [{"total": 0}, {"free": 225}, {"free": -1}, {"seconds_per_try": 0}, {"groups": [16] * 13}]
)
def test_a_cost_of_nothing_that_can_be_is_refused(wrong):
    with pytest.raises(ValueError, match=r"out of range|for 224 bits"):
        forging_cost(**{"total": 224, "threshold_log10": -12.0} | wrong)


def test_what_can_be_turned_follows_from_the_norms():
    network = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 32, 3), nn.GroupNorm(2, 32)
    ).eval()
    places = find_layers(network, torch.zeros(1, 3, 8, 8), ["0", "3"])
    assert turnable_groups(network, places) == [1] * 8 + [16] * 2
