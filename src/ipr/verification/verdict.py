"""`judge(suspect, claim)`: every number that this project reports about ownership comes from here."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import nn

from ipr.passport.claim import Claim
from ipr.passport.generate import energies, random_passport, with_energy
from ipr.passport.layer import Branch, passport_layers, patch_mean, presenting
from ipr.passport.surgery import find_layers, protect
from ipr.randomness import generator
from ipr.verification.fidelity import Fidelity, LabelledImages, accuracies
from ipr.verification.verify import Reading, read_signature


@dataclass(frozen=True)
class Verdict:
    """What a judge finds.

    Attributes:
        fidelity: F with the claimed passport presented.
        accuracy_without: accuracy with no passport: the network as it was given away. Fraction, as all accuracies.
        accuracy_forged: accuracy with each of K forged passports.
        reading: V, the signature read with the claimed passport.
        trigger_accuracy: fraction of the trigger images that get their assigned label with no passport (black box);
            None where the claim has no trigger set.
        trigger_accuracy_passport: the same with the claimed passport.
        p_value_threshold: what the claim declared.
    """

    fidelity: Fidelity
    accuracy_without: float
    accuracy_forged: tuple[float, ...]
    reading: Reading
    trigger_accuracy: float | None
    trigger_accuracy_passport: float | None
    p_value_threshold: float

    @property
    def verified(self) -> bool:
        """The decision: fidelity holds with the claimed passport, and chance does not explain the signature."""
        return self.fidelity.holds and self.reading.p_value <= self.p_value_threshold

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

    The passport layers are put in from the claim alone. Forged passports are random (Section IV-D, fake1) and given
    the energy |S| of the claimed one at each layer: a forger does not know it, so this errs on the forger's side. The
    claimed passport and all forged ones share one pass through what lies before the first passport layer.

    Args:
        suspect: a plain network; left as it was.
        claim: passport, signature, trigger set, thresholds.
        images: what fidelity is measured on.
        forged: K, the number of forged passports.
        seed: draws them.
        progress: advanced once per batch of 64 images.

    Raises:
        InputError: the claim's passport does not fit the suspect.
    """
    example = next(images.batches(1, next(suspect.parameters()).device))[0]
    protected = protect(suspect, claim.passport, example, public_affine=True)
    layers = passport_layers(protected)
    reading = read_signature(protected, claim.signature, claim.text_bytes)

    places = find_layers(suspect, example, list(claim.passport))
    genuine_energy = energies(claim.passport, protected)
    source = generator(seed, "forged passports")
    means = {name: [layer.patch_means] for name, layer in layers.items()}
    for _ in range(forged):
        forgery = with_energy(random_passport(places, source), protected, genuine_energy)
        for name, layer in layers.items():
            means[name].append(patch_mean(forgery[name], layer.conv).unsqueeze(0).to(layer.patch_means))
    with presenting(protected, {name: torch.cat(rows) for name, rows in means.items()}):
        without, genuine, *rivals = accuracies(protected, images, Branch.PUBLIC, Branch.PRIVATE, progress=progress)

    trigger: list[float | None] = [None, None]
    if claim.trigger_pixels is not None and claim.trigger_labels is not None:
        triggers = LabelledImages(claim.trigger_pixels, claim.trigger_labels, images.mean, images.std)
        trigger = [*accuracies(protected, triggers, Branch.PUBLIC, Branch.PRIVATE)]
    limits = claim.thresholds
    return Verdict(
        fidelity=Fidelity(
            genuine, genuine if limits.target_accuracy is None else limits.target_accuracy, limits.fidelity
        ),
        accuracy_without=without,
        accuracy_forged=tuple(rivals),
        reading=reading,
        trigger_accuracy=trigger[0],
        trigger_accuracy_passport=trigger[1],
        p_value_threshold=limits.p_value,
    )
