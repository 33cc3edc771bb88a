"""From what a judge measured to a decision: named conditions, under a rule. Nothing else says `verified`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from ipr.claims.base import Claim, Reading, Thresholds, reading
from ipr.config.rule import SOUND, Rule
from ipr.errors import InputError
from ipr.judging.binomial import power_of_ten, reached
from ipr.judging.calibration import Calibration
from ipr.judging.fidelity import Accuracies, as_given_away, as_published, percent
from ipr.judging.null import EmpiricalNull
from ipr.judging.redraw import UNKNOWN as NOT_LOOKED_AT
from ipr.judging.redraw import Redrawn
from ipr.judging.registration import IN_TIME, MISSING
from ipr.judging.signature_reading import turned
from ipr.judging.steadiness import LIMIT, Steadiness
from ipr.judging.verdict import Verdict

VERIFIED, NOT_VERIFIED, INCONCLUSIVE = "verified", "not verified", "inconclusive"


MEASURED = ("passport", "fidelity", "signature", "trigger set")
"""The conditions that the suspect decides; all others are about where the claim comes from."""


@dataclass(frozen=True)
class Evidence:
    """What was measured.

    Attributes:
        accuracies: what fidelity is decided from; None where nothing can be presented (black box).
        signature: the bits as they were read; None where there are none, or nothing but answers was seen.
        trigger_set: the images that got their label, with the chance of a guess; None where there are none.
        passport: whether the claim presents a passport; False for bare scales; None where nothing is presented.
        steadiness: how a black box answers slightly changed images; None where it was not asked for them.
        accessory: whether what it presents passes through what the claimant has trained.
        exact_chance: see `Claim.exact_chance`.
    """

    accuracies: Accuracies | None
    signature: Reading | None
    trigger_set: Reading | None
    passport: bool | None
    steadiness: Steadiness | None = None
    accessory: bool = False
    exact_chance: bool = False

    @property
    def kind(self) -> str:
        """What decides: `signature`, or `images` where there is nothing else."""
        return "images" if self.signature is None else "signature"


@dataclass(frozen=True)
class Provenance:
    """Where a claim comes from, as far as the judge found out by himself.

    Attributes:
        commitment: its status, see `registration.py`.
        by: who says when it was registered.
        drawn: what drawing its secrets again shows; nothing by default.
        bound: whether the signature follows from passport, owner and nonce.
        keyless: whether anybody who guesses the run's seed can draw its secrets.
        calibration: of this claim, made by this judge; None where there is none.
        null: how independent networks answer its trigger images; None where none were asked.
        same: whether the suspect is the network that was committed to: the very weights, or alike when its channels are
            matched to them; None where that was not looked at.
    """

    commitment: str = "none"
    by: str = ""
    drawn: Redrawn = NOT_LOOKED_AT
    bound: bool = False
    keyless: bool = False
    calibration: Calibration | None = None
    null: EmpiricalNull | None = None
    same: bool | None = None


UNKNOWN = Provenance()
"""Of a claim that is as a stranger brought it."""


@dataclass(frozen=True)
class Condition:
    """One condition of a decision.

    Attributes:
        name: what it is about.
        required: whether the decision needs it.
        holds: None where it was not, or could not be, shown; another judgement may show it.
        value, threshold: what is compared: log10 of p-values (`signature`, `trigger set`), fractions (`fidelity`,
            `null`), or a status in words.
        says: the comparison in words.
        remedy: how to show what is missing; "" where it holds or cannot be mended.
    """

    name: str
    required: bool
    holds: bool | None
    value: float | str | None
    threshold: float | str | None
    says: str
    remedy: str = ""


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


def from_weights(verdict: Verdict, claim: Claim, chance: float) -> Evidence:
    """The evidence in a suspect's weights (white box).

    Args:
        verdict: what was measured.
        claim: the claim that was judged.
        chance: see `Accuracies`.
    """
    triggers = verdict.reading if verdict.reading.images else None
    if triggers is None and verdict.trigger_accuracy is not None:
        triggers = trigger_reading(claim, verdict.trigger_accuracy)
    return Evidence(
        accuracies=Accuracies(
            claimed=verdict.fidelity.accuracy,
            given=verdict.accuracy_without,
            target=claim.thresholds.target_accuracy,
            chance=chance,
            control=max(verdict.accuracy_forged, default=None),
        ),
        signature=None if verdict.reading.images else verdict.reading,
        trigger_set=triggers,
        passport=claim.brings_passport,
        accessory=claim.of_accessory,
        exact_chance=claim.exact_chance,
    )


def from_answers(trigger_set: Reading, steadiness: Steadiness | None = None) -> Evidence:
    """The evidence in a suspect's answers alone (black box)."""
    return Evidence(None, signature=None, trigger_set=trigger_set, passport=None, steadiness=steadiness)


