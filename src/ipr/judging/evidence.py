"""What a decision is made from: what was measured of a suspect, and where a claim comes from."""

from __future__ import annotations

from dataclasses import dataclass

from ipr.claims.base import Claim, Reading, reading
from ipr.judging.calibration import Calibration
from ipr.judging.fidelity import Accuracies
from ipr.judging.null import EmpiricalNull
from ipr.judging.redraw import UNKNOWN as NOT_LOOKED_AT
from ipr.judging.redraw import Redrawn
from ipr.judging.steadiness import Steadiness
from ipr.judging.verdict import Verdict


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
