"""What a judge learns about a claim from wrong claims and from networks that never saw its secrets."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from ipr.judging.binomial import lower_limit, reached, upper_limit
from ipr.judging.null import EmpiricalNull

RISK = 0.05
"""The chance with which each limit of a false-claim rate is missed."""


@dataclass(frozen=True)
class WrongClaims:
    """Wrong claims of one kind to one sort of suspect, counted.

    Attributes:
        evidence: `signature` or `images`: by what they would be verified.
        kind: see `wrong_claims.py`.
        suspects: `marked` for the network that carries the genuine mark, `independent` for those that do not.
        dated: whether their claimant could have committed to them before the release; of the genuine claim, True.
        judged: how many.
        consistent: how many of them keep fidelity and are read, at the judge's thresholds.
        verified: how many of them a decision under the sound rule verifies: commitment and calibration apart, which are
            granted to those that are dated, and the commitment is not to the others.
        faithful: how many of them keep fidelity.
        smallest_p_log10: log10 of the smallest p-value of any of them.
        best_accuracy: the best accuracy with any of them presented, a fraction.
        most_agreeing: most bits, or trigger images, that any of them reads.
        total: of so many.
    """

    evidence: str
    kind: str
    suspects: str
    dated: bool
    judged: int
    consistent: int
    verified: int
    faithful: int
    smallest_p_log10: float
    best_accuracy: float
    most_agreeing: int
    total: int


@dataclass(frozen=True)
class FalseClaimRate:
    """The share of wrong claims that are verified, and the threshold that keeps it below a rate.

    Attributes:
        evidence: `signature` or `images`.
        judged: how many wrong claims.
        verified: how many of them were verified at the judge's threshold.
        lower, upper: one-sided 95 % limits of the share (Clopper-Pearson).
        asked: the rate that is asked for.
        needed: how many wrong claims it takes to show that rate, none of them verified.
        threshold_log10: with a p-value threshold below 10 to this the upper limit is below the asked rate; 0 where any
            threshold does; None where there are too few wrong claims.
    """

    evidence: str
    judged: int
    verified: int
    lower: float
    upper: float
    asked: float
    needed: int
    threshold_log10: float | None

    @property
    def holds(self) -> bool:
        """Whether the rate is shown to be below the asked one at the judge's threshold."""
        return self.upper < self.asked


@dataclass(frozen=True)
class MissedClaims:
    """The genuine claim to copies of the marked network that a thief changed, counted.

    Attributes:
        evidence: `signature`, or `images` for their answers alone.
        change: what was done to them, in words.
        judged: how many copies.
        missed: how many of them it is not verified on, the commitment granted.
        lower, upper: one-sided 95 % limits of that share (Clopper-Pearson).
        accuracy: of the copies as they are, the mean; a fraction.
        fewest_agreeing: fewest bits, or trigger images, that are read from any of them.
        total: of so many.
    """

    evidence: str
    change: str
    judged: int
    missed: int
    lower: float
    upper: float
    accuracy: float
    fewest_agreeing: int
    total: int


@dataclass(frozen=True)
class Calibration:
    """What `ipr calibrate` found. It holds counts, no secret.

    Attributes:
        claim: the claim's fingerprint.
        claim_kind: see `Claim.kind`.
        data: the data set's name.
        data_fingerprint: see `ImageData`.
        networks: digests of the independent networks' weights, hexadecimal.
        null: how they answer the claim's trigger images; None where it has none.
        wrong: wrong claims by kind and sort of suspect.
        rates: by sort of evidence.
        missed: what becomes of the genuine claim on changed copies of the marked network; empty without one.
        p_value, fidelity: the rule's thresholds, see `Rule`.
        seed: what the wrong claims, and the networks' seeds, were derived from.
    """

    claim: str
    claim_kind: str
    data: str
    data_fingerprint: str
    networks: Sequence[str]
    null: EmpiricalNull | None
    wrong: Sequence[WrongClaims]
    rates: Sequence[FalseClaimRate]
    missed: Sequence[MissedClaims]
    p_value: float | None
    fidelity: float
    seed: int

    def genuine(self, evidence: str) -> tuple[int, int]:
        """How many independent networks were asked the genuine claim, and how many of them are consistent with it."""
        rows = [
            row for row in self.wrong if (row.evidence, row.kind, row.suspects) == (evidence, "genuine", "independent")
        ]
        return sum(row.judged for row in rows), sum(row.consistent for row in rows)

    def rate_of(self, evidence: str) -> FalseClaimRate | None:
        """The false-claim rate by one sort of evidence; None where none was measured."""
        return next((rate for rate in self.rates if rate.evidence == evidence), None)


def false_claim_rate(
    evidence: str, judged: int, verifiable_p_log10: Sequence[float], threshold_log10: float, asked: float
) -> FalseClaimRate:
    """The rate of wrong claims that are verified, and the threshold at which it is below the asked one.

    Args:
        evidence: see `FalseClaimRate`.
        judged: how many wrong claims there were, at least 1.
        verifiable_p_log10: log10 of the p-values of those of them that nothing but the p-value refuses.
        threshold_log10: of the judge's threshold.
        asked: the rate, above 0 and below 1.
    """
    verified = sum(reached(p, threshold_log10) for p in verifiable_p_log10)
    allowed = -1  # how many may be verified
    while allowed < judged and upper_limit(allowed + 1, judged, RISK) < asked:
        allowed += 1
    smallest = sorted(verifiable_p_log10)
    return FalseClaimRate(
        evidence=evidence,
        judged=judged,
        verified=verified,
        lower=lower_limit(verified, judged, RISK),
        upper=upper_limit(verified, judged, RISK),
        asked=asked,
        needed=claims_needed(asked),
        threshold_log10=None if allowed < 0 else 0.0 if allowed >= len(smallest) else smallest[allowed],
    )


def claims_needed(asked: float) -> int:
    """The fewest wrong claims that show a rate below the asked one, none of them verified: 1 - RISK^(1/n) < asked."""
    return math.floor(math.log(RISK) / math.log1p(-asked)) + 1


def missed_claims(
    evidence: str, change: str, missed: int, accuracies: Sequence[float], agreeing: Sequence[int], total: int
) -> MissedClaims:
    """Counts, and what they say of the share behind them: see `MissedClaims`; `accuracies`, and the bits or images
    that are read (`agreeing`), are those of every copy.
    """
    judged = len(accuracies)
    return MissedClaims(
        evidence=evidence,
        change=change,
        judged=judged,
        missed=missed,
        lower=lower_limit(missed, judged, RISK),
        upper=upper_limit(missed, judged, RISK),
        accuracy=math.fsum(accuracies) / judged,
        fewest_agreeing=min(agreeing),
        total=total,
    )
