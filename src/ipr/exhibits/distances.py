"""How far two samples, or two histograms, lie apart."""

from __future__ import annotations

import numpy as np
from scipy.stats import ks_2samp
from torch import Tensor


def ks_distance(a: Tensor, b: Tensor) -> float:
    """The two-sample Kolmogorov-Smirnov distance: the largest gap between two empirical distributions, in [0, 1].

    Args:
        a: a sample of any shape, not empty.
        b: another.
    """
    samples = (sample.detach().flatten().double().cpu().numpy() for sample in (a, b))
    with np.errstate(divide="ignore"):  # in the p-value of samples of one, which is not looked at
        return float(ks_2samp(*samples, method="asymp").statistic)


def total_variation(a: Tensor, b: Tensor) -> float:
    """The total variation distance of two histograms with the same bins, in [0, 1]: half of what their shares differ.

    Args:
        a: counts, (bins,), not all 0.
        b: the same.
    """
    a, b = a.double(), b.double()
    return float((a / a.sum() - b / b.sum()).abs().sum() / 2)
