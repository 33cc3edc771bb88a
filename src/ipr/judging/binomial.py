"""Binomial tails for any rate, and what a count says about the rate behind it (Clopper and Pearson 1934)."""

from __future__ import annotations

import math


def tail_log10(successes: int, trials: int, rate: float) -> float:
    """log10 P(X >= successes), X ~ Binomial(trials, rate): finite where the probability underflows.

    Args:
        successes: 0 to trials.
        trials: at least 1.
        rate: above 0 and below 1.

    Raises:
        ValueError: an argument is out of its range.
    """
    if not (0 <= successes <= trials and 0 < rate < 1):
        raise ValueError(f"successes={successes}, trials={trials}, rate={rate}: out of range")
    if successes == 0:
        return 0.0
    whole, hit, miss = math.lgamma(trials + 1), math.log(rate), math.log1p(-rate)
    terms = [
        whole - math.lgamma(k + 1) - math.lgamma(trials - k + 1) + k * hit + (trials - k) * miss
        for k in range(successes, trials + 1)
    ]
    largest = max(terms)
    summed = largest + math.log(math.fsum(math.exp(term - largest) for term in terms))
    return min(0.0, summed / math.log(10))


def upper_limit(successes: int, trials: int, risk: float) -> float:
    """The one-sided upper limit of a rate: were it larger, so few successes would come with less than chance `risk`.

    With no success it is 1 - risk^(1 / trials); with nothing but successes it is 1.
    """
    if successes == trials:
        return 1.0
    # P(X <= successes) = risk, so that P(X >= successes + 1) = 1 - risk: it grows with the rate
    return _rate_at(successes + 1, trials, math.log10(1 - risk))


def lower_limit(successes: int, trials: int, risk: float) -> float:
    """The one-sided lower limit of a rate: were it smaller, so many successes would come with less than `risk`."""
    return 0.0 if successes == 0 else _rate_at(successes, trials, math.log10(risk))


def reached(p_value_log10: float, threshold_log10: float) -> bool:
    """Whether a p-value is at most a threshold; the comparison forgives the rounding of a logarithm, nothing more."""
    return p_value_log10 <= threshold_log10 + 1e-9


def _rate_at(successes: int, trials: int, log10: float) -> float:
    """The rate at which the tail has a given probability, by bisection to the last bits of a float."""
    low, high = 0.0, 1.0
    while low < (middle := (low + high) / 2) < high:
        if tail_log10(successes, trials, middle) < log10:
            low = middle
        else:
            high = middle
    return high


def power_of_ten(log10: float) -> str:
    """A probability by its logarithm, however small, to be read."""
    return f"10^{log10:.1f}" if log10 < -3 else f"{10**log10:.3g}"
