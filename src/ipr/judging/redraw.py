"""Were a claim's secrets drawn, or chosen? The judge draws them again from the seeds that the claim names.

Why it decides. Bits that were drawn from a seed, and committed to, before a network was released were not fitted to it,
and a network that was made without them agrees with each by a fair coin. Whoever may choose needs no network at all:
rows of a projection that lean to one side read the same in every network there is.

What may be chosen. A passport: all channels of a layer share one mean patch, and nobody can say, before the network is
there, which channel it pushes which way; bits that were drawn, or bound, are as hard to hit with a chosen passport as
with a drawn one. (Chosen bits are not: scales may lean to one sign in network after network. And where networks are
made from public weights, these are there before: a judge calibrates with others that were made from them.) And the
text that a signature begins with: an owner wants to read it back. It proves nothing, so its bits are counted apart.

What remains. A seed can be chosen as well, among 2^63. Before the release there is nothing to choose it by; afterwards
a date is missing. What could be had by trying seeds is in the p-value that a judge asks for.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ipr.claims.base import Claim, Reading, reading
from ipr.claims.origin import NONCE, SIGNATURE, TRIGGER_SET, Origin, watermark_purpose
from ipr.data.images import ImageData
from ipr.data.trigger_sets import abstract_trigger_set
from ipr.errors import InputError
from ipr.models.claimed import without_memory
from ipr.passport.bound import Binding
from ipr.passport.claim import PassportClaim
from ipr.randomness import derive_bytes, derive_seed, started_at
from ipr.schemes.deepmarks import DeepMarksClaim
from ipr.schemes.deepsigns import DeepSignsClaim
from ipr.schemes.frontier_stitching import FrontierStitchingClaim
from ipr.schemes.guo_potkonjak import GuoPotkonjakClaim
from ipr.schemes.trigger_set import TriggerSetClaim
from ipr.schemes.uchida import UchidaClaim
from ipr.schemes.zhang import ZhangContentClaim, ZhangNoiseClaim
from ipr.signature import draw_signature
from ipr.watermarks.base import WatermarkClaim
from ipr.watermarks.key_images import KeyImageClaim

OF_TRAINING_IMAGES = (DeepSignsClaim, ZhangContentClaim, ZhangNoiseClaim, GuoPotkonjakClaim)
"""Their keys are training images, so they can be drawn again from the same training set only."""

TOLERANCE = 1e-5
"""Of floats, absolute and relative: the last bits of normal numbers differ between processors."""

BASIS_TOLERANCE = 1e-3
"""Of DeepMarks' basis, absolute: an orthogonal decomposition, which spreads these last bits."""

ROUNDED = 0.01
"""Share of bytes of images that may be off by one: where a float lies between two bytes, its last bit rounds it."""

BASIS_LIMIT = 2**12
"""Bits of a DeepMarks claim at most, for its basis is decomposed anew."""

SEEDS_TRIED = 100_000
"""Seeds of runs that `is_keyless` tries: 0 and up."""


@dataclass(frozen=True)
class Part:
    """One part of a claim's secrets.

    Attributes:
        name: `signature`, `trigger set`, or the tensors of a watermark.
        evidence: `signature` or `images`: what it would prove.
        holds: True where it was drawn, or is bound; False where the claim names a seed that does not give it; None
            where it cannot be drawn again, so that it may have been chosen.
        says: the finding in words; no secret.
    """

    name: str
    evidence: str
    holds: bool | None
    says: str