def trigger_reading(claim: Claim, accuracy: float) -> Reading | None:
    """The trigger images that were answered as assigned, with the chance of a guess; None where there are none.

    Args:
        claim: any.
        accuracy: the fraction of its trigger images that got their label.

    Raises:
        InputError: see `Claim.guessed_among`.
    """
    if claim.triggers is None:
        return None
    total = claim.triggers.labels.numel()
    agreeing = {"trigger set": round(accuracy * total)}
    return reading(agreeing, {"trigger set": total}, choices=claim.guessed_among(), images=True)


def corrected_log10(p_value_log10: float, trials: int) -> float:
    """log10 of a p-value after Bonferroni: min(1, p * trials)."""
    return min(0.0, p_value_log10 + math.log10(trials))


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
    conditions = _measured(evidence, thresholds, tried, alignments, provenance, rule)
    conditions.append(_drawn(provenance.drawn, rule.requires("drawn", auto=True)))
    if presented or rule.bound == "required":
        conditions.append(_bound(provenance.bound, rule.bound == "required"))
    conditions.append(_key(provenance.keyless, rule.sound))
    conditions.append(_commitment(provenance, rule.requires("commitment", auto=True), evidence))
    if evidence.accessory:
        conditions.append(_accessory(provenance, rule.sound))
    conditions.append(_network(provenance.same, evidence, rule))
    if calibration is not None:
        conditions.append(_independent(calibration, evidence.kind, rule.sound))
    by_itself = not (presented or evidence.exact_chance)
    conditions.append(_null(evidence.kind, calibration, rule, rule.requires("null", auto=by_itself)))
    return Decision(tuple(conditions), rule.name)


def _measured(
    evidence: Evidence, thresholds: Thresholds, tried: int, alignments: int, provenance: Provenance, rule: Rule
) -> list[Condition]:
    """What is asked of the suspect."""
    conditions = []
    if evidence.passport is not None:
        conditions.append(_passport(evidence.passport))
    conditions.append(fidelity := _fidelity(evidence, thresholds, rule))
    if evidence.signature is not None:
        counted = provenance.drawn.counted(evidence.signature) if rule.sound else evidence.signature
        threshold = rule.threshold_log10(thresholds.p_value, sum(counted.total.values()))
        signature = _signature(evidence.signature, counted, tried, alignments, threshold, provenance.same)
        if rule.sound and fidelity.holds is False and signature.holds and _outlasted(evidence.accuracies, provenance):
            conditions[-1] = _tuned(fidelity)
        conditions.append(signature)
    if evidence.trigger_set is not None:
        deciding, threshold = evidence.kind == "images", rule.threshold_log10(thresholds.p_value, 0)
        conditions.append(_trigger_set(evidence, tried, provenance.null, threshold, required=deciding))
    if evidence.steadiness is not None:
        conditions.append(_steady(evidence.steadiness))
    return conditions


def _passport(brought: bool) -> Condition:
    says = "the claim brings a passport" if brought else "the claim brings bare scales, which an owner never needs"
    return Condition("passport", True, brought, "passport" if brought else "scales", "passport", says)


def _fidelity(evidence: Evidence, thresholds: Thresholds, rule: Rule) -> Condition:
    seen = evidence.accuracies
    if seen is None:
        return Condition("fidelity", False, None, None, None, "nothing can be presented to a black box: not measured")
    epsilon, target = rule.epsilon(thresholds.fidelity), percent(seen.target, "none")
    if rule.sound:
        holds = as_given_away(seen, epsilon)
        says = f"accuracy {percent(seen.claimed)}, as it is given away {percent(seen.given)}, "
        says += "" if seen.plainly is None else f"with pictures read plainly {percent(seen.plainly)}, "
        says += "is to lose at most "
        says += f"{percent(epsilon)} and to be at least {percent(seen.floor)}, well above chance"
        if evidence.passport is not None:
            says += f"; a passport that opens a locked network is to reach {target} within as much"
        if seen.control is not None:
            says += f"; the best random passport reaches {percent(seen.control)}"
        lost = seen.free - seen.claimed
    else:
        holds = as_published(seen, epsilon)
        says = f"accuracy {percent(seen.claimed)} is to be within {percent(epsilon)} of the declared {target}"
        lost = abs(seen.claimed - seen.target) if seen.target is not None else 1.0
    if seen.target is None:
        says += "; a claim that declares no target accuracy is refused"
    return Condition("fidelity", True, holds, lost, epsilon, says)


