"""From what a judge measured to a decision: named conditions, and whether every required one holds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from ipr.claim import Claim, Reading, Thresholds, reading
from ipr.errors import InputError
from ipr.passport.claim import PassportClaim
from ipr.verification.binomial import power_of_ten, reached
from ipr.verification.calibration import Calibration
from ipr.verification.fidelity import Fidelity
from ipr.verification.registration import IN_TIME
from ipr.verification.verdict import Verdict
from ipr.watermarks.key_images import KeyImageClaim

CHOICES = ("auto", "required", "reported")


@dataclass(frozen=True)
class Rule:
    """What a claim must show beyond what is measured; `auto`, `required` or `reported` each.

    Attributes:
        commitment: that it was committed to in time. `auto`: required unless a passport is presented, for a watermark
            that was forged afterwards is read as well.
        null: that it was calibrated. `auto`: required where images alone are the evidence.
        bound: that the signature is derived from the passport. `auto`: reported.
        networks: how many independent networks a calibration must have asked.
    """

    commitment: str = "auto"
    null: str = "auto"
    bound: str = "auto"
    networks: int = 20

    def __post_init__(self) -> None:
        for name in ("commitment", "null", "bound"):
            if getattr(self, name) not in CHOICES:
                raise InputError(f"rule.{name}", getattr(self, name), "is unknown", "choose auto, required or reported")
        if self.networks < 1:
            raise InputError("rule.networks", self.networks, "must be at least 1", "give e.g. 20")


@dataclass(frozen=True)
class Evidence:
    """What was measured.

    Attributes:
        fidelity: F with what is claimed presented; None where nothing can be presented (black box).
        signature: the bits as they were read; None where there are none, or nothing but answers was seen.
        trigger_set: the images that got their label, with the chance of a guess; None where there are none.
        passport: whether the claim presents a passport; False for bare scales; None where nothing is presented.
    """

    fidelity: Fidelity | None
    signature: Reading | None
    trigger_set: Reading | None
    passport: bool | None

    @property
    def kind(self) -> str:
        """What decides: `signature`, or `images` where there is nothing else."""
        return "images" if self.signature is None else "signature"


@dataclass(frozen=True)
class Condition:
    """One condition of a decision.

    Attributes:
        name: what it is about.
        required: whether the decision needs it.
        holds: None where it was not, or could not be, measured.
        value, threshold: what is compared: log10 of p-values (`signature`, `trigger set`), fractions (`fidelity`,
            `null`), or a status in words.
        says: the comparison in words.
    """

    name: str
    required: bool
    holds: bool | None
    value: float | str | None
    threshold: float | str | None
    says: str


@dataclass(frozen=True)
class Decision:
    """The conditions, in the order in which they are told."""

    conditions: Sequence[Condition]

    @property
    def verified(self) -> bool:
        """Every required condition holds; one that was not measured does not."""
        return all(condition.holds is True for condition in self.conditions if condition.required)

    @property
    def outcome(self) -> str:
        """`verified` or `not verified`."""
        return "verified" if self.verified else "not verified"


def from_weights(verdict: Verdict, claim: Claim) -> Evidence:
    """The evidence in a suspect's weights (white box)."""
    triggers = verdict.reading if verdict.reading.images else None
    if isinstance(claim, PassportClaim) and claim.trigger_labels is not None and verdict.trigger_accuracy is not None:
        total = claim.trigger_labels.numel()
        agreeing = round(verdict.trigger_accuracy * total)
        triggers = reading({"trigger set": agreeing}, {"trigger set": total}, choices=choices_of(claim), images=True)
    return Evidence(
        fidelity=verdict.fidelity,
        signature=None if verdict.reading.images else verdict.reading,
        trigger_set=triggers,
        passport=bool(claim.passport) if isinstance(claim, PassportClaim) else None,
    )


def from_answers(trigger_set: Reading) -> Evidence:
    """The evidence in a suspect's answers alone (black box)."""
    return Evidence(fidelity=None, signature=None, trigger_set=trigger_set, passport=None)


def choices_of(claim: Claim) -> int:
    """Among how many answers an unrelated network guesses the label of a trigger image.

    Raises:
        InputError: the claim tells neither this nor its number of classes.
    """
    if isinstance(claim, KeyImageClaim):
        return claim.choices
    classes = claim.architecture.get("num_classes")
    if not isinstance(classes, int) or classes < 2:
        raise InputError("claim", f"num_classes={classes}", "is not a number from 2 on", "restore the claim")
    return classes


def corrected_log10(p_value_log10: float, trials: int) -> float:
    """log10 of a p-value after Bonferroni: min(1, p * trials)."""
    return min(0.0, p_value_log10 + math.log10(trials))


