"""What an attack comes to: Definition 1.IV, one rule for every attack."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch

from ipr.claims.base import Claim
from ipr.judging.fidelity import ROUNDING
from ipr.judging.verdict import Verdict


@dataclass(frozen=True)
class Outcome:
    """One judged claim to one attacked suspect. Accuracies and shares are fractions in [0, 1].

    Attributes:
        accuracy_before: what the victim reaches as it is used; for a forged claim, with the genuine passport (M_t).
        accuracy_after: what the attacked suspect reaches as it is used; for a forged claim, with that claim.
        accuracy_claimed: accuracy with the claimed passport or scales.
        bits_total, bits_agreeing: the claimed signature read with what is claimed; None for a trigger set.
        correlation: see `Reading`.
        p_value_log10: the chance of reading this much of the mark by guessing.
        bits_freed: bits of it that the suspect's own, freed scales spell; None where no scale was freed.
        dissimilarity: the share of bits, or of trigger images, in which the claim differs from the owner's.
        trigger_accuracy, trigger_accuracy_passport: see `Verdict`.
        forged: (a) the claim brings another signature or trigger set than the owner's (Proposition 1 asks B' != B).
        mark_read: (b) what is claimed is read: see `Verdict`.
        fidelity_kept: (c) for a forged claim, its accuracy is the owner's within epsilon_f; for the owner's claim, the
            suspect lost no more than epsilon_f. None, which counts as kept, where the task is another one.
        attack_succeeded: a forged claim is read and keeps fidelity, or the owner's is no longer read although
            the suspect keeps it.
    """

    accuracy_before: float
    accuracy_after: float
    accuracy_claimed: float
    bits_total: int | None
    bits_agreeing: int | None
    bits_freed: int | None
    correlation: float | None
    p_value_log10: float
    dissimilarity: float
    trigger_accuracy: float | None
    trigger_accuracy_passport: float | None
    forged: bool
    mark_read: bool
    fidelity_kept: bool | None
    attack_succeeded: bool


Judged = TypeVar("Judged", bound=Outcome)


def mark(outcome: Outcome) -> float:
    """The share of the claimed bits, or trigger images, that was read, in [0, 1]."""
    if outcome.bits_total:
        return (outcome.bits_agreeing or 0) / outcome.bits_total
    return outcome.trigger_accuracy or 0.0


def nearest(outcomes: Sequence[Judged]) -> Judged:
    """The point that succeeded, or came nearest: for the owner's claim the one that reads least of the mark where
    fidelity is kept; for another's the most accurate one whose mark is read.
    """

    def rank(one: Outcome) -> tuple[bool, bool, float, float]:
        if one.forged:
            return one.attack_succeeded, one.mark_read, one.accuracy_after, mark(one)
        return one.attack_succeeded, one.fidelity_kept is not False, -mark(one), one.accuracy_after

    return max(outcomes, key=rank)


def outcome_of(
    owner: Claim, claim: Claim, verdict: Verdict, *, accuracy_before: float, same_task: bool, bits_freed: int | None
) -> Outcome:
    """Applies Definition 1.IV to a verdict.

    Args:
        owner: the owner's claim.
        claim: the claim that was judged.
        verdict: what the judge found.
        accuracy_before: what the victim reaches as it is used.
        same_task: whether the suspect was judged on the victim's task.
        bits_freed: see `Outcome`.
    """
    reading = verdict.reading
    dissimilarity = claim.dissimilarity(owner)
    forged = dissimilarity > 0
    kept: bool | None
    mine, theirs = owner.tensors(), claim.tensors()
    if mine.keys() != theirs.keys() or not all(torch.equal(mine[name], theirs[name]) for name in mine):
        after, kept = verdict.fidelity.accuracy, None
        if same_task:
            accuracy_before, kept = verdict.fidelity.target, verdict.fidelity.holds
        succeeded = forged and verdict.mark_read and kept is not False
    else:
        after = verdict.accuracy_without
        kept = accuracy_before - after <= verdict.fidelity.threshold + ROUNDING if same_task else None
        succeeded = not verdict.mark_read and kept is not False
    return Outcome(
        accuracy_before=accuracy_before,
        accuracy_after=after,
        accuracy_claimed=verdict.fidelity.accuracy,
        bits_total=None if reading.images else sum(reading.total.values()),
        bits_agreeing=None if reading.images else sum(reading.agreeing.values()),
        bits_freed=bits_freed,
        correlation=reading.correlation,
        p_value_log10=reading.p_value_log10,
        dissimilarity=dissimilarity,
        trigger_accuracy=verdict.trigger_accuracy,
        trigger_accuracy_passport=verdict.trigger_accuracy_passport,
        forged=forged,
        mark_read=verdict.mark_read,
        fidelity_kept=kept,
        attack_succeeded=succeeded,
    )


def unmarked(accuracy_before: float, accuracy_after: float, threshold: float, *, same_task: bool) -> Outcome:
    """What an attack leaves of a network in which nothing is embedded, to compare others with; it cannot succeed.

    Args:
        accuracy_before: the baseline's.
        accuracy_after: the attacked network's.
        threshold: epsilon_f.
        same_task: whether both were measured on one task.
    """
    return Outcome(
        accuracy_before=accuracy_before,
        accuracy_after=accuracy_after,
        accuracy_claimed=accuracy_after,
        bits_total=None,
        bits_agreeing=None,
        bits_freed=None,
        correlation=None,
        p_value_log10=0.0,
        dissimilarity=0.0,
        trigger_accuracy=None,
        trigger_accuracy_passport=None,
        forged=False,
        mark_read=False,
        fidelity_kept=accuracy_before - accuracy_after <= threshold + ROUNDING if same_task else None,
        attack_succeeded=False,
    )
