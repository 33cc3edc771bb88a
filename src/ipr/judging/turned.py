"""So few bits agree that chance does not explain it: somebody turned the signs of channels."""

from __future__ import annotations

import math

from ipr.claims.base import Reading
from ipr.signature import binomial_tail

UNLIKELY = 2.0**-40
"""The chance at and below which so few bits are no accident."""


def turned(reading: Reading, p_value: float = UNLIKELY) -> bool:
    """Whether so few bits agree that an unrelated network would hardly read so few: 0 of 224 is no chance either.

    It verifies nothing. It tells a judge that the suspect has to do with the claim, and that its signs were turned
    (`attack=flip_groups`), which a reference undoes.

    Args:
        reading: of bits; of trigger images it is never so.
        p_value: the largest chance of so few bits or fewer, each a fair coin.
    """
    agreeing, total = sum(reading.agreeing.values()), sum(reading.total.values())
    return not reading.images and binomial_tail(total - agreeing, total)[0] <= p_value


def both_tails_log10(agreeing: int, total: int) -> float:
    """log10 of the chance that fair coins agree at least as far from half of the bits, on either side.

    Args:
        agreeing: bits that agree.
        total: of so many; at least 1.

    Raises:
        ValueError: unless 0 <= agreeing <= total.
    """
    if not 0 <= agreeing <= total:
        raise ValueError(f"agreeing={agreeing}: not between 0 and total={total}")
    return min(0.0, binomial_tail(max(agreeing, total - agreeing), total)[1] + math.log10(2))
