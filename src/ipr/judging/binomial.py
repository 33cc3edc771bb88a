"""Binomial tails for any rate, and what a count says about the rate behind it (Clopper and Pearson 1934)."""

from __future__ import annotations

import math

import numpy as np
from scipy.special import logsumexp
from scipy.stats import beta, binom


def tail_log10(successes: int, trials: int, rate: float) -> float:
    """log10 P(X >= successes), X ~ Binomial(trials, rate): finite where the probability underflows.

    The terms are added here, as `scipy.stats.binom.logsf` is -inf where the tail is below 10^-308.

    Args:
        successes: 0 to trials.
        trials: at least 1.
        rate: above 0 and below 1.

    Raises:
        ValueError: an argument is out of its range.
    """
    if not (0 <= successes <= trials and 0 < rate < 1):
        raise ValueError(f"successes={successes}, trials={trials}, rate={rate}: out of range")
    terms = binom.logpmf(np.arange(successes, trials + 1), trials, rate)
    return min(0.0, float(logsumexp(terms)) / math.log(10))


def upper_limit(successes: int, trials: int, risk: float) -> float:
    """The one-sided upper limit of a rate: were it larger, so few successes would come with less than chance `risk`.

    With no success it is 1 - risk^(1 / trials); with nothing but successes it is 1.
    """
    return 1.0 if successes == trials else float(beta.isf(risk, successes + 1, trials - successes))


def lower_limit(successes: int, trials: int, risk: float) -> float:
    """The one-sided lower limit of a rate: were it smaller, so many successes would come with less than `risk`."""
    return 0.0 if successes == 0 else float(beta.ppf(risk, successes, trials - successes + 1))


def reached(p_value_log10: float, threshold_log10: float) -> bool:
    """Whether a p-value is at most a threshold; the comparison forgives the rounding of a logarithm, nothing more."""
    return p_value_log10 <= threshold_log10 + 1e-9


def power_of_ten(log10: float) -> str:
    """A probability by its logarithm, however small, to be read."""
    return f"10^{log10:.1f}" if log10 < -3 else f"{10**log10:.3g}"


def corrected_log10(p_value_log10: float, trials: int) -> float:
    """log10 of a p-value after Bonferroni: min(1, p * trials)."""
    return min(0.0, p_value_log10 + math.log10(trials))
