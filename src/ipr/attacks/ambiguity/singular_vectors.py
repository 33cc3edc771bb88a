"""A passport along the singular vectors of the protected filters: where training has left the owner's."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from ipr.attacks.ambiguity.ones import above_0
from ipr.attacks.base import Attack, Attacked, Fit, Victim, example_of, require
from ipr.config.registry import register
from ipr.data.images import ImageData, LabelledImages
from ipr.judging.verdict import claim_of_signs
from ipr.passport.guesses import singular_passport
from ipr.passport.surgery import find_layers
from ipr.randomness import generator


@register("singular_vectors")
@dataclass
class SingularVectors(Attack):
    """S along the strongest right singular vectors of each protected convolution (`passport/guesses.py`).

    Training writes the rank-one matrix gamma S^T / |S|^2 into the filters, which shows while |S| is small
    (`passport.energy`). A few images decide on signs and magnitudes; the passport of least norm with these mean patches
    is claimed, with the signature that it spells.
    """

    kind = "ambiguity"
    section = "none (this project)"
    attacker_has = "the weights, the places of the passport layers and a few images"

    energies: list[float] = field(default_factory=lambda: [1.0, 3.0, 10.0])  # lengths |S| that are tried
    images: int = 60  # training images that choose among them

    def check(self, scheme: str) -> None:
        """See `Attack.check`."""
        super().check(scheme)
        above_0("energies", self.energies)
        require(self.images >= 1, "images", self.images, "give e.g. 60")

    def run(self, victim: Victim, data: ImageData, fit: Fit, seed: int) -> Iterator[Attacked]:
        """See `Attack.run`."""
        owner, suspect = victim.passport_claim, victim.suspect
        few = data.limited(min(self.images, data.train_labels.numel()), None)
        images = LabelledImages(few.train_pixels, few.train_labels, few.mean, few.std)
        places = find_layers(suspect, example_of(data, suspect), owner.layers)
        passport = singular_passport(suspect, places, images, self.energies, generator(seed, "signs to try"))
        yield Attacked(suspect, {"": claim_of_signs(owner.forged(passport=passport), suspect)})
