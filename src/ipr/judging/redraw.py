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

from dataclasses import dataclass

from ipr.claims.base import Claim, Reading, reading
from ipr.claims.origin import NONCE
from ipr.claims.redraw import Part
from ipr.data.images import ImageData
from ipr.randomness import derive_bytes, derive_seed

SEEDS_TRIED = 100_000
"""Seeds of runs that `is_keyless` tries: 0 and up."""


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
    """Draws a claim's secrets again from the seeds that it names, and compares: as each kind says (`Claim.redraw`).

    Args:
        claim: of any kind; its architecture gives the sizes.
        data: the judge's images; of the training images the part, and the number, that the claim's origin names.

    Raises:
        InputError: the claim names no network that can be built.
    """
    return Redrawn(claim.redraw(data), claim.chosen_bits)


def is_keyless(claim: Claim) -> bool:
    """Whether a claim's secrets follow from the seed of a run, which anybody can try: measured, not believed.

    True where its origin says so, or where a seed of it, or the nonce of a bound signature, is what one of the first
    `SEEDS_TRIED` seeds of a run gives without a key. Less than a second. A message of Guo and Potkonjak, and a key that
    can be guessed, are beyond it.
    """
    origin, nonce = claim.origin, claim.nonce
    if origin is not None and origin.keyless:
        return True
    for purpose, seed in ({} if origin is None else origin.seeds).items():
        if any(derive_seed(tried, purpose) == seed for tried in range(SEEDS_TRIED)):
            return True
    return nonce is not None and any(derive_bytes(tried, NONCE) == nonce for tried in range(SEEDS_TRIED))
