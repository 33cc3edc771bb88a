"""Wrong claims, and the genuine one on networks that never saw its secrets, judged and decided one by one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.progress import Progress
from torch import nn

from ipr.claims.base import Claim
from ipr.config.rule import Rule
from ipr.data.images import ImageData, LabelledImages
from ipr.judging.calibration import FalseClaimRate, WrongClaims, false_claim_rate
from ipr.judging.decision import Decision, decide
from ipr.judging.evidence import Provenance, from_answers, from_weights
from ipr.judging.fidelity import largest_class
from ipr.judging.null import EmpiricalNull
from ipr.judging.redraw import GRANTED
from ipr.judging.registration import IN_TIME, LATE
from ipr.judging.verdict import judge_claims
from ipr.judging.wrong_claims import genuine_claims, kinds_for
from ipr.randomness import derive_seed

CHUNK = 50
"""Wrong claims that are judged together."""


@dataclass(frozen=True)
class JudgedClaim:
    """A wrong claim that was judged and decided.

    Attributes:
        decision: under the rule, with a commitment in time if its claimant could have had one, and drawn secrets.
        faithful: whether it keeps fidelity; images by themselves present nothing, and are taken to.
        p_value_log10: by guessing.
        threshold_log10: that it is to reach.
        accuracy: with it presented, a fraction.
        agreeing, total: bits, or images, that are read, of so many.
    """

    decision: Decision
    faithful: bool
    p_value_log10: float
    threshold_log10: float
    accuracy: float
    agreeing: int
    total: int


@dataclass(frozen=True)
class JudgedKind:
    """The wrong claims of one kind to one sort of suspect; see `WrongClaims`, which counts them."""

    evidence: str
    kind: str
    suspects: str
    dated: bool
    claims: Sequence[JudgedClaim]

    def counted(self) -> WrongClaims:
        """What became of them, in numbers."""
        best = max(self.claims, key=lambda one: one.agreeing)
        return WrongClaims(
            evidence=self.evidence,
            kind=self.kind,
            suspects=self.suspects,
            dated=self.dated,
            judged=len(self.claims),
            consistent=sum(one.decision.consistent for one in self.claims),
            verified=sum(one.decision.verified for one in self.claims),
            faithful=sum(one.faithful for one in self.claims),
            smallest_p_log10=min(one.p_value_log10 for one in self.claims),
            best_accuracy=max(one.accuracy for one in self.claims),
            most_agreeing=best.agreeing,
            total=best.total,
        )


def judge_wrong_claims(
    claim: Claim,
    data: ImageData,
    suspects: Mapping[str, Sequence[nn.Module]],
    others: Sequence[nn.Module],
    wrong: int,
    seed: int,
    rule: Rule,
    bar: Progress,
) -> list[JudgedKind]:
    """Judges the genuine claim on the independent networks, and every kind of wrong claim on all.

    Args:
        claim: the genuine one.
        data: fidelity is measured on its test images.
        suspects: `independent` networks and, perhaps, the `marked` one, all of the claim's architecture.
        others: independent networks of other architectures, which are asked for images alone.
        wrong: how many wrong claims that could be dated there must be by each sort of evidence; spread evenly over
            their kinds, the sorts of suspects, and the networks of a sort. Of each other kind there are as many as of
            each of these.
        seed: draws them.
        rule: that they are decided under.
        bar: shows how far it is.
    """
    images = data.test_images
    kinds, independent = kinds_for(claim), suspects.get("independent", ())
    judged = _judge_genuine(claim, images, independent, others, rule)
    for name, kind in bar.track(kinds.items(), description="judging wrong claims"):
        for sort, networks in suspects.items():
            rest = [[one for one in independent if one is not network] for network in networks]
            there = all(rest)  # with one network alone there is no other
            if kind.foreign and not there:
                continue
            rivals = [one for one in kinds.values() if one.dated and one.evidence == kind.evidence]
            rivals = [one for one in rivals if there or not one.foreign]
            count = -(-wrong // (len(rivals) * len(suspects) * len(networks)))
            ones = []
            for index, network in enumerate(networks):
                sources = rest[index] if kind.foreign else [network]
                for chunk, first in enumerate(range(0, count, CHUNK)):
                    own = derive_seed(seed, f"wrong claims: {name} {sort} {index} {first}")
                    source = sources[(index + chunk) % len(sources)]
                    claims = kind.drawn(claim, source, data, min(CHUNK, count - first), own)
                    ones += _judge(network, claims, images, kind.evidence, kind.dated, rule)
            judged.append(JudgedKind(kind.evidence, name, sort, kind.dated, ones))
    return judged


def _judge_genuine(
    claim: Claim, images: LabelledImages, alike: Sequence[nn.Module], others: Sequence[nn.Module], rule: Rule
) -> list[JudgedKind]:
    judged = []
    for evidence, genuine in genuine_claims(claim).items():
        asked = [*alike, *(others if evidence == "images" else ())]
        ones = [_judge(network, [genuine], images, evidence, True, rule)[0] for network in asked]
        if ones:
            judged.append(JudgedKind(evidence, "genuine", "independent", True, ones))
    return judged


def _judge(
    network: nn.Module, claims: Sequence[Claim], images: LabelledImages, evidence: str, dated: bool, rule: Rule
) -> list[JudgedClaim]:
    chance, found = largest_class(images), []
    provenance = Provenance(IN_TIME if dated else LATE, "the judge, who grants it", GRANTED, same=True)
    for claim, verdict in zip(claims, judge_claims(network, claims, images), strict=True):
        by_images = evidence == "images"  # shown to a black box, to which nothing is presented
        seen = from_answers(verdict.reading) if by_images else from_weights(verdict, claim, chance)
        decision = decide(seen, claim.thresholds, provenance=provenance, rule=rule)
        holds = {one.name: one.holds for one in decision.conditions}
        bits = sum(verdict.reading.total.values())
        found.append(
            JudgedClaim(
                decision=decision,
                faithful=by_images or holds["fidelity"] is True,
                p_value_log10=verdict.reading.p_value_log10,
                threshold_log10=rule.threshold_log10(claim.thresholds.p_value, 0 if by_images else bits),
                accuracy=verdict.fidelity.accuracy,
                agreeing=sum(verdict.reading.agreeing.values()),
                total=bits,
            )
        )
    return found


def null_of(claim: Claim, judged: Sequence[JudgedKind]) -> EmpiricalNull | None:
    """How often independent networks gave the labels of the claim's images; None where it has none."""
    answers = [one.claims for one in judged if (one.evidence, one.kind) == ("images", "genuine")]
    if not answers:
        return None
    return EmpiricalNull(tuple(one.agreeing for one in answers[0]), answers[0][0].total, claim.guessed_among())


def rates_of(judged: Sequence[JudgedKind], asked: float) -> tuple[FalseClaimRate, ...]:
    """By each sort of evidence, over the wrong claims that could be dated; all others are refused for their date."""
    rates = []
    for evidence in ("signature", "images"):
        ones = [one for group in judged if group.evidence == evidence and group.dated for one in group.claims]
        if ones:
            verifiable = [one.p_value_log10 for one in ones if one.faithful]
            rates.append(false_claim_rate(evidence, len(ones), verifiable, ones[0].threshold_log10, asked))
    return tuple(rates)
