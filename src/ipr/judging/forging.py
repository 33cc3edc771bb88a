"""What a bound signature costs to forge: how many tries it takes until a hash says what the scales spell.

A forger has scales that keep a network's accuracy and tries nonces, or passports, until the hash agrees in enough bits.
A try agrees in each with 1/2, so that it succeeds with the binomial tail, and the tries that it takes on average are
the inverse. Where signs are read as they are, he turns whole groups of channels of his copy, which changes no answer,
to whatever agrees better: the folded tail. Where he may alter his copy, some bits are his for nothing (`free`).
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from torch import nn

from ipr.judging.binomial import reached
from ipr.passport.surgery import ConvNorm
from ipr.signature import binomial_tail

SECONDS_PER_TRY = 1.0
"""What a try costs a core, about; it takes 128 MiB as well. On this machine:

python -m timeit -s "import hashlib" "hashlib.scrypt(b'', salt=b'', n=2**17, r=8, p=2, maxmem=2**28)"
"""

YEAR = 365.25 * 24 * 3600


@dataclass(frozen=True)
class ForgingCost:
    """What it takes on average.

    Attributes:
        needed: bits that have to agree.
        tries_log2: base-2 logarithm of the number of tries.
        core_years: years that one core takes; a million take a millionth.
    """

    needed: int
    tries_log2: float
    core_years: float


def forging_cost(
    total: int,
    threshold_log10: float,
    *,
    groups: Sequence[int] | None = None,
    free: int = 0,
    seconds_per_try: float = SECONDS_PER_TRY,
) -> ForgingCost | None:
    """The cost of a bound signature that reaches a p-value.

    Args:
        total: bits of the signature, at least 1.
        threshold_log10: log10 of the p-value that a judge asks for.
        groups: sizes of the groups of channels that can be turned, summing to `total`; None where turning them changes
            nothing (relative signs).
        free: bits that the forger sets as he likes, by altering his copy.
        seconds_per_try: of one core.

    Returns:
        None where no signature of so few bits reaches it.

    Raises:
        ValueError: an argument is out of its range.
    """
    if total < 1 or not 0 <= free <= total or not seconds_per_try > 0:
        raise ValueError(f"total={total}, free={free}, seconds_per_try={seconds_per_try}: out of range")
    if groups is not None and sum(groups) != total:
        raise ValueError(f"groups of {sum(groups)} channels for {total} bits")
    needed = bits_needed(total, threshold_log10)
    if needed is None:
        return None
    luck = max(0, needed - free)
    log10 = binomial_tail(luck, total)[1] if groups is None else folded_tail_log10(groups, luck)
    return ForgingCost(needed, -log10 / math.log10(2), 10**-log10 * seconds_per_try / YEAR)


def bits_needed(total: int, threshold_log10: float) -> int | None:
    """The fewest of `total` bits whose chance by guessing is at most a threshold; None where not even all will do."""
    needed = bisect_left(range(total + 1), True, key=lambda n: reached(binomial_tail(n, total)[1], threshold_log10))
    return needed if needed <= total else None


def folded_tail_log10(groups: Sequence[int], agreeing: int) -> float:
    """log10 P(sum over groups of max(A, g - A) >= agreeing), A ~ Binomial(g, 1/2) for a group of g; exact.

    It is what guesses reach when each group may be turned as a whole. For groups of one channel it is 0: all agree.

    Args:
        groups: sizes, each at least 1.
        agreeing: 0 to their sum.

    Raises:
        ValueError: an argument is out of its range.
    """
    total = sum(groups)
    if not groups or min(groups) < 1 or not 0 <= agreeing <= total:
        raise ValueError(f"groups={groups}, agreeing={agreeing}: out of range")
    ways = np.array([1], dtype=object)  # ways[m]: outcomes in which m bits agree; whole numbers without a limit
    for size in groups:
        folded = np.zeros(size + 1, dtype=object)
        for agree in range(size + 1):
            folded[max(agree, size - agree)] += math.comb(size, agree)
        ways = np.convolve(ways, folded)
    return (math.log2(sum(ways[agreeing:])) - total) * math.log10(2)


def turnable_groups(network: nn.Module, layers: Sequence[ConvNorm]) -> list[int]:
    """The sizes of the groups of channels that can be turned without changing an answer, over all protected layers.

    A group of a group norm, one channel of a batch norm.
    """
    sizes = []
    for layer in layers:
        count = getattr(network.get_submodule(layer.norm), "num_groups", layer.channels)
        sizes += [layer.channels // count] * count
    return sizes
