"""A verdict's evidence as bars: accuracies with the claim and with forgeries, and the marks that were read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ipr.judging.binomial import corrected_log10, reached, tail_log10
from ipr.judging.fidelity import percent

FORGERIES = {
    "random": "random passports",
    "ones": "passports of ones",
    "positive_noise": "passports of positive noise",
    "singular_vectors": "computed from the filters (singular vectors)",
    "accessory": "random passports behind the claim's own accessory",
    "lifted": "solved from the scales that the file shows (lifted)",
}
"""What a forger brings who trains nothing: its kind -> in words."""

HALF = 0.5
"""The share of a signature's bits that a guess agrees with."""


@dataclass(frozen=True)
class Bar:
    """One bar.

    Attributes:
        says: what it shows.
        share: how far it reaches, a fraction in [0, 1].
        much: the same in words.
        whose: `claim`, `plain` (nobody's) or `forger`.
        marks: where chance is, or what is needed: in words, with a fraction each.
    """

    says: str
    share: float
    much: str
    whose: str
    marks: Mapping[str, float]


def evidence_bars(facts: Mapping[str, Any]) -> dict[str, list[Bar]]:
    """The bars of a verdict by the question that they answer; a question without bars is left out.

    Args:
        facts: what `verdict.json` holds.
    """
    told = {
        "Does the network work with what is claimed?": _accuracies(facts),
        "Is the claimed mark in it?": [*_signature(facts["signature"]), *_triggers(facts["trigger_set"])],
    }
    return {question: bars for question, bars in told.items() if bars}


def _accuracies(facts: Mapping[str, Any]) -> list[Bar]:
    seen = facts["fidelity"]
    if seen is None:
        alone = facts["accuracy"]
        return [] if alone is None else [Bar("accuracy as it is", alone, percent(alone), "plain", {})]
    chance = {"by chance": seen["chance"]}
    needed = {"needed at least": seen["floor"]} if facts["rule"]["name"] == "sound" else {}
    bars = [
        Bar("accuracy as it is given away", seen["given"], percent(seen["given"]), "plain", chance),
        Bar("with what is claimed", seen["claimed"], percent(seen["claimed"]), "claim", chance | needed),
    ]
    for row in facts["control"]:
        kind = FORGERIES.get(row["kind"], row["kind"].replace("_", " "))
        says = f"best of {row['tried']} forgeries: {kind}" if row["tried"] > 1 else f"a forgery: {kind}"
        bars.append(Bar(says, row["best"], percent(row["best"]), "forger", chance))
    if not facts["control"] and (forged := facts["forged"]):
        says = f"best of {forged['count']} forged passports"
        bars.append(Bar(says, forged["best"], percent(forged["best"]), "forger", chance))
    return bars


def _signature(found: Mapping[str, Any] | None) -> list[Bar]:
    if found is None:
        return []
    agreeing, total = found["agreeing"], found["total"]
    marks = {"by chance": HALF}
    if found["correlation"] is None:  # else agreement alone does not decide
        trials = found["tried"] * found["alignments"]
        marks |= _needed(total, HALF, trials, found["threshold_log10"])
    return [Bar("bits of the signature", agreeing / total, f"{agreeing} of {total}", "claim", marks)]


def _triggers(found: Mapping[str, Any] | None) -> list[Bar]:
    if found is None:
        return []
    agreeing, total, null = found["agreeing"], found["total"], found["null"]
    marks = {"by chance": 1 / found["choices"]}
    rate = max(marks["by chance"], null["rate"] if null else 0)
    if null:
        marks["most of any independent network"] = null["most_agreeing"] / total
    marks |= _needed(total, rate, found["tried"], found["threshold_log10"])
    return [Bar("trigger images answered as assigned", agreeing / total, f"{agreeing} of {total}", "claim", marks)]


def _needed(total: int, rate: float, trials: int, threshold: float | None) -> dict[str, float]:
    """The smallest share that a guess does not explain, if there is one."""
    if threshold is None or not 0 < rate < 1:
        return {}
    enough = (n for n in range(total + 1) if reached(corrected_log10(tail_log10(n, total, rate), trials), threshold))
    least = next(enough, None)
    return {} if least is None else {"needed at least": least / total}