def _outlasted(seen: Accuracies | None, found: Provenance) -> bool:
    """Whether bits that are read say more than a fidelity that is lost, however much of it is: they were drawn and
    dated, and the suspect is a copy of what was committed to. No other network has them by chance, and no accuracy
    tells an owner's tuned copy from what is lifted in a network that others begin with.
    """
    if seen is None or seen.target is None:
        return False
    return found.drawn.holds is True and found.commitment == IN_TIME and found.same is True


def _tuned(fidelity: Condition) -> Condition:
    """Fidelity that was lost, and does not refuse: a thief who tunes a copy loses the passport's accuracy before its
    bits. It does not verify either: a passport can be lifted to any bits in a public network that others begin with,
    and then works worse than theirs.
    """
    says = fidelity.says + ". It is lost, and the bits are there, drawn and dated: this copy was tuned, or the claim "
    says += "was made for a network that others began with, too"
    return replace(fidelity, holds=None, says=says)


def _signature(
    found: Reading, counted: Reading, tried: int, alignments: int, threshold: float, same: bool | None
) -> Condition:
    """`counted` is the reading without bits that the claimant chose, which are no evidence; `same`: see Provenance."""
    p_value = corrected_log10(counted.p_value_log10, tried * alignments)
    agreeing, total = sum(found.agreeing.values()), sum(found.total.values())
    text = total - sum(counted.total.values())
    says = f"{agreeing} of {total} {found.unit}"
    says += f", of which {text} spell a text and prove nothing" if text else ""
    says += f"; {_chance('a guess', p_value, threshold)}"
    if tried * alignments > 1:
        says += f", corrected for {tried} tried and {alignments} alignments"
    holds, remedy = reached(p_value, threshold), ""
    if turned(found):
        says += "; so few agree that chance does not explain it: the network's channels may have been turned"
    if turned(found) or (not holds and same is None):
        remedy = "if channels were turned or moved, match them first: give the public weights that were committed to, "
        remedy += "reference=FILE"
    return Condition("signature", True, holds, p_value, threshold, says, remedy)


def _chance(by: str, p_value: float, threshold: float) -> str:
    return f"the chance by {by}, {power_of_ten(p_value)}, is to be at most {power_of_ten(threshold)}"


def _trigger_set(
    evidence: Evidence, tried: int, null: EmpiricalNull | None, threshold: float, *, required: bool
) -> Condition:
    """Of a black box too few answers prove nothing: a filter before a marked network may have kept them back. What
    fails with every image answered fails by the claim itself.
    """
    found = evidence.trigger_set
    assert found is not None
    observed, total = sum(found.agreeing.values()), sum(found.total.values())
    p_value, by = _chance_of_images(found, observed, null, tried)
    says = f"{observed} of {total} images; {_chance(by, p_value, threshold)}"
    if tried > 1:
        says += f", corrected for {tried} tried"
    holds: bool | None = reached(p_value, threshold)
    all_answered = _chance_of_images(found, total, null, tried)[0]
    remedy = ""
    if not holds and evidence.accuracies is None and reached(all_answered, threshold):
        holds, remedy = None, "open the suspect's weights file: suspect=FILE"
        says += ". Other answers than the claimed ones prove nothing: a filter may give them before the network does"
    return Condition("trigger set", required, holds, p_value, threshold, says, remedy)


def _chance_of_images(found: Reading, observed: int, null: EmpiricalNull | None, tried: int) -> tuple[float, str]:
    """log10 of the chance that so many of a reading's images are answered as claimed, corrected, and by whom."""
    total = sum(found.total.values())
    guessed = reading({"images": observed}, {"images": total}, choices=found.choices, images=True)
    chances = [(guessed.p_value_log10, "a guess")]
    if null is not None:
        chances.append((null.p_value_log10(observed, total), "independent networks"))
    p_value, by = max(chances)
    return corrected_log10(p_value, tried), by


def _steady(found: Steadiness) -> Condition:
    """Told, and no part of a decision: whoever filters need not have stolen, and steady answers clear nobody."""
    says = f"with slightly changed images {found.keys_changed} of {found.keys} answers to trigger images change, and "
    says += f"{found.ordinary_changed} of {found.ordinary} to others"
    remedy = ""
    if found.filtered:
        says += ": no network answers so; a filter before it answers unusual images by chance"
        remedy = "open the suspect's weights file: suspect=FILE"
    return Condition("steady answers", False, not found.filtered, found.keys_changed / found.keys, LIMIT, says, remedy)


