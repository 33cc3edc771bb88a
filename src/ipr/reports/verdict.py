"""A judgement as plain JSON values: `verdict.json`. No secret is in it: neither text, bits, scales nor pixels.

`assets/verdict.schema.json` is its schema; docs/verdicts.md explains every field.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from ipr.judging.binomial import corrected_log10
from ipr.judging.calibration import Calibration
from ipr.judging.fidelity import Accuracies
from ipr.judging.judgement import Judgement
from ipr.judging.witness import Witness

SCHEMA_VERSION = 2


def verdict_facts(judgement: Judgement) -> dict[str, Any]:
    """Everything but the date and the versions of the software."""
    claim, commitment = judgement.claim, judgement.commitment
    known = commitment.registration
    return {
        "schema_version": SCHEMA_VERSION,
        "decision": judgement.decision.outcome,
        "deciding": [condition.name for condition in judgement.decision.deciding],
        "conditions": [asdict(condition) for condition in judgement.decision.conditions],
        "suspect": asdict(judgement.suspect),
        "claim": {
            "kind": claim.kind,
            "owner": claim.owner,
            "fingerprint": claim.fingerprint(),
            "layers": claim.layers,
            "bound": claim.bound,
            "drawn": judgement.provenance.drawn.holds,
            "keyless": judgement.provenance.keyless,
        },
        "commitment": {
            "status": commitment.status,
            "digest": commitment.digest,
            "same_weights": commitment.same_weights,
            "registered_digest": known.digest,
            "registered": known.registered and known.registered.text,
            "released": known.released and known.released.text,
            "by": known.by,
        },
        "data": asdict(judgement.data),
        "accuracy": judgement.accuracy,
        "fidelity": _fidelity(judgement.evidence.accuracies, judgement),
        "forged": _forged(judgement),
        "control": [asdict(row) for row in judgement.control],
        "signature": _signature(judgement),
        "trigger_set": _trigger_set(judgement),
        "calibration": _calibration(judgement.calibration),
        "witnesses": [_witness(one) for one in judgement.witnesses],
        "rule": asdict(judgement.rule),
        "tried": judgement.tried,
        "seed": judgement.seed,
    }


def _fidelity(seen: Accuracies | None, judgement: Judgement) -> dict[str, Any] | None:
    if seen is None:
        return None
    (condition,) = (one for one in judgement.decision.conditions if one.name == "fidelity")
    epsilon = judgement.rule.epsilon(judgement.claim.thresholds.fidelity)
    return {**asdict(seen), "floor": seen.floor, "threshold": epsilon, "holds": condition.holds}


def _forged(judgement: Judgement) -> dict[str, Any] | None:
    verdict = judgement.verdict
    if verdict is None or not verdict.accuracy_forged:
        return None
    forged = verdict.accuracy_forged
    return {"count": len(forged), "passing": verdict.forged_passing, "mean": verdict.forged_mean, "best": max(forged)}


def _signature(judgement: Judgement) -> dict[str, Any] | None:
    found = judgement.evidence.signature
    if found is None:
        return None
    alignments = judgement.suspect.alignments
    return {
        "layers": [
            {"name": name, "agreeing": agreeing, "total": found.total[name]}
            for name, agreeing in found.agreeing.items()
        ],
        "agreeing": sum(found.agreeing.values()),
        "total": sum(found.total.values()),
        "correlation": found.correlation,
        "p_value_log10": found.p_value_log10,
        "tried": judgement.tried,
        "alignments": alignments,
        "corrected_p_value_log10": corrected_log10(found.p_value_log10, judgement.tried * alignments),
        "threshold_log10": judgement.rule.threshold_log10(
            judgement.claim.thresholds.p_value, sum(found.total.values())
        ),
    }


def _trigger_set(judgement: Judgement) -> dict[str, Any] | None:
    found, verdict = judgement.evidence.trigger_set, judgement.verdict
    if found is None:
        return None
    agreeing, total = sum(found.agreeing.values()), sum(found.total.values())
    null = judgement.calibration.null if judgement.calibration is not None else None
    p_values = [found.p_value_log10] + ([null.p_value_log10(agreeing, total)] if null is not None else [])
    return {
        "agreeing": agreeing,
        "total": total,
        "accuracy": agreeing / total,
        "accuracy_with_passport": None if verdict is None else verdict.trigger_accuracy_passport,
        "choices": judgement.claim.guessed_among(),
        "p_guess_log10": found.p_value_log10,
        "null": None
        if null is None
        else {
            "networks": len(null.agreeing),
            "most_agreeing": max(null.agreeing),
            "rate": null.rate,
            "p_value_log10": null.p_value_log10(agreeing, total),
            "rank_p_value": null.rank_p_value(agreeing, total),
        },
        "tried": judgement.tried,
        "corrected_p_value_log10": corrected_log10(max(p_values), judgement.tried),
        "threshold_log10": judgement.rule.threshold_log10(judgement.claim.thresholds.p_value, 0),
    }


def _calibration(calibration: Calibration | None) -> dict[str, Any] | None:
    if calibration is None:
        return None
    return {"networks": len(calibration.networks), "rates": [asdict(rate) for rate in calibration.rates]}


def _witness(one: Witness) -> dict[str, Any]:
    null = one.null
    return {
        "kind": one.claim.kind,
        "owner": one.claim.owner,
        "fingerprint": one.claim.fingerprint(),
        "commitment": one.commitment,
        "agreeing": one.agreeing,
        "total": one.total,
        "similarity": one.found.correlation,
        "p_guess_log10": one.found.p_value_log10,
        "null": None
        if null is None
        else {
            "networks": list(one.networks),
            "agreeing": list(null.agreeing),
            "similarity": [other.correlation for other in one.others],
            "rate": null.rate,
            "p_value_log10": null.p_value_log10(one.agreeing, one.total),
            "rank_p_value": null.rank_p_value(one.agreeing, one.total),
        },
        "p_value_log10": one.p_value_log10,
    }
