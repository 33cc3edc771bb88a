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
from ipr.passport.presented import PresentedClaim
from ipr.passport.surgery import ConvNorm, Passport, find_layers
from ipr.randomness import derive_seed, generator
from ipr.signature import Signature
from ipr.watermarks.base import WatermarkClaim
from ipr.watermarks.key_images import TriggerSetClaim

IMAGES = 60
"""So many training images a forger chooses among guesses with."""

ENERGIES = (1.0, 3.0, 10.0, 30.0)
"""The energies that a forger tries who does not know the owner's."""

Passports = Callable[[PassportClaim, nn.Module, ImageData, int, int], Sequence[PassportClaim]]
"""(genuine claim, network, images, count, seed) -> claims with a passport each."""


@dataclass(frozen=True)
class WrongKind:
    """One kind of wrong claim.

    Attributes:
        says: what it is, in words.
        dated: whether its claimant, or an insider, could have committed to it before the suspect was released: nothing
            of it follows from the suspect's weights.
        drawn: (genuine claim, network, images, count, seed) -> so many wrong claims; of a claim that it rivals.
        foreign: whether the network that they are drawn from is another than the suspect, which its claimant has;
            else it is the suspect.
        evidence: `signature` or `images`: by what it would be verified.
    """

    says: str
    dated: bool
    drawn: Callable[[Any, nn.Module, ImageData, int, int], Sequence[Claim]]
    foreign: bool = False
    evidence: str = "signature"


def kinds_for(claim: Claim) -> dict[str, WrongKind]:
    """The kinds of wrong claims that rival a genuine one, by name."""
    if isinstance(claim, PresentedClaim):
        triggers = claim.triggers is not None
        return {name: kind for name, kind in WRONG.items() if triggers or kind.evidence == "signature"}
    says = "fresh images with fresh labels" if claim.evidence == "images" else "another key and another signature"
    kinds = {"redrawn": WrongKind(says, True, redrawn, evidence=claim.evidence)}
    if claim.of_projection:
        says = "a key whose bits most networks have, whatever they were trained for"
        kinds["universal"] = WrongKind(says, True, universal)
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


# Passports, each with the signature that it spells on the network.


def genuine(claim: PassportClaim, network: nn.Module, data: ImageData, count: int, seed: int) -> list[PassportClaim]:
    """The genuine claim itself, whose passport keeps fidelity."""
    return [claim] * count


def at_random(claim: PassportClaim, network: nn.Module, data: ImageData, count: int, seed: int) -> list[PassportClaim]:
    """Random passports at the genuine energy (fake1)."""
    return forged_at_random(network, claim, _example(network, data), count, seed)


def ones(claim: PassportClaim, network: nn.Module, data: ImageData, count: int, seed: int) -> list[PassportClaim]:
    """Passports of ones, or of minus ones, at about the genuine energy."""
    layers = _layers(claim, network, data)
    passports = [ones_passport(layers, SIGNS[i % len(SIGNS)]) for i in range(count)]
    return _near(claim, network, passports, generator(seed, "energies of ones"))


def positive(claim: PassportClaim, network: nn.Module, data: ImageData, count: int, seed: int) -> list[PassportClaim]:
    """Passports uniform in [0, 1] at about the genuine energy."""
    layers, source = _layers(claim, network, data), generator(seed, "positive noise")
    passports = [positive_passport(layers, source) for _ in range(count)]
    return _near(claim, network, passports, generator(seed, "energies of positive noise"))


def singular(claim: PassportClaim, network: nn.Module, data: ImageData, count: int, seed: int) -> list[PassportClaim]:
    """The passport along singular vectors that 60 training images like best; then the same with the parts of each layer
    scaled at random by 1/2 to 2.
    """
    layers, source = _layers(claim, network, data), generator(seed, "singular vectors")
    few = data.limited(min(IMAGES, data.train_labels.numel()), None)
    images = LabelledImages(few.train_pixels, few.train_labels, few.mean, few.std)
    best = singular_passport(network, layers, images, ENERGIES, source)
    passports = [best]
    for _ in range(count - 1):
        passports.append({n: torch.stack([_factor(2.0, source) * part for part in maps]) for n, maps in best.items()})
    return [claim_of_signs(claim.forged(passport=one), network) for one in passports]


def lifted(claim: PassportClaim, network: nn.Module, data: ImageData, count: int, seed: int) -> list[PassportClaim]:
    """Passports that are solved from the scale and shift that the network was given away with, each another."""
    layers, source = _layers(claim, network, data), generator(seed, "lifted")
    scales, forged = public_scales(network, layers), []
    for _ in range(count):
        start = with_energy(random_passport(layers, source), network, 1.0)
        passport = lifted_passport(scales, network, layers, start)
        forged.append(claim_of_signs(claim.forged(passport=passport), network))
    return forged


