"""Claims of people to whom a network does not belong, drawn by seed: what a judge must not verify.

A wrong claim is of the genuine claim's kind and size and declares its thresholds. `WRONG` lists the kinds by name.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import nn

from ipr.claim import Claim
from ipr.data.images import ImageData, normalise
from ipr.passport.claim import PassportClaim
from ipr.randomness import generator
from ipr.verification.decision import choices_of
from ipr.verification.verdict import forged_at_random
from ipr.watermarks.claim import WatermarkClaim
from ipr.watermarks.key_images import KeyImageClaim
from ipr.watermarks.trigger_set import TriggerSetClaim


@dataclass(frozen=True)
class Kind:
    """One kind of wrong claim.

    Attributes:
        evidence: `signature` or `images`: by what it would be verified.
        says: what it is, in words.
        drawn: (genuine claim, suspect, images, count, seed) -> so many wrong claims.
    """

    evidence: str
    says: str
    drawn: Callable[[Claim, nn.Module, ImageData, int, int], list[Claim]]


def kinds_for(claim: Claim) -> dict[str, Kind]:
    """The kinds of wrong claims that rival a genuine one, by name."""
    if isinstance(claim, PassportClaim):
        triggers = claim.trigger_labels is not None
        return {name: kind for name, kind in WRONG.items() if triggers or kind.evidence == "signature"}
    images = isinstance(claim, KeyImageClaim)
    says = "fresh images with fresh labels" if images else "another key and another signature"
    return {"redrawn": Kind("images" if images else "signature", says, redrawn)}


def genuine_claims(claim: Claim) -> dict[str, Claim]:
    """The genuine claim by each sort of evidence; on a network that never saw its secrets it is wrong, too."""
    if not isinstance(claim, PassportClaim):
        return {"images" if isinstance(claim, KeyImageClaim) else "signature": claim}
    found: dict[str, Claim] = {"signature": replace(claim, trigger_pixels=None, trigger_labels=None)}
    if (images := trigger_claim(claim)) is not None:
        found["images"] = images
    return found


def trigger_claim(claim: PassportClaim) -> TriggerSetClaim | None:
    """A passport claim's trigger set by itself; None where it has none."""
    if claim.trigger_pixels is None or claim.trigger_labels is None:
        return None
    return TriggerSetClaim(
        pixels=claim.trigger_pixels,
        labels=claim.trigger_labels,
        choices=choices_of(claim),
        thresholds=claim.thresholds,
        architecture=claim.architecture,
    )


def another_owner(claim: Claim, suspect: nn.Module, data: ImageData, count: int, seed: int) -> list[Claim]:
    """Another passport with another signature."""
    return [with_signature(forged, seed, i) for i, forged in enumerate(_forged(claim, suspect, data, count, seed))]


def spelled(claim: Claim, suspect: nn.Module, data: ImageData, count: int, seed: int) -> list[Claim]:
    """Another passport with the signature that it spells on the suspect (fake1): all bits are read."""
    return list(_forged(claim, suspect, data, count, seed))


def another_signature(claim: Claim, suspect: nn.Module, data: ImageData, count: int, seed: int) -> list[Claim]:
    """The genuine passport with another signature: it keeps fidelity."""
    assert isinstance(claim, PassportClaim)
    return [with_signature(claim, seed, i) for i in range(count)]


def another_passport(claim: Claim, suspect: nn.Module, data: ImageData, count: int, seed: int) -> list[Claim]:
    """The genuine signature with another passport."""
    assert isinstance(claim, PassportClaim)
    forged = _forged(claim, suspect, data, count, seed)
    return [one.forged(signature=claim.signature) for one in forged]


def another_trigger_set(claim: Claim, suspect: nn.Module, data: ImageData, count: int, seed: int) -> list[Claim]:
    """Another owner's trigger set, by itself: abstract images with random labels."""
    assert isinstance(claim, PassportClaim)
    genuine = trigger_claim(claim)
    assert genuine is not None
    return [genuine.redrawn(suspect, data, seed + i) for i in range(count)]


def redrawn(claim: Claim, suspect: nn.Module, data: ImageData, count: int, seed: int) -> list[Claim]:
    """What another party would embed with the same scheme."""
    assert isinstance(claim, WatermarkClaim)
    return [claim.redrawn(suspect, data, seed + i) for i in range(count)]


def with_signature(claim: PassportClaim, seed: int, index: int) -> PassportClaim:
    """The same passport with a signature drawn at random, no text and no trigger set."""
    source = generator(seed, f"another signature {index}")
    signature = {
        name: torch.randint(0, 2, bits.shape, generator=source, dtype=torch.int8) * 2 - 1
        for name, bits in claim.signature.items()
    }
    return claim.forged(signature=signature, text_bytes=0, trigger_pixels=None, trigger_labels=None)


def _forged(claim: Claim, suspect: nn.Module, data: ImageData, count: int, seed: int) -> list[PassportClaim]:
    assert isinstance(claim, PassportClaim)
    example = normalise(data.train_pixels[:1], data.mean, data.std).to(next(suspect.parameters()).device)
    return forged_at_random(suspect, claim, example, count, seed)


WRONG = {
    "another_owner": Kind("signature", "another passport with another signature", another_owner),
    "spelled": Kind("signature", "another passport with the signature that it spells (fake1)", spelled),
    "another_signature": Kind("signature", "the genuine passport with another signature", another_signature),
    "another_passport": Kind("signature", "the genuine signature with another passport", another_passport),
    "another_trigger_set": Kind("images", "another owner's trigger set", another_trigger_set),
}
"""Wrong claims to a passport's network, by name."""
