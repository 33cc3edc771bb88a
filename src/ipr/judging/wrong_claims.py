"""Claims of people to whom a network does not belong, drawn by seed: what a judge must not verify.

A wrong claim is of the genuine claim's kind and size and declares its thresholds. `WRONG` lists the kinds by name.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Generator, Tensor, nn

from ipr.claims.base import Claim
from ipr.data.images import ImageData, LabelledImages, normalise
from ipr.data.trigger_sets import TriggerSet
from ipr.judging.verdict import claim_of_signs, forged_at_random
from ipr.passport.claim import PassportClaim
from ipr.passport.generate import random_passport, with_energy
from ipr.passport.guesses import SIGNS, lifted_passport, ones_passport, positive_passport, singular_passport
from ipr.passport.lift import public_scales
from ipr.passport.surgery import ConvNorm, Passport, find_layers
from ipr.randomness import derive_seed, generator
from ipr.watermarks.base import WatermarkClaim
from ipr.watermarks.key_images import TriggerSetClaim

IMAGES = 60
"""So many training images a forger chooses among guesses with."""

ENERGIES = (1.0, 3.0, 10.0)
"""The energies that a forger tries who does not know the owner's."""


@dataclass(frozen=True)
class WrongKind:
    """One kind of wrong claim.

    Attributes:
        evidence: `signature` or `images`: by what it would be verified.
        says: what it is, in words.
        dated: whether its claimant, or an insider, could have committed to it before the suspect was released: nothing
            of it follows from the suspect's weights.
        drawn: (genuine claim, network, images, count, seed) -> so many wrong claims; of a claim that it rivals.
        foreign: whether the network that they are drawn from is another than the suspect, which its claimant has;
            else it is the suspect.
    """

    evidence: str
    says: str
    dated: bool
    drawn: Callable[[Any, nn.Module, ImageData, int, int], list[Claim]]
    foreign: bool = False


def kinds_for(claim: Claim) -> dict[str, WrongKind]:
    """The kinds of wrong claims that rival a genuine one, by name."""
    if claim.brings_passport is not None:
        triggers = claim.triggers is not None
        return {name: kind for name, kind in WRONG.items() if triggers or kind.evidence == "signature"}
    says = "fresh images with fresh labels" if claim.evidence == "images" else "another key and another signature"
    kinds = {"redrawn": WrongKind(claim.evidence, says, True, redrawn)}
    if claim.of_projection:
        says = "a key whose bits most networks have, whatever they were trained for"
        kinds["universal"] = WrongKind("signature", says, True, universal)
    return kinds


def genuine_claims(claim: Claim) -> dict[str, Claim]:
    """The genuine claim by each sort of evidence; on a network that never saw its secrets it is wrong, too."""
    if claim.evidence == "images" or claim.triggers is None:
        return {claim.evidence: claim}
    return {"signature": claim.with_triggers(None), "images": trigger_claim(claim, claim.triggers)}


def trigger_claim(claim: Claim, triggers: TriggerSet) -> TriggerSetClaim:
    """A claim's trigger images by themselves."""
    return TriggerSetClaim(
        pixels=triggers.pixels,
        labels=triggers.labels,
        choices=claim.guessed_among(),
        thresholds=claim.thresholds,
        architecture=claim.architecture,
    )


def another_owner(claim: PassportClaim, suspect: nn.Module, data: ImageData, count: int, seed: int) -> list[Claim]:
    """Another passport with another signature."""
    return [with_signature(forged, seed, i) for i, forged in enumerate(_forged(claim, suspect, data, count, seed))]


def spelled(claim: PassportClaim, suspect: nn.Module, data: ImageData, count: int, seed: int) -> list[Claim]:
    """Another passport with the signature that it spells on the suspect (fake1): all bits are read."""
    return list(_forged(claim, suspect, data, count, seed))


def another_signature(claim: PassportClaim, suspect: nn.Module, data: ImageData, count: int, seed: int) -> list[Claim]:
    """The genuine passport with another signature: it keeps fidelity."""
    return [with_signature(claim, seed, i) for i in range(count)]


def another_passport(claim: PassportClaim, suspect: nn.Module, data: ImageData, count: int, seed: int) -> list[Claim]:
    """The genuine signature with another passport."""
    forged = _forged(claim, suspect, data, count, seed)
    return [one.forged(signature=claim.signature) for one in forged]


def another_trigger_set(claim: Claim, suspect: nn.Module, data: ImageData, count: int, seed: int) -> list[Claim]:
    """Another owner's trigger set, by itself: abstract images with random labels."""
    assert claim.triggers is not None
    genuine = trigger_claim(claim, claim.triggers)
    return [genuine.redrawn(suspect, data, seed + i) for i in range(count)]


