"""How far two samples, or two histograms, lie apart."""

from __future__ import annotations

import torch
from torch import Tensor


def ks_distance(a: Tensor, b: Tensor) -> float:
    """The two-sample Kolmogorov-Smirnov distance: the largest gap between two empirical distributions, in [0, 1].

    Args:
        a: a sample of any shape, not empty.
        b: another.
    """
    a, b = (sample.flatten().double().sort().values for sample in (a, b))
    at = torch.cat([a, b])
    share = [torch.searchsorted(sample, at, right=True) / sample.numel() for sample in (a, b)]
    return float((share[0] - share[1]).abs().max())


def total_variation(a: Tensor, b: Tensor) -> float:
    """The total variation distance of two histograms with the same bins, in [0, 1]: half of what their shares differ.

    Args:
        a: counts, (bins,), not all 0.
        b: the same.
    """
    a, b = a.double(), b.double()
    return float((a / a.sum() - b / b.sum()).abs().sum() / 2)
