"""The empirical null of a trigger set: how often networks that never saw it give its labels.

A guess among K classes, 1 / K, is exact where the labels were drawn at random. Where they follow a rule (the class
after the image's own, one class for all marked images) a network's answers to similar images are not independent
guesses, and images that were made to be misread are misread by most networks alike (False Claims, 2304.06607). So the
judge asks networks that were trained independently.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ipr.judging.binomial import tail_log10, upper_limit

RISK = 0.01
"""The chance that the bound on the rate is wrong for any of the networks asked."""


@dataclass(frozen=True)
class EmpiricalNull:
    """What independent networks answered.

    Attributes:
        agreeing: for each network, how many trigger images got their label.
        total: how many trigger images there are.
        choices: a guess is right once in so many.
    """

    agreeing: Sequence[int]
    total: int
    choices: int

    def __post_init__(self) -> None:
        if not self.agreeing or self.choices < 2 or not all(0 <= one <= self.total for one in self.agreeing):
            raise ValueError(f"agreeing={self.agreeing} of {self.total} among {self.choices}: no answers of networks")

    @property
    def rate(self) -> float:
        """The bound on the rate at which an independent network gives an assigned label, a fraction.

        The largest one-sided Clopper-Pearson upper limit over the networks, each with risk `RISK` / n, so that all hold
        together with 99 %; and no less than a guess.
        """
        risk = RISK / len(self.agreeing)
        return max(1 / self.choices, *(upper_limit(one, self.total, risk) for one in self.agreeing))

    def p_value_log10(self, observed: int, total: int) -> float:
        """log10 of P(Binomial(total, rate) >= observed); 0 where the rate may be 1.

        Args:
            observed: trigger images that the suspect gives their label.
            total: of so many that it was asked; a black box is asked for equal ones once.
        """
        rate = self.rate
        return 0.0 if rate >= 1 else tail_log10(observed, total, rate)

    def rank_p_value(self, observed: int, total: int) -> float:
        """The share of networks, the suspect among them, that agree as well: 1 / (n + 1) at the least."""
        return (1 + sum(one * total >= observed * self.total for one in self.agreeing)) / (len(self.agreeing) + 1)
