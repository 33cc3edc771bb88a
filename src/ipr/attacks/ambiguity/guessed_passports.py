"""Passports that whoever holds the weights can guess (`passport/guesses.py`), claimed with what they spell."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field

from ipr.attacks.base import Applicable, Attack, Attacked, Fit, Victim, example_of
from ipr.config.registry import register
from ipr.data.images import ImageData, LabelledImages, normalise
from ipr.errors import InputError
from ipr.judging.verdict import claim_of_signs
from ipr.models.inspection import device_of
from ipr.passport.generate import random_passport, with_energy
from ipr.passport.guesses import SIGNS, lifted_passport, ones_passport, positive_passport, singular_passport
from ipr.passport.lift import public_scales
from ipr.passport.nonnegative import lift_natural, lift_positive
from ipr.passport.surgery import ConvNorm, Passport, find_layers
from ipr.randomness import generator
from ipr.schemes.base import Scheme


@dataclass
class GuessPassports(Attack):
    """Guesses passports; each is claimed with the signature that it spells, as a point of its own."""

    kind = "ambiguity"
    section = "none (this project)"
    attacker_has = "the weights and the places of the passport layers"

    @abstractmethod
    def guesses(self, victim: Victim, layers: list[ConvNorm], data: ImageData, seed: int) -> dict[str, Passport]:
        """The passports by their points.

        Args:
            victim: see `Attack.run`.
            layers: its protected layers.
            data: see `Attack.run`, as `seed`.
            seed: see there.
        """

    def run(self, victim: Victim, data: ImageData, fit: Fit, seed: int) -> Iterator[Attacked]:
        """See `Attack.run`."""
        owner, suspect = victim.passport_claim, victim.suspect
        layers = find_layers(suspect, example_of(data, suspect), owner.layers)
        guessed = self.guesses(victim, layers, data, seed)
        claims = {
            point: claim_of_signs(owner.forged(passport=passport), suspect) for point, passport in guessed.items()
        }
        yield Attacked(suspect, claims)


@dataclass
class GuessAtEnergies(GuessPassports):
    """Guesses passports of several energies |S|."""

    energies: list[float] = field(default_factory=lambda: [1.0, 3.0, 10.0, 30.0])  # lengths |S| that are tried

    def check(self, scheme: str) -> None:
        """See `Attack.check`."""
        super().check(scheme)
        self.require(bool(self.energies), "energies", "give numbers above 0, e.g. [3,30]")


@register("ones")
@dataclass
class Ones(GuessAtEnergies):
    """Constant passports of both signs at several energies, and uniform ones in [0, 1], each a point of its own.

    A passport of feature maps (`image`, `shuffled`) is not negative, so its mean patch lies near the constant one. Each
    is claimed with the signature that it spells, which may be the owner's own: then it is no ambiguity, but it opens a
    V1 network.
    """

    noise: int = 3  # how many uniform ones in [0, 1] are tried, too

    def guesses(self, victim: Victim, layers: list[ConvNorm], data: ImageData, seed: int) -> dict[str, Passport]:
        """See `GuessPassports.guesses`."""
        source = generator(seed, "positive passports")
        guessed = {f"signs={named(signs)}": ones_passport(layers, signs) for signs in SIGNS}
        guessed |= {f"noise={i}": positive_passport(layers, source) for i in range(self.noise)}
        return {
            f"{name} energy={energy:g}": with_energy(passport, victim.suspect, energy)
            for name, passport in guessed.items()
            for energy in self.energies
        }


def named(signs: tuple[int, int]) -> str:
    """`+-` for the signs 1 and -1."""
    return "".join("+" if sign > 0 else "-" for sign in signs)


@register("singular_vectors")
@dataclass
class SingularVectors(GuessAtEnergies):
    """S along the strongest right singular vectors of each protected convolution (`passport/guesses.py`).

    Training writes the rank-one matrix gamma S^T / |S|^2 into the filters, which shows while |S| is small
    (`passport.energy`). A few images decide on vectors, signs and magnitudes; the passport of least norm with these
    mean patches is claimed, with the signature that it spells.
    """

    attacker_has = "the weights, the places of the passport layers and a few images; with known_start the start, too"

    images: int = 60  # training images that choose among them
    vectors: int | None = 2  # how many of a layer's strongest are tried; null for all
    known_start: bool = False  # of W less what training began with: public weights, or those of a known seed

    def guesses(self, victim: Victim, layers: list[ConvNorm], data: ImageData, seed: int) -> dict[str, Passport]:
        """See `GuessPassports.guesses`.

        Raises:
            InputError: nobody can know what this victim's training began with.
        """
        if self.known_start and victim.start is None:
            problem = "has nothing to go by, as what this network's training began with is not kept"
            raise InputError("attack.known_start", self.known_start, problem, "leave it false")
        few = data.limited(min(self.images, data.train_labels.numel()), None)
        images = LabelledImages(few.train_pixels, few.train_labels, few.mean, few.std)
        start = victim.start() if self.known_start and victim.start is not None else None
        source = generator(seed, "signs to try")
        found = singular_passport(
            victim.suspect, layers, images, self.energies, source, start=start, count=self.vectors
        )
        return {"": found}


class GivesScales(Applicable):
    """What starts from the scales that norms are given away with, so that it applies to V2 and V3 alone."""

    needs = "no scale or shift is given away with its protected layers"

    @classmethod
    def applies_to(cls, scheme: type[Scheme]) -> bool:
        """See `Applicable.applies_to`: to those that give scales away."""
        return super().applies_to(scheme) and not scheme.locked


@register("lift_passport")
@dataclass
class LiftPassport(GivesScales, GuessPassports):
    """The passport whose scale and shift are those that the norms were given away with: one linear solve a layer.

    Presented, it changes nothing where the solve is exact (`passport/lift.py`), so it has the public accuracy. Of many
    such passports it is the one nearest to a random one: the shortest would be 0 where a public shift is, and refused.
    Two points more are not negative, as feature maps are: `lift=positive` any maps like that, `lift=natural` the sum of
    feature maps of the forger's images that comes nearest (`passport/nonnegative.py`). Each is claimed with the
    signature that it spells.
    """

    attacker_has = "the weights and the places of the passport layers; for lift=natural some images, too"

    images: int = 500  # at most so many training images are summed, without labels

    def guesses(self, victim: Victim, layers: list[ConvNorm], data: ImageData, seed: int) -> dict[str, Passport]:
        """See `GuessPassports.guesses`."""
        suspect = victim.suspect
        scales = public_scales(suspect, layers)
        start = with_energy(random_passport(layers, generator(seed, "lift")), suspect, 1.0)
        few = data.limited(min(self.images, data.train_labels.numel()), None)
        images = normalise(few.train_pixels.to(device_of(suspect)), data.mean, data.std)
        natural = lift_natural(scales, suspect, layers, images)
        guessed: dict[str, Passport] = {
            "": lifted_passport(scales, suspect, layers, start),
            "lift=positive": lift_positive(scales, suspect, layers).passport,
        }
        return guessed if natural is None else guessed | {"lift=natural": natural.passport}
