"""The conditions that a claim is judged by, one function each: what is compared, in numbers and in words."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ipr.claims.base import Reading, Thresholds, reading
from ipr.config.rule import Rule
from ipr.judging.binomial import corrected_log10, power_of_ten, reached
from ipr.judging.calibration import Calibration
from ipr.judging.evidence import Evidence, Provenance
from ipr.judging.fidelity import as_given_away, as_published, percent
from ipr.judging.null import EmpiricalNull
from ipr.judging.redraw import Redrawn
from ipr.judging.registration import IN_TIME, MISSING
from ipr.judging.signature_reading import turned
from ipr.judging.steadiness import LIMIT, Steadiness


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


def passport(brought: bool) -> Condition:
    """A passport is to be presented, and no bare scales."""
    says = "the claim brings a passport" if brought else "the claim brings bare scales, which an owner never needs"
    return Condition("passport", True, brought, "passport" if brought else "scales", "passport", says)


def fidelity(evidence: Evidence, thresholds: Thresholds, rule: Rule) -> Condition:
    """What the suspect reaches with what is claimed; see `fidelity.as_given_away` and, as published, `as_published`."""
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


def tuned(fidelity: Condition) -> Condition:
    """Fidelity that was lost, and does not refuse: a thief who tunes a copy loses the passport's accuracy before its
    bits. It does not verify either: a passport can be lifted to any bits in a public network that others begin with,
    and then works worse than theirs.
    """
    says = fidelity.says + ". It is lost, and the bits are there, drawn and dated: this copy was tuned, or the claim "
    says += "was made for a network that others began with, too"
    return replace(fidelity, holds=None, says=says)


def signature(
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


def trigger_set(
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


def steady(found: Steadiness) -> Condition:
    """Told, and no part of a decision: whoever filters need not have stolen, and steady answers clear nobody."""
    says = f"with slightly changed images {found.keys_changed} of {found.keys} answers to trigger images change, and "
    says += f"{found.ordinary_changed} of {found.ordinary} to others"
    remedy = ""
    if found.filtered:
        says += ": no network answers so; a filter before it answers unusual images by chance"
        remedy = "open the suspect's weights file: suspect=FILE"
    return Condition("steady answers", False, not found.filtered, found.keys_changed / found.keys, LIMIT, says, remedy)


def drawn(found: Redrawn, required: bool) -> Condition:
    """What drawing the secrets again shows."""
    status = {True: "drawn", False: "not what the seeds give", None: "chosen, or unknown"}[found.holds]
    remedy = "train with a drawn or a bound signature, and bring what ipr train wrote" if found.holds is None else ""
    return Condition("drawn secrets", required, found.holds, status, "drawn", found.says, remedy)


def bound(bound: bool, required: bool) -> Condition:
    """Whether the signature is derived from the passport."""
    says = "the signature is derived from passport, owner and a nonce" if bound else "the signature was chosen or drawn"
    return Condition("bound signature", required, bound, "bound" if bound else "free", "bound", says)


def key(keyless: bool, required: bool) -> Condition:
    """Whether the secrets follow from a key."""
    says = "the secrets are to follow from a key of the owner's, not from the run's seed alone"
    remedy = "train with passport.key=file:PATH of your own; a run without one is for research, judged by rule=paper"
    status = "keyless" if keyless else "key"
    return Condition("key", required, not keyless, status, "key", says, remedy if keyless else "")


def commitment(found: Provenance, required: bool, evidence: Evidence) -> Condition:
    """Whether the claim is older than the release of the network."""
    holds = True if found.commitment == IN_TIME else None if found.commitment in MISSING else False
    says = "the commitment is to open and to have been registered before the network was released"
    remedy = ""
    if holds:
        says += f"; by {found.by}"
    else:
        attack, how = _forged_by(evidence)
        says += f". Without that anybody who holds these weights can make such a claim ({attack}){how}"
    if holds is None:
        remedy = "a stamp (ipr claim stamp, authority_certificate=FILE) or commitment.digest and .registered; "
        remedy += "and commitment.released, the day on which the network became public"
    return Condition("commitment", required, holds, found.commitment, IN_TIME, says, remedy)


def _forged_by(evidence: Evidence) -> tuple[str, str]:
    """The cheapest forgeries of whoever holds the weights, and how fast they are."""
    if evidence.accessory:
        return "forge_accessory or factorise", ", in a second"
    if evidence.passport is not None:
        return "lift_passport or erb", ", in a second where the network keeps its public scales"
    return "forge_* of its scheme", ""


def accessory(found: Provenance, required: bool) -> Condition:
    """What is trained for a passport can be solved for any other, so a date is all that makes it evidence."""
    holds = True if found.commitment == IN_TIME else None if found.commitment in MISSING else False
    says = "what is presented passes through what the claimant trained, which can be solved for any passport and any "
    says += "signature (forge_accessory, factorise): it counts where it was committed to before the network was "
    says += "released"
    remedy = "commit to the claim (ipr claim commit), and see the condition commitment" if holds is None else ""
    return Condition("accessory", required, holds, found.commitment, IN_TIME, says, remedy)


def network(same: bool | None, evidence: Evidence, rule: Rule) -> Condition:
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


def independent(calibration: Calibration, kind: str, required: bool) -> Condition:
    """One network that never saw the secrets and satisfies the claim decides, however many wrong claims do not."""
    asked, satisfied = calibration.genuine(kind)
    says = f"{satisfied} of {asked} independent networks satisfy this very claim; none may"
    holds = satisfied == 0 if asked else None  # a mark in weights is asked of networks of its own architecture alone
    remedy = "" if asked else "calibrate it with networks of the claim's architecture: ipr calibrate ... networks=20"
    return Condition("independent networks", required, holds, f"{satisfied} of {asked}", "none", says, remedy)


def null(kind: str, calibration: Calibration | None, rule: Rule, required: bool) -> Condition:
    """Whether a calibration shows how seldom wrong claims hold."""
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
