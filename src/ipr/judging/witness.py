"""Fingerprints as witnesses: what they say of a suspect beside a claim. They decide nothing.

Independent networks of a task agree with each other far beyond a guess, so a fingerprint means something only beside
networks that the judge knows to be independent. Its p-value is the larger of two: by a guess, and by a binomial whose
rate bounds what these networks agree to (`EmpiricalNull`). The second takes points, and channels, as independent of
each other, which they are not quite; so no p-value counts unless the suspect agrees better than every one of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ipr.claims.base import Claim, Reading
from ipr.config.rule import Rule
from ipr.judging.binomial import corrected_log10, power_of_ten, reached
from ipr.judging.conditions import Condition
from ipr.judging.decision import Decision
from ipr.judging.null import EmpiricalNull

ALONE = "give networks that were trained by themselves for the same task: independent=[FILE]"
MORE = "a fingerprint of more points (trigger_set.size), or more independent networks"


@dataclass(frozen=True)
class Witness:
    """One fingerprint, measured.

    Attributes:
        claim: the fingerprint.
        commitment: the digest of its own commitment, where that opens; None where there is none.
        found: what the suspect says.
        others: what every independent network says; empty where none was asked.
        choices: among how many answers each mark is guessed.
        networks: digests of the independent networks' weights, in the same order, hexadecimal.
    """

    claim: Claim
    commitment: str | None
    found: Reading
    others: Sequence[Reading]
    choices: int
    networks: Sequence[str] = ()

    @property
    def agreeing(self) -> int:
        """Marks that agree."""
        return sum(self.found.agreeing.values())

    @property
    def total(self) -> int:
        """Of so many."""
        return sum(self.found.total.values())

    @property
    def null(self) -> EmpiricalNull | None:
        """How independent networks agree; None where none was asked."""
        if not self.others:
            return None
        return EmpiricalNull([sum(one.agreeing.values()) for one in self.others], self.total, self.choices)

    @property
    def beyond(self) -> bool:
        """Whether the suspect agrees better than every independent network."""
        return self.null is not None and self.agreeing > max(self.null.agreeing)

    @property
    def p_value_log10(self) -> float:
        """log10 of the larger p-value: by a guess, and by the independent networks."""
        empirical = (
            self.null.p_value_log10(self.agreeing, self.total) if self.null is not None else self.found.p_value_log10
        )
        return max(self.found.p_value_log10, empirical)


def with_witnesses(decision: Decision, witnesses: Sequence[Witness], rule: Rule, tried: int) -> Decision:
    """A decision that tells of witnesses besides: conditions that it does not require.

    Args:
        decision: of the claim.
        witnesses: measured on the same suspect.
        rule: gives the largest p-value.
        tried: see `decide`; the witnesses are tries as well.
    """
    kinds = [one.claim.kind for one in witnesses]
    added = []
    for i, one in enumerate(witnesses):
        number = f" {kinds[: i + 1].count(one.claim.kind)}" if kinds.count(one.claim.kind) > 1 else ""
        added.append(_condition(f"witness {one.claim.kind}{number}", one, rule, tried * len(witnesses)))
    return replace(decision, conditions=(*decision.conditions, *added))


def _condition(name: str, one: Witness, rule: Rule, tries: int) -> Condition:
    p_value = corrected_log10(one.p_value_log10, tries)
    threshold = rule.threshold_log10(one.claim.thresholds.p_value, 0)
    holds: bool | None = None
    remedy = ALONE
    if one.null is not None:
        holds = False if not one.beyond else True if reached(p_value, threshold) else None
        remedy = MORE if holds is None else ""
    return Condition(name, False, holds, p_value, threshold, _says(one, p_value, threshold), remedy)


def _says(one: Witness, p_value: float, threshold: float) -> str:
    unit = "images" if one.found.images else one.found.unit
    says = f"a fingerprint, in which nothing is embedded: {one.agreeing} of {one.total} {unit} agree"
    null, similarity = one.null, one.found.correlation
    if null is not None:
        says += f", with {len(null.agreeing)} independent networks at most {max(null.agreeing)}"
    if similarity is not None:
        says += f"; CKA of the weights {similarity:.3f}"
        best = max((other.correlation or 0.0 for other in one.others), default=None)
        says += f", with these at most {best:.3f}" if best is not None else ""
    by = "a guess" if null is None else "a guess or by these"
    says += f"; the chance by {by}, {power_of_ten(p_value)}, is to be at most {power_of_ten(threshold)}"
    dated = "it opens its own commitment" if one.commitment else "it was not committed to"
    return f"{says}; {dated}: whoever holds the weights can make one at any time"
