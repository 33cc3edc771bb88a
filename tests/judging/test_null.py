"""Binomial tails, limits of rates and the empirical null, against whole numbers and their definitions."""

import math
from fractions import Fraction

import pytest
from scipy import stats

from ipr.judging.binomial import lower_limit, tail_log10, upper_limit
from ipr.judging.calibration import claims_needed, false_claim_rate
from ipr.judging.null import EmpiricalNull
from ipr.signature import binomial_tail

LN10 = math.log(10)


def exact_tail(successes, trials, rate):
    """P(X >= successes) as a fraction."""
    hit = Fraction(rate)
    return sum(math.comb(trials, k) * hit**k * (1 - hit) ** (trials - k) for k in range(successes, trials + 1))


@pytest.mark.parametrize("rate", [1e-3, 0.1, 0.3719, 0.5, 0.999])
@pytest.mark.parametrize(("successes", "trials"), [(0, 1), (1, 1), (3, 10), (50, 100), (99, 100)])
def test_tails_are_those_of_fractions(successes, trials, rate):
    wanted = math.log10(exact_tail(successes, trials, rate))
    assert tail_log10(successes, trials, rate) == pytest.approx(wanted, rel=1e-9, abs=1e-9)


def test_a_tail_below_every_float_is_that_of_whole_numbers():
    assert tail_log10(5000, 5000, 0.1) == pytest.approx(-5000, rel=1e-12)
    assert tail_log10(1500, 2000, 0.5) == pytest.approx(binomial_tail(1500, 2000)[1], rel=1e-12)


@pytest.mark.parametrize("arguments", [(-1, 3, 0.5), (4, 3, 0.5), (1, 3, 0.0), (1, 3, 1.0)])
def test_what_is_no_binomial_is_refused(arguments):
    with pytest.raises(ValueError, match="out of range"):
        tail_log10(*arguments)


@pytest.mark.parametrize("risk", [0.05, 0.01 / 20])
@pytest.mark.parametrize(("successes", "trials"), [(0, 1), (0, 100), (1, 1), (7, 100), (100, 100), (3, 400)])
def test_limits_are_where_the_tail_has_the_risk(successes, trials, risk):
    upper, lower = upper_limit(successes, trials, risk), lower_limit(successes, trials, risk)
    assert lower <= successes / trials <= upper
    if successes < trials:
        assert 1 - exact_tail(successes + 1, trials, upper) == pytest.approx(risk, rel=1e-9)
    else:
        assert upper == 1
    if successes:
        assert exact_tail(successes, trials, lower) == pytest.approx(risk, rel=1e-9)
    else:
        assert lower == 0


def test_the_null_is_the_worst_network_and_no_less_than_a_guess():
    null = EmpiricalNull([3, 12, 30], 100, 10)
    rate = stats.beta.ppf(1 - 0.01 / 3, 31, 70)
    assert null.rate == pytest.approx(rate, rel=1e-9)
    assert null.p_value_log10(90, 100) == pytest.approx(stats.binom.logsf(89, 100, rate) / LN10, rel=1e-9)
    assert EmpiricalNull([0], 10_000, 10).rate == 0.1
    assert EmpiricalNull([100], 100, 10).p_value_log10(100, 100) == 0.0
    assert null.rank_p_value(30, 100) == 0.5
    assert null.rank_p_value(31, 100) == 0.25


def test_how_many_wrong_claims_show_a_rate():
    assert claims_needed(0.005) == 598
    rate = false_claim_rate("signature", 598, [-1.0, -2.0], -12.0, 0.005)
    assert (rate.verified, rate.lower) == (0, 0.0)
    assert rate.upper == pytest.approx(1 - 0.05 ** (1 / 598), rel=1e-9)
    assert rate.holds
    assert rate.threshold_log10 == -2.0  # none may be verified
    fewer = false_claim_rate("signature", 597, [-1.0], -12.0, 0.005)
    assert (fewer.holds, fewer.threshold_log10, fewer.needed) == (False, None, 598)


def test_the_threshold_is_the_first_at_which_one_too_many_is_verified():
    # with 1 of 1000 the limit is 0.47 %, with 2 of 1000 0.63 %
    wrong = [-5.0, -4.0, -3.0]
    assert false_claim_rate("images", 1000, wrong, -12.0, 0.005).threshold_log10 == -4.0
    assert false_claim_rate("images", 1000, wrong[:1], -12.0, 0.005).threshold_log10 == 0.0
    verified = false_claim_rate("images", 1000, wrong, -4.0, 0.005)
    assert verified.verified == 2
    assert verified.upper == pytest.approx(stats.beta.ppf(0.95, 3, 998), rel=1e-9)
    assert verified.lower == pytest.approx(stats.beta.ppf(0.05, 2, 999), rel=1e-9)
    assert not verified.holds