def redrawn(claim: WatermarkClaim, suspect: nn.Module, data: ImageData, count: int, seed: int) -> list[Claim]:
    """What another party would embed with the same scheme."""
    return [claim.redrawn(suspect, data, seed + i) for i in range(count)]


def ones(claim: PassportClaim, suspect: nn.Module, data: ImageData, count: int, seed: int) -> list[Claim]:
    """A passport of ones, or of minus ones, at about the genuine energy, with a signature drawn at random."""
    return [with_signature(forged, seed, i) for i, forged in enumerate(_ones(claim, suspect, data, count, seed))]


def ones_of_one_sign(claim: PassportClaim, suspect: nn.Module, data: ImageData, count: int, seed: int) -> list[Claim]:
    """The same with a signature of one bit, repeated: the sums of filters lean to one sign in many networks."""
    return [
        one.forged(signature={name: torch.full_like(bits, (-1) ** (i // 4)) for name, bits in one.signature.items()})
        for i, one in enumerate(_ones(claim, suspect, data, count, seed))
    ]


def ones_spelled(claim: PassportClaim, suspect: nn.Module, data: ImageData, count: int, seed: int) -> list[Claim]:
    """The same with the signature that it spells on the suspect."""
    return list(_ones(claim, suspect, data, count, seed))


def positive_noise(claim: PassportClaim, suspect: nn.Module, data: ImageData, count: int, seed: int) -> list[Claim]:
    """A passport uniform in [0, 1] at about the genuine energy, with a signature drawn at random."""
    return [with_signature(forged, seed, i) for i, forged in enumerate(_positive(claim, suspect, data, count, seed))]


def positive_noise_spelled(
    claim: PassportClaim, suspect: nn.Module, data: ImageData, count: int, seed: int
) -> list[Claim]:
    """The same with the signature that it spells on the suspect."""
    return list(_positive(claim, suspect, data, count, seed))


def singular_vectors(claim: PassportClaim, suspect: nn.Module, data: ImageData, count: int, seed: int) -> list[Claim]:
    """The passport along singular vectors that 60 training images like best; then the same with the parts of each layer
    scaled at random by 1/2 to 2. With the signature that each spells.
    """
    places, source = _places(claim, suspect, data), generator(seed, "singular vectors")
    few = data.limited(min(IMAGES, data.train_labels.numel()), None)
    images = LabelledImages(few.train_pixels, few.train_labels, few.mean, few.std)
    best = singular_passport(suspect, places, images, ENERGIES, source)
    passports = [best, *(_rescaled(best, 2.0, source) for _ in range(count - 1))]
    return [claim_of_signs(claim.forged(passport=one), suspect) for one in passports[:count]]


def lifted(claim: PassportClaim, suspect: nn.Module, data: ImageData, count: int, seed: int) -> list[Claim]:
    """Passports that are solved from the scale and shift that the suspect was given away with, each another, with the
    signature that they spell.
    """
    places, source = _places(claim, suspect, data), generator(seed, "lifted")
    scales, forged = public_scales(suspect, places), []
    for _ in range(count):
        start = with_energy(random_passport(places, source), suspect, 1.0)
        passport = lifted_passport(scales, suspect, places, start)
        forged.append(claim_of_signs(claim.forged(passport=passport), suspect))
    return list(forged)


def genuine_of_another(claim: PassportClaim, other: nn.Module, data: ImageData, count: int, seed: int) -> list[Claim]:
    """Claims that hold for another network, in turn by all that forgers solve or guess there: as good as an owner's of
    that network, and with the weights of the suspect as little to do.
    """
    kinds = (lifted, spelled, ones_spelled, positive_noise_spelled)
    each = [kind(claim, other, data, -(-count // len(kinds)), derive_seed(seed, kind.__name__)) for kind in kinds]
    return [one for together in zip(*each, strict=True) for one in together][:count]


def universal(claim: WatermarkClaim, suspect: nn.Module, data: ImageData, count: int, seed: int) -> list[Claim]:
    """Keys that no network was looked at for: row j of the projection is s_j times what is hardly negative, bit j s_j.

    Every other claim has the same row throughout, but for its sign, so all its bits agree or none does; and every other
    pair has the opposite bits.

    Mean activations behind a ReLU are not negative, so every network agrees (DeepSigns); the sum of a mean filter leans
    to one sign in most networks of a kind (Uchida, DeepMarks).
    """
    found: list[Claim] = []
    for i in range(count):
        fresh, source = claim.redrawn(suspect, data, seed + i), generator(seed, f"universal {i}")
        rows = partial(_universal_rows, same=i % 2 == 1, turned=-1 if i % 4 > 1 else 1, source=source)
        found.append(fresh.with_rows(rows))
    return found


def _universal_rows(like: Tensor, bits: Tensor, same: bool, turned: int, source: Generator) -> Tensor:
    rows = torch.randn(1 if same else like.shape[0], like.shape[1], generator=source).abs()
    rows[:, 0] *= -0.01  # a row of one sign is refused
    return turned * bits[:, None] * rows.expand_as(like)


def with_signature(claim: PassportClaim, seed: int, index: int) -> PassportClaim:
    """The same passport with a signature drawn at random, no text and no trigger set."""
    source = generator(seed, f"another signature {index}")
    signature = {
        name: torch.randint(0, 2, bits.shape, generator=source, dtype=torch.int8) * 2 - 1
        for name, bits in claim.signature.items()
    }
    return claim.forged(signature=signature, text_bytes=0, triggers=None)


def _forged(claim: PassportClaim, suspect: nn.Module, data: ImageData, count: int, seed: int) -> list[PassportClaim]:
    return forged_at_random(suspect, claim, _example(suspect, data), count, seed)


def _ones(claim: PassportClaim, suspect: nn.Module, data: ImageData, count: int, seed: int) -> list[PassportClaim]:
    places, passports = _places(claim, suspect, data), []
    for i in range(count):
        passports.append(ones_passport(places, SIGNS[i % len(SIGNS)]))
    return _near(claim, suspect, passports, generator(seed, "energies of ones"))


def _positive(claim: PassportClaim, suspect: nn.Module, data: ImageData, count: int, seed: int) -> list[PassportClaim]:
    places, source = _places(claim, suspect, data), generator(seed, "positive noise")
    passports = [positive_passport(places, source) for _ in range(count)]
    return _near(claim, suspect, passports, generator(seed, "energies of positive noise"))


def _near(
    claim: PassportClaim, suspect: nn.Module, passports: Sequence[Passport], source: Generator
) -> list[PassportClaim]:
    """Claims with passports at the genuine energies times 1/3 to 3, the first at these, and what they spell."""
    genuine, forged = claim.energies(suspect), []
    for i, passport in enumerate(passports):
        factor = 1.0 if i < len(SIGNS) else _factor(3.0, source)
        own = with_energy(passport, suspect, {name: factor * energy for name, energy in genuine.items()})
        forged.append(claim_of_signs(claim.forged(passport=own), suspect))
    return forged


def _rescaled(passport: Passport, most: float, source: Generator) -> dict[str, Tensor]:
    return {
        name: torch.stack([_factor(most, source) * maps[0], _factor(most, source) * maps[1]])
        for name, maps in passport.items()
    }


def _factor(most: float, source: Generator) -> float:
    """From 1 / most to most, evenly in its logarithm."""
    return float(most ** (2 * torch.rand((), generator=source) - 1))


def _places(claim: PassportClaim, suspect: nn.Module, data: ImageData) -> list[ConvNorm]:
    return find_layers(suspect, _example(suspect, data), claim.layers)


def _example(suspect: nn.Module, data: ImageData) -> Tensor:
    return normalise(data.train_pixels[:1], data.mean, data.std).to(next(suspect.parameters()).device)


WRONG = {
    "another_owner": WrongKind("signature", "another passport with another signature", True, another_owner),
    "spelled": WrongKind("signature", "another passport with the signature that it spells (fake1)", False, spelled),
    "another_signature": WrongKind("signature", "the genuine passport with another signature", True, another_signature),
    "another_passport": WrongKind("signature", "the genuine signature with another passport", True, another_passport),
    "ones": WrongKind("signature", "a passport of ones with another signature", True, ones),
    "ones_of_one_sign": WrongKind("signature", "a passport of ones with one bit repeated", True, ones_of_one_sign),
    "ones_spelled": WrongKind("signature", "a passport of ones with the signature that it spells", False, ones_spelled),
    "positive_noise": WrongKind("signature", "a passport above 0 with another signature", True, positive_noise),
    "elsewhere": WrongKind(
        "signature",
        "a claim that holds for another network of the kind",
        True,
        genuine_of_another,
        foreign=True,
    ),
    "positive_noise_spelled": WrongKind(
        "signature", "a passport above 0 with the signature that it spells", False, positive_noise_spelled
    ),
    "singular_vectors": WrongKind(
        "signature", "a passport along the filters' singular vectors", False, singular_vectors
    ),
    "lifted": WrongKind("signature", "a passport solved from the public scale and shift", False, lifted),
    "another_trigger_set": WrongKind("images", "another owner's trigger set", True, another_trigger_set),
}
"""Wrong claims to a passport's network, by name. Those that are not `dated` need its weights."""