@dataclass(frozen=True)
class Redrawn:
    """What drawing a claim's secrets again shows.

    Attributes:
        parts: what was looked at.
        chosen_bits: how many bits of the signature, from the first on, spell a text of the claimant's choice. A judge
            takes all of them as agreeing and none as evidence.
    """

    parts: tuple[Part, ...]
    chosen_bits: int = 0

    def of(self, evidence: str) -> Redrawn:
        """The parts that would prove something by `signature`, or by `images`."""
        bits = self.chosen_bits if evidence == "signature" else 0
        return Redrawn(tuple(part for part in self.parts if part.evidence == evidence), bits)

    def counted(self, found: Reading) -> Reading:
        """A reading of a signature without the bits of a text: as if all of them agreed, so that the rest is at most
        what is left of the agreement.
        """
        agreeing, total = sum(found.agreeing.values()), sum(found.total.values())
        if not 0 < self.chosen_bits < total:
            return found
        left = max(0, agreeing - self.chosen_bits)
        return reading({"drawn bits": left}, {"drawn bits": total - self.chosen_bits}, text=found.text)

    @property
    def holds(self) -> bool | None:
        """True where every part holds; False where a seed does not give what is claimed; else None: not known."""
        found = {part.holds for part in self.parts}
        return False if False in found else None if None in found or not found else True

    @property
    def says(self) -> str:
        """The findings in words."""
        return "; ".join(f"{part.name}: {part.says}" for part in self.parts) or "there is nothing to draw again"


UNKNOWN = Redrawn(())
"""Of a claim that nobody has looked at."""

GRANTED = Redrawn((Part("secrets", "signature", True, "granted"),))
"""Of a wrong claim whose claimant is believed in this, so that nothing but what was measured refuses it."""


def redraw(claim: Claim, data: ImageData) -> Redrawn:
    """Draws a claim's secrets again from the seeds that it names, and compares.

    Args:
        claim: of any kind; its architecture gives the sizes.
        data: the judge's images; of the training images the part, and the number, that the claim's origin names.

    Raises:
        InputError: the claim names no network that can be built.
    """
    if isinstance(claim, PassportClaim):
        return Redrawn(tuple(_of_passport(claim, data)), 0 if claim.bound else 8 * claim.text_bytes)
    assert isinstance(claim, WatermarkClaim)
    chosen = 8 * claim.text_bytes if isinstance(claim, UchidaClaim) else 0
    return Redrawn((_of_watermark(claim, data),), chosen)


def is_keyless(claim: Claim) -> bool:
    """Whether a claim's secrets follow from the seed of a run, which anybody can try: measured, not believed.

    True where its origin says so, or where a seed of it, or the nonce of a bound signature, is what one of the first
    `SEEDS_TRIED` seeds of a run gives without a key. Less than a second. A message of Guo and Potkonjak, and a key that
    can be guessed, are beyond it.
    """
    origin = claim.origin
    if origin is not None and origin.keyless:
        return True
    for purpose, seed in ({} if origin is None else origin.seeds).items():
        if any(derive_seed(tried, purpose) == seed for tried in range(SEEDS_TRIED)):
            return True
    if isinstance(claim, PassportClaim) and claim.binding is not None:
        nonce = Binding.parse(claim.binding).nonce
        return any(derive_bytes(tried, NONCE) == nonce for tried in range(SEEDS_TRIED))
    return False


def _of_passport(claim: PassportClaim, data: ImageData) -> Iterator[Part]:
    if claim.bound:
        yield Part("signature", "signature", True, "follows from passport, owner and nonce")
    else:
        yield _signature(claim)
    if claim.trigger_pixels is None or claim.trigger_labels is None:
        return
    found = _seed(claim, TRIGGER_SET)
    if isinstance(found, str):
        yield Part("trigger set", "images", None, found)
        return
    mine = {"pixels": claim.trigger_pixels, "labels": claim.trigger_labels}
    again = abstract_trigger_set(len(mine["labels"]), data.image_size, data.channels, len(data.classes), found)
    other = _differing(mine, {"pixels": again.pixels, "labels": again.labels})
    yield _compared("trigger set", "images", other)