def elsewhere(claim: PassportClaim, other: nn.Module, data: ImageData, count: int, seed: int) -> list[PassportClaim]:
    """Claims that hold for another network, in turn by all that forgers solve or guess there: as good as an owner's of
    that network, and with the weights of the suspect as little to do.
    """
    kinds = {"lifted": lifted, "spelled": at_random, "ones_spelled": ones, "positive_noise_spelled": positive}
    each = [
        drawn(claim, other, data, -(-count // len(kinds)), derive_seed(seed, kind)) for kind, drawn in kinds.items()
    ]
    return [one for together in zip(*each, strict=True) for one in together][:count]


def _near(
    claim: PassportClaim, network: nn.Module, passports: Sequence[Passport], source: Generator
) -> list[PassportClaim]:
    """Claims with passports at the genuine energies times 1/3 to 3, the first at these."""
    energies, forged = claim.energies(network), []
    for i, passport in enumerate(passports):
        factor = 1.0 if i < len(SIGNS) else _factor(3.0, source)
        own = with_energy(passport, network, {name: factor * energy for name, energy in energies.items()})
        forged.append(claim_of_signs(claim.forged(passport=own), network))
    return forged


def _factor(most: float, source: Generator) -> float:
    """From 1 / most to most, evenly in its logarithm."""
    return float(most ** (2 * torch.rand((), generator=source) - 1))


def _layers(claim: PassportClaim, network: nn.Module, data: ImageData) -> list[ConvNorm]:
    return find_layers(network, _example(network, data), claim.layers)


def _example(network: nn.Module, data: ImageData) -> Tensor:
    return normalise(data.train_pixels[:1], data.mean, data.std).to(next(network.parameters()).device)


# Signatures, in the place of those.


def with_signatures(passports: Passports, signature: Callable[[Signature, int, int], Signature]) -> Passports:
    """Draws such claims, each with what (genuine signature, seed, number) gives, no text and no trigger set."""

    def drawn(claim: PassportClaim, network: nn.Module, data: ImageData, count: int, seed: int) -> list[PassportClaim]:
        return [
            one.forged(signature=signature(claim.signature, seed, i), text_bytes=0, triggers=None)
            for i, one in enumerate(passports(claim, network, data, count, seed))
        ]

    return drawn


def another(genuine: Signature, seed: int, index: int) -> Signature:
    """Bits that are drawn at random, in the same channels."""
    source = generator(seed, f"another signature {index}")
    return {
        name: (torch.randint(0, 2, bits.shape, generator=source, dtype=torch.int8) * 2 - 1) * bits.cpu().abs()
        for name, bits in genuine.items()
    }


def same(genuine: Signature, seed: int, index: int) -> Signature:
    """The genuine one."""
    return genuine


def one_bit(genuine: Signature, seed: int, index: int) -> Signature:
    """One bit, repeated: the sums of filters lean to one sign in many networks."""
    return {name: bits.abs() * (-1) ** (index // 4) for name, bits in genuine.items()}


def another_trigger_set(claim: Claim, suspect: nn.Module, data: ImageData, count: int, seed: int) -> list[Claim]:
    """Another owner's trigger set, by itself: abstract images with random labels."""
    assert claim.triggers is not None
    genuine = trigger_claim(claim, claim.triggers)
    return [genuine.redrawn(suspect, data, seed + i) for i in range(count)]


def redrawn(claim: WatermarkClaim, suspect: nn.Module, data: ImageData, count: int, seed: int) -> list[Claim]:
    """What another party would embed with the same scheme."""
    return [claim.redrawn(suspect, data, seed + i) for i in range(count)]


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


WRONG = {
    "another_owner": WrongKind("another passport with another signature", True, with_signatures(at_random, another)),
    "spelled": WrongKind("another passport with the signature that it spells (fake1)", False, at_random),
    "another_signature": WrongKind(
        "the genuine passport with another signature", True, with_signatures(genuine, another)
    ),
    "another_passport": WrongKind(
        "the genuine signature with another passport", True, with_signatures(at_random, same)
    ),
    "ones": WrongKind("a passport of ones with another signature", True, with_signatures(ones, another)),
    "ones_of_one_sign": WrongKind("a passport of ones with one bit repeated", True, with_signatures(ones, one_bit)),
    "ones_spelled": WrongKind("a passport of ones with the signature that it spells", False, ones),
    "positive_noise": WrongKind("a passport above 0 with another signature", True, with_signatures(positive, another)),
    "elsewhere": WrongKind("a claim that holds for another network of the kind", True, elsewhere, foreign=True),
    "positive_noise_spelled": WrongKind("a passport above 0 with the signature that it spells", False, positive),
    "singular_vectors": WrongKind("a passport along the filters' singular vectors", False, singular),
    "lifted": WrongKind("a passport solved from the public scale and shift", False, lifted),
    "another_trigger_set": WrongKind("another owner's trigger set", True, another_trigger_set, evidence="images"),
}
"""Wrong claims to a passport's network, by name. Those that are not `dated` need its weights."""
