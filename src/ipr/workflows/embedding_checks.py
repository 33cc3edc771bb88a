"""Did a training embed what it was to embed? Three checks at the end of every one, decided as verdicts are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from ipr.claims.base import Reading, Thresholds, reading
from ipr.config.registry import load
from ipr.config.rule import SOUND, Rule
from ipr.config.schema import PassportConfig
from ipr.judging.binomial import power_of_ten
from ipr.judging.decision import decide
from ipr.judging.evidence import Evidence
from ipr.judging.fidelity import Accuracies, as_given_away, percent
from ipr.passport.damped import STEP_ENERGY
from ipr.schemes.base import Scheme
from ipr.schemes.triggers import PRESENTATIONS
from ipr.store.record import Record, cut_of

EMBEDDED, LEARNED, KEPT_OUT, TRIGGERS = "embedded", "learned", "forgers kept out", "triggers learned"
"""What is checked; `learned` of a baseline, in which nothing is embedded."""


LEARNED_SHARE = 0.9
"""Of the trigger images, the share from which on they count as learned; fewer are told even where no guess explains
them, for an attack takes some."""


@dataclass(frozen=True)
class Check:
    """One of the three.

    Attributes:
        name: one of the names above.
        holds: None where it was not tried, or does not apply.
        status: `yes`, `in part`, `FAILED`, or why there is no answer.
        says: what was measured, in words; no secret.
        remedy: what to change, in a few words; "" where nothing is to be mended.
    """

    name: str
    holds: bool | None
    status: str
    says: str
    remedy: str = ""


NO_TRIGGERS = Check(TRIGGERS, None, "none", "the scheme embeds no trigger images")


def failed(checks: Sequence[Check]) -> list[str]:
    """The names of the checks that failed."""
    return [check.name for check in checks if check.holds is False]


def embedding_failed(record: Record) -> str:
    """A line about a run whose embedding failed, from its record alone; "" for every other."""
    if record.consistent is not False:
        return ""
    told = f"accuracy {percent(record.accuracy_without)}"
    if record.accuracy_genuine is not None:
        told = f"accuracy {percent(record.accuracy_genuine)} with the passport, {percent(record.accuracy_without)}"
        told += " without it"
    if record.forged and record.accuracy_forged_max is not None:
        told += f", {percent(record.accuracy_forged_max)} with the best of {record.forged} random ones"
    if record.bits_total is not None:
        told += f", {record.bits_agreeing} of {record.bits_total} bits"
    if record.trigger_accuracy is not None:
        told += f", {percent(record.trigger_accuracy)} of the trigger images"
    return f"the embedding failed: train/{record.key} ({told})"


def embedding_of(
    record: Record,
    *,
    chance: float,
    triggers: Reading | None = None,
    baseline: float | None = None,
    before: float | None = None,
    per_step: int | None = None,
    steps: int = 0,
) -> tuple[Check, Check, Check]:
    """The three checks of a finished training.

    They are those of `ipr verify` by its sound rule, with the run's own thresholds and dates apart: the conditions of
    `Decision.consistent`, so that a run fails here exactly where its claim would fail there on the same images.

    Args:
        record: of the run; `consistent` is not looked at.
        chance: see `Accuracies`, of the images that it was judged on.
        triggers: see `decision.trigger_reading`.
        baseline: the accuracy of the plain network of the same setting and seed; None where it is not known.
        before: the accuracy of the trained network that the training started from; None where it was not measured.
        per_step: how many trigger images every step of the training had; None where it is not known.
        steps: of the training.
    """
    claimed = record.accuracy_without if record.accuracy_genuine is None else record.accuracy_genuine
    seen = Accuracies(claimed, record.accuracy_without, claimed, chance, record.accuracy_forged_max)
    if record.scheme == "baseline":
        return _learned(record, seen), Check(KEPT_OUT, None, "does not apply", "nothing is embedded"), NO_TRIGGERS
    assert record.fidelity_threshold is not None
    assert record.p_value_threshold is not None
    limits = Thresholds(claimed, record.fidelity_threshold, record.p_value_threshold)
    below_one = math.nextafter(1.0, 0.0)
    rule = Rule(p_value=min(limits.p_value, below_one), fidelity=min(limits.fidelity, below_one))
    passported = record.accuracy_genuine is not None
    evidence = Evidence(seen, _bits(record), triggers, True if passported else None)
    found = {one.name: one.holds for one in decide(evidence, limits, rule=rule).conditions}
    embedded = _embedded(record, evidence, found, limits, _beside(baseline, before))
    if embedded.holds and not decide(evidence, limits, rule=SOUND).consistent:
        note = f"; ipr verify asks for more unless told otherwise (rule.fidelity={SOUND.fidelity:g}, rule.p_value)"
        embedded = replace(embedded, says=embedded.says + note)
    if _scheme(record).locked and record.accuracy_without >= claimed - limits.fidelity:
        embedded = replace(embedded, says=f"{embedded.says}; no lock: what is given away works without its passport")
    other = "no passport is presented; what else forgers do shows ipr attack"
    forgers = _forgers(record, seen, limits) if passported else Check(KEPT_OUT, None, "does not apply", other)
    return embedded, forgers, _triggers(record, triggers, bool(found.get("trigger set")), per_step, steps)


def _bits(record: Record) -> Reading | None:
    if record.bits_total is None or record.bits_agreeing is None:
        return None
    coins = reading({"bits": record.bits_agreeing}, {"bits": record.bits_total}, correlation=record.correlation)
    kind = _scheme(record).claim_kind
    if kind is None or not kind.is_fingerprint or record.p_value is None or record.p_value_log10 is None:
        return coins
    return replace(coins, p_value=record.p_value, p_value_log10=record.p_value_log10, unit="channels")


def _embedded(
    record: Record, evidence: Evidence, found: dict[str, bool | None], limits: Thresholds, beside: str
) -> Check:
    seen, bits, images = evidence.accuracies, evidence.signature, evidence.trigger_set
    assert seen is not None
    says, remedies = [], []
    if bits is not None:
        agreeing, total = sum(bits.agreeing.values()), sum(bits.total.values())
        says.append(f"{agreeing} of {total} {bits.unit} read (chance of a guess {power_of_ten(bits.p_value_log10)})")
        mark = found["signature"]
        if not mark and seen.above_chance:
            few = reading({"bits": total}, {"bits": total}).p_value > limits.p_value
            scheme, epochs = _scheme(record), f"more epochs (trainer.max_epochs={record.epochs} now)"
            longer = f"all of so few bits can be guessed: a higher {scheme.more_bits}"
            remedies.append(longer if few else f"{epochs}, or a higher {scheme.stronger}")
    else:
        mark = found["trigger set"]
        assert images is not None
        says.append(f"{_count(images)} trigger images read")
    says.append(_accuracies(seen, passported=record.accuracy_genuine is not None) + beside)
    if not found["fidelity"]:
        remedies.insert(0, _more_accuracy(record, seen, limits))
    elif not mark and images is not None and bits is None:
        remedies.append("the trigger images have to be learned")
    holds = bool(found["fidelity"] and mark)
    return Check(EMBEDDED, holds, _status(holds), ", ".join(says), "; ".join(remedies))


def _learned(record: Record, seen: Accuracies) -> Check:
    holds = as_given_away(seen, 0.0)
    says = f"nothing is embedded; {_accuracies(seen, passported=False)}"
    return Check(LEARNED, holds, _status(holds), says, "" if holds else _train_more(record, seen))


def _accuracies(seen: Accuracies, *, passported: bool) -> str:
    told = f"accuracy {percent(seen.claimed)}"
    told += f" with the passport, {percent(seen.given)} without it" if passported else ""
    return f"{told}, {percent(seen.chance)} by chance"


def _beside(baseline: float | None, before: float | None) -> str:
    told = f", {percent(baseline)} of the baseline" if baseline is not None else ""
    return told + (f", {percent(before)} of the network before" if before is not None else "")


def _forgers(record: Record, seen: Accuracies, limits: Thresholds) -> Check:
    """Whether a random passport keeps fidelity: by Definition 1, or as a judge sees it who has no control."""
    if not record.forged or record.accuracy_forged_max is None:
        return Check(KEPT_OUT, None, "not tried", "no forged passport was drawn; verification.forged=50 draws some")
    best = record.accuracy_forged_max
    passing = record.forged_passing or 0
    as_good = as_given_away(Accuracies(best, seen.given, seen.target, seen.chance), limits.fidelity)
    holds = passing == 0 and not as_good
    says = f"the best of {record.forged} random passports reaches {percent(best)}; {passing} keep fidelity"
    remedy = _heavier(record) if seen.above_chance else _train_more(record, seen)
    return Check(KEPT_OUT, holds, _status(holds), says, "" if holds else remedy)


def _triggers(record: Record, images: Reading | None, holds: bool, per_step: int | None, steps: int) -> Check:
    if images is None:
        return NO_TRIGGERS
    agreeing, total = sum(images.agreeing.values()), sum(images.total.values())
    says = f"{_count(images)} trigger images are answered as assigned "
    says += f"(chance of a guess {power_of_ten(images.p_value_log10)})"
    if holds and agreeing >= LEARNED_SHARE * total:
        return Check(TRIGGERS, True, _status(True), says)
    if agreeing == total:
        remedy = "a larger trigger_set.size: all of so few can be guessed"
    else:
        remedy = _more_presentations(record, per_step, per_step and per_step * steps / total)
    return Check(TRIGGERS, holds, "in part" if holds else _status(False), says, remedy)


def _more_presentations(record: Record, per_step: int | None, times: float | None) -> str:
    """What has trigger images learned: more epochs alone, where `trigger_set.per_step` follows from their number, only
    as long as it cannot show each image as often as it should.
    """
    epochs = "scheme.epochs" if _scheme(record).tunes else f"trainer.max_epochs={record.epochs} now"
    if per_step is None or times is None:
        return f"more epochs ({epochs}), or a higher trigger_set.per_step"
    shown, higher = f"each was shown {round(times, 1):g} times", f"a higher trigger_set.per_step ({per_step} now)"
    if times < PRESENTATIONS:
        return f"{shown}, and {PRESENTATIONS} are usually enough: more epochs ({epochs}), or {higher}"
    return f"{shown}: {higher}, or fewer images (trigger_set.size)"


def _more_accuracy(record: Record, seen: Accuracies, limits: Thresholds) -> str:
    if not seen.above_chance:
        return _train_more(record, seen)
    if seen.control is not None and seen.claimed <= seen.control:
        return _heavier(record)
    lost = f"the passport costs {percent(seen.given - seen.claimed)}, at most {percent(limits.fidelity)}: more epochs"
    return lost + (", or a trained network to start from (init=...)" if record.init is None else "")


def _train_more(record: Record, seen: Accuracies) -> str:
    if seen.chance >= 1:
        return "the images judged on are of one class, so that they tell nothing: more of them (dataset.limit_test)"
    if cut := cut_of(record.tags):
        return f"it has hardly learned, from few batches ({cut}): whole epochs (trainer.limit_train_batches=null)"
    return f"it has hardly learned: more epochs (trainer.max_epochs={record.epochs} now), or another optimizer.lr"


def _heavier(record: Record) -> str:
    if record.passport is None:
        return f"passports that weigh more: a higher {_scheme(record).stronger}; more epochs"
    if record.energy is None or record.energy < STEP_ENERGY:
        return f"scales that weigh more: passport.energy={PassportConfig.energy:g}; more epochs"
    step = record.step_energy or record.energy
    return f"scales that weigh more: passport.step_energy above {step:g}, or more scheme.layers; more epochs"


def _scheme(record: Record) -> type[Scheme]:
    scheme: type[Scheme] = load("scheme", record.scheme)
    return scheme


def _count(images: Reading) -> str:
    return f"{sum(images.agreeing.values())} of {sum(images.total.values())}"


def _status(holds: bool) -> str:
    return "yes" if holds else "FAILED"