def _signature(claim: PassportClaim) -> Part:
    capacities = {name: bits.numel() for name, bits in claim.signature.items()}
    text, total = 8 * claim.text_bytes, sum(capacities.values())
    found = _seed(claim, SIGNATURE)
    if isinstance(found, str) or text == total:
        return Part("signature", "signature", None, found if isinstance(found, str) else "is all text, which is chosen")
    again = torch.cat(list(draw_signature(capacities, None, found).values()))
    part = _compared("signature", "signature", _differing({"bits": claim.marks().cpu()[text:]}, {"bits": again[text:]}))
    return _with_text(part, text, total)


def _of_watermark(claim: WatermarkClaim, data: ImageData) -> Part:
    images = isinstance(claim, KeyImageClaim)
    evidence = "images" if images else "signature"
    name = "key images" if images else "projection and bits"
    purpose = TRIGGER_SET if isinstance(claim, TriggerSetClaim) else watermark_purpose(claim.kind)
    found = _seed(claim, purpose)
    if isinstance(found, str):
        return Part(name, evidence, None, found)
    if isinstance(claim, FrontierStitchingClaim):
        return Part(name, evidence, None, "they follow from a trained network, so they cannot be drawn again")
    if isinstance(claim, OF_TRAINING_IMAGES) and not _same_images(claim.origin, data):
        return Part(name, evidence, None, "the judge has other training images, so they cannot be drawn again")
    if isinstance(claim, DeepMarksClaim) and claim.bits.numel() > BASIS_LIMIT:
        return Part(name, evidence, None, f"more than {BASIS_LIMIT} bits are too many to draw again")
    text, total = (8 * claim.text_bytes, claim.bits.numel()) if isinstance(claim, UchidaClaim) else (0, 0)
    if text and text == total:
        return Part(name, evidence, None, "the bits are all text, which is chosen")
    network: nn.Module = without_memory(claim.architecture)
    try:
        again = claim.drawn_from(found, network, data).tensors()
    except InputError as error:
        return Part(name, evidence, False, f"a claim of this size is never drawn ({error.problem})")
    mine = claim.tensors()
    if text:
        mine, again = ({**tensors, "bits": tensors["bits"][text:]} for tensors in (mine, again))
    return _with_text(_compared(name, evidence, _differing(mine, again)), text, total)


def _seed(claim: Claim, purpose: str) -> torch.Generator | str:
    """A generator at the seed that a claim names for a purpose; where it names none, what to say."""
    if claim.origin is None:
        return "nothing tells what was drawn"
    if purpose not in claim.origin.seeds:
        return "no seed is named: of the claimant's choice"
    return started_at(claim.origin.seeds[purpose])


def _same_images(origin: Origin | None, data: ImageData) -> bool:
    return origin is not None and (origin.data, origin.train_images) == (data.fingerprint, data.train_labels.numel())


def _differing(mine: dict[str, Tensor], again: dict[str, Tensor]) -> list[str]:
    return [name for name, tensor in mine.items() if not _same(name, tensor.cpu(), again[name].cpu())]


def _same(name: str, mine: Tensor, again: Tensor) -> bool:
    if mine.shape != again.shape or mine.dtype != again.dtype:
        return False
    if mine.is_floating_point():
        absolute = BASIS_TOLERANCE if name == "basis" else TOLERANCE
        return torch.allclose(mine, again, rtol=TOLERANCE, atol=absolute)
    if mine.dtype == torch.uint8:
        apart = (mine.short() - again.short()).abs()
        return int(apart.max()) <= 1 and float(apart.float().mean()) <= ROUNDED
    return torch.equal(mine, again)


def _compared(name: str, evidence: str, other: list[str]) -> Part:
    if other:
        return Part(name, evidence, False, f"the seed that is named gives other {', '.join(other)}")
    return Part(name, evidence, True, "drawn again from the seed that is named, and equal")


def _with_text(part: Part, text: int, total: int) -> Part:
    if not text:
        return part
    says = f"{part.says}, but for the {text} of {total} bits that spell a text"
    return Part(part.name, part.evidence, part.holds, says)
