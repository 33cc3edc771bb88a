"""What a judge would decide of an attack's claims: by the rule `sound`, each dated as early as its claimant could.

`ipr verify` looks at files: a commitment, a stamp, a calibration. An attack has none of them, but it is known who could
have which. An owner is taken to have committed in time, with a key, and to bring the weights that he committed to. A
forger who needs the weights is too late. Of nobody is a calibration at hand: where the rule asks for one, the outcome
is inconclusive at best, and `null` is what it rests on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ipr.claims.base import Claim
from ipr.data.images import ImageData
from ipr.judging.decision import Decision, decide
from ipr.judging.evidence import Provenance, from_answers, from_weights
from ipr.judging.fidelity import largest_class
from ipr.judging.redraw import GRANTED, Redrawn, redraw
from ipr.judging.registration import IN_TIME, LATE
from ipr.judging.verdict import Verdict


@dataclass(frozen=True)
class Terms:
    """What an attack's terms say of a claim and its suspect.

    Attributes:
        dated: whether the claimant could commit to it before the suspect was released.
        drawn: whether it is granted that its secrets were drawn, as far as they can be; else the judge draws them
            again.
        same: see `Provenance`.
        served: whether the suspect only answers.
    """

    dated: bool
    drawn: bool
    same: bool | None
    served: bool = False


def decided(claim: Claim, verdict: Verdict, data: ImageData, terms: Terms) -> Decision:
    """The decision by the rule `sound`.

    Args:
        claim: what was brought.
        verdict: what was measured, its p-value charged already for the ways in which the suspect was read.
        data: the judge's images; secrets are drawn again from them.
        terms: see there.
    """
    evidence = from_weights(verdict, claim, largest_class(data.test_images))
    if terms.served and evidence.trigger_set is not None:
        evidence = from_answers(evidence.trigger_set)
    granted = Redrawn((*GRANTED.parts, *claim.never_drawn))
    provenance = Provenance(
        commitment=IN_TIME if terms.dated else LATE,
        by="the attack's terms",
        drawn=granted if terms.drawn else redraw(claim, data).of(evidence.kind),
        bound=bool(claim.bound),
        same=terms.same,
    )
    return decide(evidence, claim.thresholds, provenance=provenance)


def best(readings: Sequence[tuple[Verdict, Decision]]) -> Decision:
    """Of the readings of one suspect, as it is given and aligned, the decision on the one that a judge goes by."""

    def rank(read: tuple[Verdict, Decision]) -> tuple[bool, int, float]:
        verdict, decision = read
        return decision.consistent, sum(verdict.reading.agreeing.values()), verdict.fidelity.accuracy

    return max(readings, key=rank)[1]
