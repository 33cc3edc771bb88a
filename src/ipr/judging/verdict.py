"""`judge(suspect, claim)`: every number that this project reports about ownership comes from here."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import torch
from torch import Tensor, nn

from ipr.claims.base import Claim, Reading
from ipr.data.images import LabelledImages
from ipr.errors import InputError
from ipr.judging.fidelity import Fidelity, accuracies, accuracy, accuracy_when_presented, statistics_of
from ipr.judging.signature_reading import read_signature
from ipr.models.inspection import device_of
from ipr.passport.claim import PassportClaim
from ipr.passport.fork import fork
from ipr.passport.generate import random_passport, with_energy
from ipr.passport.layer import Branch, affines_of
from ipr.passport.presented import PresentedClaim
from ipr.passport.surgery import find_layers, protect
from ipr.randomness import generator
from ipr.signature import detect
from ipr.watermarks.base import WatermarkClaim
from ipr.world import own_world

Forged = TypeVar("Forged", bound=PresentedClaim)


@dataclass(frozen=True)
class Verdict:
    """What a judge measures. It decides nothing: whether a claim is verified says `decision.py`, under a named rule.

    Attributes:
        fidelity: F with the claimed passport presented; a watermark leaves the network as it is.
        accuracy_without: accuracy with no passport: the network as it was given away. Fraction, as all accuracies.
        accuracy_forged: accuracy with each of K forged passports.
        reading: V, the signature, or the trigger set, read with what is claimed.
        trigger_accuracy: fraction of the trigger images that get their assigned label with no passport (black box);
            None where the claim has no trigger set.
        trigger_accuracy_passport: the same with the claimed passport.
        p_value_threshold: what the claim declared.
        passported: whether the claim presents a passport, or scales; most watermarks present nothing.
    """

    fidelity: Fidelity
    accuracy_without: float
    accuracy_forged: tuple[float, ...]
    reading: Reading
    trigger_accuracy: float | None
    trigger_accuracy_passport: float | None
    p_value_threshold: float
    passported: bool = True

    @property
    def mark_read(self) -> bool:
        """Whether the claimed mark is read: guessing explains it with p at most `p_value_threshold`."""
        return self.reading.p_value <= self.p_value_threshold

    @property
    def consistent(self) -> bool:
        """Whether the suspect is consistent with the claim: fidelity holds and the mark is read (Definition 1).

        A forger's suspect may be as consistent with the forger's claim.
        """
        return self.fidelity.holds and self.mark_read

    @property
    def forged_passing(self) -> int:
        """How many of the forged passports keep fidelity."""
        return sum(Fidelity(a, self.fidelity.target, self.fidelity.threshold).holds for a in self.accuracy_forged)

    @property
    def forged_mean(self) -> float:
        """Mean accuracy with a forged passport; nan where none was tried."""
        return statistics.fmean(self.accuracy_forged) if self.accuracy_forged else float("nan")

    @property
    def forged_std(self) -> float:
        """Sample standard deviation of it; nan below two."""
        return statistics.stdev(self.accuracy_forged) if len(self.accuracy_forged) > 1 else float("nan")


@own_world()
def judge(
    suspect: nn.Module,
    claim: Claim,
    images: LabelledImages,
    *,
    forged: int = 50,
    seed: int = 0,
    progress: Iterable[None] | None = None,
) -> Verdict:
    """Judges a claim on a suspect, which needs to be no more than a plain network with public weights.

    The passport layers are put in from the claim alone. Beside it, K random passports are tried (`forged_at_random`,
    `WatermarkClaim.rivals`).

    Args:
        suspect: a plain network; left as it was.
        claim: of any kind.
        images: what fidelity is measured on.
        forged: K, the number of forged passports; none are tried beside a watermark that presents nothing, as its claim
            changes no accuracy.
        seed: draws them.
        progress: advanced once per batch of `fidelity.BATCH` images.

    Raises:
        InputError: the claim's passport does not fit the suspect.
    """
    rivals = _rivals(suspect, claim, images, forged, seed)
    verdict, *others = judge_claims(suspect, [claim, *rivals], images, progress=progress)
    return replace(verdict, accuracy_forged=tuple(other.fidelity.accuracy for other in others))


def _rivals(suspect: nn.Module, claim: Claim, images: LabelledImages, count: int, seed: int) -> Sequence[Claim]:
    if isinstance(claim, WatermarkClaim):
        return claim.rivals(generator(seed, "forged passports"), count)
    if claim.brings_passport is None:
        return []
    return forged_at_random(suspect, claim, next(images.batches(1, device_of(suspect)))[0], count, seed)


@own_world()
def judge_claims(
    suspect: nn.Module, claims: Sequence[Claim], images: LabelledImages, *, progress: Iterable[None] | None = None
) -> list[Verdict]:
    """Judges rival claims to one suspect: passports for the same layers in one pass through what lies before them.

    Args:
        suspect: a plain network; left as it was.
        claims: one or more, all passports or all watermarks.
        images: what fidelity is measured on.
        progress: advanced once per batch of `fidelity.BATCH` images.

    Raises:
        InputError: a claim does not fit the suspect.
    """
    presented = [claim for claim in claims if isinstance(claim, PresentedClaim)]
    if len(presented) == len(claims):
        return _judge_presented(suspect, presented, images, progress)
    if not presented:
        return _judge_as_it_is(suspect, claims, images)
    raise InputError("claims", len(claims), "passports and watermarks are not judged together", "judge them apart")


def _judge_as_it_is(suspect: nn.Module, claims: Sequence[Claim], images: LabelledImages) -> list[Verdict]:
    found = accuracy(suspect, images)
    verdicts = []
    for claim in claims:
        reading = claim.read(suspect, images.mean, images.std)
        triggers = (reading.agreement if reading.images else None, None)
        shown = claim.presented_in(suspect)
        reached = found if shown is suspect else accuracy_when_presented(shown, images)
        verdicts.append(_verdict(claim, reached, found, reading, triggers))
    return verdicts


def _judge_presented(
    suspect: nn.Module, claims: Sequence[PresentedClaim], images: LabelledImages, progress: Iterable[None] | None
) -> list[Verdict]:
    example = next(images.batches(1, device_of(suspect)))[0]
    layers = find_layers(suspect, example, claims[0].layers)
    for claim in claims:
        claim.check_fit(layers)
    blank = {layer.conv: torch.zeros((2, *layer.input_shape)) for layer in layers}
    protected = protect(suspect, blank, example, public_affine=True)
    forked = fork(protected, example)
    affines = [claim.checked_affines(protected) for claim in claims]
    given, own = affines_of(protected, Branch.PUBLIC), statistics_of(forked, images, affines)
    without, *found = accuracies(forked, images, [given, *affines], [{}, *own], progress=progress)
    verdicts = []
    for claim, affine, seen, reached in zip(claims, affines, own, found, strict=True):
        triggers: tuple[float | None, float | None] = (None, None)
        if claim.triggers is not None:
            marked = LabelledImages(claim.triggers.pixels, claim.triggers.labels, images.mean, images.std)
            public, private = accuracies(forked, marked, [given, affine], [{}, seen])
            triggers = public, private
        scales = claim.signed_scales(protected, layers, affine)
        reading = read_signature(scales, claim.signature, claim.text_bytes)
        verdicts.append(_verdict(claim, reached, without, reading, triggers))
    return verdicts


def _verdict(
    claim: Claim, reached: float, without: float, reading: Reading, triggers: tuple[float | None, float | None]
) -> Verdict:
    """The verdict where `reached` and `without` are the accuracies, and `triggers` those on the trigger images."""
    limits = claim.thresholds
    target = reached if limits.target_accuracy is None else limits.target_accuracy
    return Verdict(
        fidelity=Fidelity(reached, target, limits.fidelity),
        accuracy_without=without,
        accuracy_forged=(),
        reading=reading,
        trigger_accuracy=triggers[0],
        trigger_accuracy_passport=triggers[1],
        p_value_threshold=limits.p_value,
        passported=claim.brings_passport is not None,
    )


def forged_at_random(suspect: nn.Module, claim: Claim, example: Tensor, count: int, seed: int) -> list[PassportClaim]:
    """Claims of forgers who know the architecture alone (Section IV-D, fake1): random passports.

    Each is given the energy |S| of the claimed passport at every layer, and claims as its signature whatever signs its
    passport spells: a forger knows the first not and would be refused the second, so this errs on the forger's side.

    Args:
        suspect: a plain network.
        claim: the claim it rivals; its layers, energies and thresholds are used, its signature is not.
        example: an input for the suspect.
        count: K.
        seed: draws the passports.
    """
    if not isinstance(claim, PassportClaim):
        if count:
            raise InputError("forged", count, "the claim brings no passport to take |S| from", "give forged=0")
        return []
    layers = find_layers(suspect, example, claim.layers)
    genuine, source = claim.energies(suspect), generator(seed, "forged passports")
    forgeries = []
    for _ in range(count):
        passport = with_energy(random_passport(layers, source), suspect, genuine)
        forgeries.append(claim_of_signs(claim.forged(passport=passport), suspect))
    return forgeries


def claim_of_signs(claim: Forged, suspect: nn.Module) -> Forged:
    """The same claim with the signature that its own scales spell, no text and no trigger set; -1 where one is 0."""
    with torch.no_grad():
        signs = {name: detect(scales).cpu() for name, scales in claim.read_scales(suspect).items()}
    signature = {name: torch.where(bits == 0, -1, bits).to(torch.int8) for name, bits in signs.items()}
    spelling = claim.forged(signature=signature, text_bytes=0, triggers=None)
    assert isinstance(spelling, type(claim))
    return spelling
