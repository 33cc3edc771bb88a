"""From what a judge measured to a decision: named conditions, under a rule. Nothing else says `verified`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ipr.claims.base import Thresholds
from ipr.config.rule import SOUND, Rule
from ipr.errors import InputError
from ipr.judging import conditions
from ipr.judging.conditions import Condition
from ipr.judging.evidence import UNKNOWN, Evidence, Provenance
from ipr.judging.fidelity import Accuracies
from ipr.judging.registration import IN_TIME

VERIFIED, NOT_VERIFIED, INCONCLUSIVE = "verified", "not verified", "inconclusive"


MEASURED = ("passport", "fidelity", "signature", "trigger set")
"""The conditions that the suspect decides; all others are about where the claim comes from."""


@dataclass(frozen=True)
class Decision:
    """The conditions, in the order in which they are told, and the rule's name."""

    conditions: Sequence[Condition]
    rule: str

    @property
    def outcome(self) -> str:
        """`verified` if every required condition holds, `not verified` if one fails; else one is missing:
        `inconclusive`, for what was measured does not contradict the claim.
        """
        found = [condition.holds for condition in self.conditions if condition.required]
        return NOT_VERIFIED if False in found else INCONCLUSIVE if None in found else VERIFIED

    @property
    def verified(self) -> bool:
        """Whether the outcome is `verified`."""
        return self.outcome == VERIFIED

    @property
    def consistent(self) -> bool:
        """Whether what was measured is consistent with the claim, wherever that comes from."""
        return all(one.holds is True for one in self.conditions if one.required and one.name in MEASURED)

    @property
    def deciding(self) -> Sequence[Condition]:
        """The required conditions that the outcome rests on: those that fail, or else are missing, or else all."""
        required = [condition for condition in self.conditions if condition.required]
        for holds in (False, None):
            if some := [condition for condition in required if condition.holds is holds]:
                return some
        return required


def check_tried(tried: int) -> None:
    """Refuses a number of tries below 1.

    Raises:
        InputError: saying so.
    """
    if tried < 1:
        raise InputError("tried", tried, "must be at least 1", "count this claim too")


def decide(
    evidence: Evidence,
    thresholds: Thresholds,
    *,
    tried: int = 1,
    alignments: int = 1,
    provenance: Provenance = UNKNOWN,
    rule: Rule = SOUND,
) -> Decision:
    """Applies a rule.

    Args:
        evidence: what was measured.
        thresholds: of the claim; they count where they are stricter than the rule's.
        tried: how many claims, or suspects, the claimant tried before this one, it included; at least 1.
        alignments: how many ways of matching the suspect's layers were tried; at least 1. The signature pays for both,
            the trigger set for `tried`.
        provenance: where the claim comes from.
        rule: what is required.

    Raises:
        InputError: `tried` is below 1.
    """
    check_tried(tried)
    calibration, presented = provenance.calibration, evidence.passport is not None
    found = _measured(evidence, thresholds, tried, alignments, provenance, rule)
    found.append(conditions.drawn(provenance.drawn, rule.requires("drawn", auto=True)))
    if presented or rule.bound == "required":
        found.append(conditions.bound(provenance.bound, rule.bound == "required"))
    found.append(conditions.key(provenance.keyless, rule.sound))
    found.append(conditions.commitment(provenance, rule.requires("commitment", auto=True), evidence))
    if evidence.accessory:
        found.append(conditions.accessory(provenance, rule.sound))
    found.append(conditions.network(provenance.same, evidence, rule))
    if calibration is not None:
        found.append(conditions.independent(calibration, evidence.kind, rule.sound))
    by_itself = not (presented or evidence.exact_chance)
    found.append(conditions.null(evidence.kind, calibration, rule, rule.requires("null", auto=by_itself)))
    return Decision(tuple(found), rule.name)


def _measured(
    evidence: Evidence, thresholds: Thresholds, tried: int, alignments: int, provenance: Provenance, rule: Rule
) -> list[Condition]:
    """What is asked of the suspect."""
    found: list[Condition] = []
    if evidence.passport is not None:
        found.append(conditions.passport(evidence.passport))
    found.append(fidelity := conditions.fidelity(evidence, thresholds, rule))
    if evidence.signature is not None:
        counted = provenance.drawn.counted(evidence.signature) if rule.sound else evidence.signature
        threshold = rule.threshold_log10(thresholds.p_value, sum(counted.total.values()))
        signature = conditions.signature(evidence.signature, counted, tried, alignments, threshold, provenance.same)
        if rule.sound and fidelity.holds is False and signature.holds and _outlasted(evidence.accuracies, provenance):
            found[-1] = conditions.tuned(fidelity)
        found.append(signature)
    if evidence.trigger_set is not None:
        deciding, threshold = evidence.kind == "images", rule.threshold_log10(thresholds.p_value, 0)
        found.append(conditions.trigger_set(evidence, tried, provenance.null, threshold, required=deciding))
    if evidence.steadiness is not None:
        found.append(conditions.steady(evidence.steadiness))
    return found


def _outlasted(seen: Accuracies | None, origin: Provenance) -> bool:
    """Whether bits that are read say more than a fidelity that is lost, however much of it is: they were drawn and
    dated, and the suspect is a copy of what was committed to. No other network has them by chance, and no accuracy
    tells an owner's tuned copy from what is lifted in a network that others begin with.
    """
    if seen is None or seen.target is None:
        return False
    return origin.drawn.holds is True and origin.commitment == IN_TIME and origin.same is True