def _drawn(found: Redrawn, required: bool) -> Condition:
    status = {True: "drawn", False: "not what the seeds give", None: "chosen, or unknown"}[found.holds]
    remedy = "train with a drawn or a bound signature, and bring what ipr train wrote" if found.holds is None else ""
    return Condition("drawn secrets", required, found.holds, status, "drawn", found.says, remedy)


def _bound(bound: bool, required: bool) -> Condition:
    says = "the signature is derived from passport, owner and a nonce" if bound else "the signature was chosen or drawn"
    return Condition("bound signature", required, bound, "bound" if bound else "free", "bound", says)


def _key(keyless: bool, required: bool) -> Condition:
    says = "the secrets are to follow from a key of the owner's, not from the run's seed alone"
    remedy = "train with passport.key=file:PATH of your own; a run without one is for research, judged by rule=paper"
    status = "keyless" if keyless else "key"
    return Condition("key", required, not keyless, status, "key", says, remedy if keyless else "")


def _commitment(found: Provenance, required: bool, evidence: Evidence) -> Condition:
    holds = True if found.commitment == IN_TIME else None if found.commitment in MISSING else False
    says = "the commitment is to open and to have been registered before the network was released"
    remedy = ""
    if holds:
        says += f"; by {found.by}"
    else:
        attack = "lift_passport or erb" if evidence.passport is not None else "forge_* of its scheme"
        says += f". Without that anybody who holds these weights can make such a claim ({attack})"
        says += ", in a second where the network keeps its public scales" if evidence.passport is not None else ""
    if holds is None:
        remedy = "a stamp (ipr claim stamp, authority_certificate=FILE) or commitment.digest and .registered; "
        remedy += "and commitment.released, the day on which the network became public"
    return Condition("commitment", required, holds, found.commitment, IN_TIME, says, remedy)


def _accessory(found: Provenance, required: bool) -> Condition:
    """What is trained for a passport can be solved for any other, so a date is all that makes it evidence."""
    holds = True if found.commitment == IN_TIME else None if found.commitment in MISSING else False
    says = "what is presented passes through what the claimant trained, which can be solved for any passport and any "
    says += "signature (forge_accessory, factorise): it counts where it was committed to before the network was "
    says += "released"
    remedy = "commit to the claim (ipr claim commit), and see the condition commitment" if holds is None else ""
    return Condition("accessory", required, holds, found.commitment, IN_TIME, says, remedy)


def _network(same: bool | None, evidence: Evidence, rule: Rule) -> Condition:
    """A date counts for the network that was committed to: old claims can be put into copies of younger networks."""
    if evidence.accuracies is None:
        return Condition("network", False, None, None, None, "a black box shows no weights to compare")
    found = "not compared" if same is None else "the same" if same else "another"
    says = "the suspect is to be the network that was committed to, or a copy that was changed"
    if not same:
        says += ": else whoever committed to a mark in time could put it into any network that came later"
    remedy = "give the public weights that were committed to: reference=FILE" if same is None else ""
    required = rule.requires("commitment", auto=True)
    return Condition("network", required, same, found, "the same", says, remedy)


def _independent(calibration: Calibration, kind: str, required: bool) -> Condition:
    """One network that never saw the secrets and satisfies the claim decides, however many wrong claims do not."""
    asked, satisfied = calibration.genuine(kind)
    says = f"{satisfied} of {asked} independent networks satisfy this very claim; none may"
    holds = satisfied == 0 if asked else None  # a mark in weights is asked of networks of its own architecture alone
    remedy = "" if asked else "calibrate it with networks of the claim's architecture: ipr calibrate ... networks=20"
    return Condition("independent networks", required, holds, f"{satisfied} of {asked}", "none", says, remedy)


def _null(kind: str, calibration: Calibration | None, rule: Rule, required: bool) -> Condition:
    rate = calibration.rate_of(kind) if calibration is not None else None
    remedy = "calibrate it: ipr calibrate claim=... suspect=..., then calibration=FILE"
    if calibration is None or rate is None:
        return Condition("null", required, None, "none", "calibrated", "the claim is to be calibrated", remedy)
    networks, _ = calibration.genuine(kind)
    says = (
        f"{networks} independent networks, of {rule.networks} that it takes; {rate.verified} of {rate.judged} wrong "
        f"claims verified: with 95 % a rate of at most {100 * rate.upper:.3f} %, which is to be below "
        f"{100 * rate.asked:.3f} %"
    )
    holds: bool | None = rate.holds and networks >= rule.networks
    if not holds and rate.verified == 0:
        holds = None  # more networks, or more wrong claims, may show it
    return Condition("null", required, holds, rate.upper, rate.asked, says, "" if holds is not None else remedy)