def log10(p_value: float) -> float:
    """log10 of a threshold; minus infinity for 0, which nothing reaches."""
    return math.log10(p_value) if p_value > 0 else -math.inf


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
    commitment: str = "none",
    bound: bool = False,
    calibration: Calibration | None = None,
    rule: Rule = Rule(),
) -> Decision:
    """Applies the thresholds that the claim declared.

    Args:
        evidence: what was measured.
        thresholds: of the claim.
        tried: how many claims, or suspects, the claimant tried before this one, it included; at least 1.
        alignments: how many ways of matching the suspect's layers were tried; at least 1. The signature pays for both,
            the trigger set for `tried`.
        commitment: its status, see `registration.py`.
        bound: whether the signature is derived from the passport and the owner.
        calibration: of this claim; None where there is none.
        rule: what is required beyond.

    Raises:
        InputError: `tried` is below 1.
    """
    check_tried(tried)
    threshold = log10(thresholds.p_value)
    conditions = []
    if evidence.passport is not None:
        conditions.append(_passport(evidence.passport))
    conditions.append(_fidelity(evidence.fidelity))
    if evidence.signature is not None:
        conditions.append(_signature(evidence.signature, tried, alignments, threshold))
    if evidence.trigger_set is not None:
        deciding = evidence.kind == "images"
        conditions.append(_trigger_set(evidence.trigger_set, tried, calibration, threshold, required=deciding))
    if evidence.passport is not None or rule.bound == "required":
        says = "the signature is derived from passport, owner and a nonce" if bound else "the signature was chosen"
        status = "bound" if bound else "free"
        conditions.append(Condition("bound signature", rule.bound == "required", bound, status, "bound", says))
    conditions.append(_commitment(commitment, _required(rule.commitment, auto=evidence.passport is None)))
    conditions.append(_null(evidence.kind, calibration, rule))
    return Decision(tuple(conditions))


def _required(choice: str, *, auto: bool) -> bool:
    return choice == "required" or (choice == "auto" and auto)


def _passport(brought: bool) -> Condition:
    says = "the claim brings a passport" if brought else "the claim brings bare scales, which an owner never needs"
    return Condition("passport", True, brought, "passport" if brought else "scales", "passport", says)


def _fidelity(fidelity: Fidelity | None) -> Condition:
    if fidelity is None:
        return Condition("fidelity", False, None, None, None, "nothing can be presented to a black box: not measured")
    difference = abs(fidelity.accuracy - fidelity.target)
    facts = {name: f"{100 * value:.2f} %" for name, value in asdict(fidelity).items()}
    says = f"accuracy {facts['accuracy']} is to be within {facts['threshold']} of the owner's {facts['target']}"
    return Condition("fidelity", True, fidelity.holds, difference, fidelity.threshold, says)


def _signature(found: Reading, tried: int, alignments: int, threshold: float) -> Condition:
    p_value = corrected_log10(found.p_value_log10, tried * alignments)
    says = (
        f"{sum(found.agreeing.values())} of {sum(found.total.values())} bits; {_chance('a guess', p_value, threshold)}"
    )
    if tried * alignments > 1:
        says += f", corrected for {tried} tried and {alignments} alignments"
    return Condition("signature", True, reached(p_value, threshold), p_value, threshold, says)


def _chance(by: str, p_value: float, threshold: float) -> str:
    return f"the chance by {by}, {power_of_ten(p_value)}, is to be at most {power_of_ten(threshold)}"


def _trigger_set(
    found: Reading, tried: int, calibration: Calibration | None, threshold: float, *, required: bool
) -> Condition:
    observed, total = sum(found.agreeing.values()), sum(found.total.values())
    p_value, by = found.p_value_log10, "a guess"
    if calibration is not None and calibration.null is not None:
        empirical = calibration.null.p_value_log10(observed, total)
        p_value, by = max((p_value, by), (empirical, "independent networks"))
    p_value = corrected_log10(p_value, tried)
    says = f"{observed} of {total} images; {_chance(by, p_value, threshold)}"
    if tried > 1:
        says += f", corrected for {tried} tried"
    return Condition("trigger set", required, reached(p_value, threshold), p_value, threshold, says)


def _commitment(status: str, required: bool) -> Condition:
    says = "the commitment is to open and to have been registered before the network was released"
    return Condition("commitment", required, status == IN_TIME, status, IN_TIME, says)


def _null(kind: str, calibration: Calibration | None, rule: Rule) -> Condition:
    required = _required(rule.null, auto=kind == "images")
    rate = calibration.rate_of(kind) if calibration is not None else None
    if calibration is None or rate is None:
        return Condition("null", required, False, "none", "calibrated", "the claim is to be calibrated")
    networks = len(calibration.networks)
    says = (
        f"{networks} independent networks, of {rule.networks} that it takes; {rate.verified} of {rate.judged} wrong "
        f"claims verified: with 95 % a rate of at most {100 * rate.upper:.2f} %, which is to be below "
        f"{100 * rate.asked:.2f} %"
    )
    return Condition("null", required, rate.holds and networks >= rule.networks, rate.upper, rate.asked, says)
