"""What an attack is given and what it brings about."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar, Literal, Protocol

import torch
from torch import Tensor, nn

from ipr.claims.base import Claim
from ipr.config.ranges import check_numbers
from ipr.config.recipe import Recipe
from ipr.config.registry import load_all
from ipr.config.schema import ModelConfig
from ipr.data.images import ImageData, normalise
from ipr.errors import InputError
from ipr.models.channels import Symmetry, symmetry
from ipr.passport.claim import PassportClaim
from ipr.passport.layer import Branch
from ipr.passport.surgery import protect, strip
from ipr.schemes.base import Scheme, abouts

READ_FROM_WEIGHTS = ("passport", "adapter", "projection")
"""Families of schemes whose mark is read from weights or activations, not from answers."""

EMBEDDING = (*READ_FROM_WEIGHTS, "key images")
"""Families of schemes that embed something."""

CLAIMED = (*EMBEDDING, "fingerprint")
"""Families of schemes whose owner has a claim: those that embed something, and fingerprints."""


def schemes_of(*wanted: str) -> tuple[str, ...]:
    """The schemes of some families, in the order of their table."""
    return tuple(name for name, about in abouts().items() if about.family in wanted)


class Applicable:
    """What has to do with some schemes only: attacks and exhibits.

    Attributes:
        families: the families of schemes that it applies to: `none`, `passport`, `adapter`, `projection`, `key images`
            or `fingerprint`.
        claims: of these families no more than the schemes with such claims; None for all.
        needs: why it applies to no other.
        fractions: the fields that are lists of fractions, of which there must be one at least.
        group: what it is chosen by, `attack` or `exhibit`; stands before its fields in an error.
        refuses: what it says of a scheme that it does not apply to.
    """

    name: str

    families: ClassVar[tuple[str, ...]] = ("passport",)
    claims: ClassVar[type[Claim] | None] = None
    needs: ClassVar[str] = "the scheme has no passport"
    fractions: ClassVar[tuple[str, ...]] = ()
    group: ClassVar[str]
    refuses: ClassVar[str]

    @classmethod
    def applies_to(cls, scheme: type[Scheme]) -> bool:
        """Whether it applies to a scheme."""
        return scheme.about.family in cls.families and (
            cls.claims is None or (scheme.claim_kind is not None and issubclass(scheme.claim_kind, cls.claims))
        )

    @classmethod
    def schemes(cls) -> tuple[str, ...]:
        """The schemes that it applies to, of whichever package."""
        return tuple(name for name, scheme in load_all("scheme").items() if cls.applies_to(scheme))

    @classmethod
    def inapplicable(cls, scheme: str) -> str | None:
        """Why it does not apply to a scheme; None where it does."""
        if scheme in cls.schemes():
            return None
        return "nothing is embedded in it" if scheme in schemes_of("none") else cls.needs

    def check(self, scheme: str) -> None:
        """Refuses a scheme that it does not apply to, and settings out of range.

        Raises:
            InputError: naming the field.
        """
        if reason := self.inapplicable(scheme):
            what = f"{self.refuses} scheme={scheme}, because {reason}"
            raise InputError(self.group, self.name, what, f"choose among: {', '.join(self.schemes())}")
        check_numbers(self, f"{self.group}.")
        for field in self.fractions:
            self.require(bool(getattr(self, field)), field, "give fractions from 0 to 1, e.g. [0.1,0.5]")

    def require(self, condition: bool, field: str, remedy: str) -> None:
        """Raises the one-line error for a setting out of range."""
        if not condition:
            raise InputError(f"{self.group}.{field}", getattr(self, field), "is out of range", remedy)


@dataclass(frozen=True)
class Victim:
    """A trained run under attack.

    Attributes:
        suspect: the plain network with the weights that were given away; an attack copies it and never changes it.
        claim: the owner's; None for a baseline. Each attack says what of it its attacker has.
        locked: whether the weights that were given away lack the passport's scales (V1, `Scheme.locked`).
        judged: the points that were judged before an interruption; an attack may leave them out.
        start: makes the plain network that training began with, which few attackers know; None where it is not kept.
        model: what the network is, for whoever builds another one like it; None where it is not told.
    """

    suspect: nn.Module
    claim: Claim | None
    locked: bool = False
    judged: frozenset[str] = frozenset()
    start: Callable[[], nn.Module] | None = None
    model: ModelConfig | None = None

    @property
    def passport_claim(self) -> PassportClaim:
        """The owner's claim, of a passport scheme: `Attack.families` sees to it."""
        assert isinstance(self.claim, PassportClaim)
        return self.claim

    def in_use(self, example: Tensor) -> nn.Module:
        """The network as whoever uses it holds it: with the distributed passport folded in (V1), else as it is."""
        if not self.locked:
            return self.suspect
        return strip(protect(self.suspect, self.passport_claim.passport, example, public_affine=True), Branch.PRIVATE)

    def held(self, example: Tensor) -> dict[str, nn.Module]:
        """Every network that an attacker holds, by its point: the one in use; for V1 also the file given away."""
        found = {"": self.in_use(example)}
        return found | {"file=locked": self.suspect} if self.locked else found


@dataclass(frozen=True)
class Attacked:
    """One suspect and the claims to judge on it, together.

    Attributes:
        suspect: a plain network.
        claims: what tells the point of the attack's curve (`rate=0.6`) -> the claim; None for a baseline.
        freed: whether the suspect's own scales at the protected layers are what is left of the passport's, so that the
            signature is read from them too (V1, whose passport was folded in before it was trained on).
        iterations: steps of a forgery that has no epochs.
        trainings: how many were trained side by side, one for each claim, which cost it its share.
    """

    suspect: nn.Module
    claims: Mapping[str, Claim | None]
    freed: bool = False
    iterations: int | None = None
    trainings: int = 1


class Fit(Protocol):
    """Trains what an attack trains: with progress, checkpoints, and the attack's own epochs."""

    def __call__(
        self,
        name: str,
        scheme: Scheme,
        *,
        epochs: int,
        clip_norm: float | None,
        share: int | None = None,
        alone: bool = False,
    ) -> None:
        """Trains the scheme's network in place, or restores what an earlier call of this name left.

        `share` is how many of the training images are used (`ImageData.share`); None for all. `alone` says that nothing
        of the victim goes in but its architecture: then what was trained beside another victim is restored, too.
        """


@dataclass
class Attack(Applicable, ABC):
    """An attack and its settings; the fields are what `attack.FIELD=...` sets.

    Attributes:
        kind: `removal` or `ambiguity`.
        section: where the paper describes it.
        attacker_has: the threat model.
        other_task: what it does with images of another task than the victim's (`transfer`): they are refused; learned
            from, so that the outcome is judged on that task; or asked about, their labels unused.
        dated: whether its forged claims can be committed to before the suspect is released, as nothing of them follows
            from it, or as their claimant releases it himself.
        drawn: whether these are drawn from a key, as an owner's are.
        served: whether its suspect is a service, which a judge can ask and not open.
        undone: whether a judge who has the network that was committed to can undo it (`judging/alignment.py`): every
            point is judged again, aligned to the victim.
    """

    group, refuses = "attack", "does not apply to"

    name: str = "???"  # set by attack=NAME

    kind: ClassVar[str]
    section: ClassVar[str]
    attacker_has: ClassVar[str]
    other_task: ClassVar[Literal["refused", "learned", "asked"]] = "refused"
    dated: ClassVar[bool] = False
    drawn: ClassVar[bool] = False
    served: ClassVar[bool] = False
    undone: ClassVar[bool] = False

    def identity(self) -> dict[str, Any]:
        """What determines its result besides victim, images and seed: all settings, for JSON."""
        return asdict(self)

    @abstractmethod
    def run(self, victim: Victim, data: ImageData, fit: Fit, seed: int) -> Iterator[Attacked]:
        """Carries the attack out, one suspect at a time.

        Args:
            victim: what is attacked; left as it was.
            data: the images that the attacker has, and what the outcome is judged on.
            fit: trains.
            seed: everything random follows from it.
        """


def example_of(data: ImageData, network: nn.Module) -> Tensor:
    """One normalised image, (1, channels, H, W), on the network's device."""
    return normalise(data.train_pixels[:1].to(next(network.parameters()).device), data.mean, data.std)


def freedom_of(network: nn.Module, example: Tensor) -> Symmetry:
    """What may be done to a network without changing its answers.

    Raises:
        InputError: nothing, as its channels cannot be followed.
    """
    found = symmetry(network, example)
    if not found.free:
        why = next((channels.pinned for channels in found.sets[1:]), "it has no layers")
        name = type(network).__name__
        raise InputError("model.name", name, f"its channels cannot be moved ({why})", "choose a convolutional network")
    return found


def constant_rate(lr: float, weight_decay: float) -> Recipe:
    """SGD as the authors' attacks use it: momentum 0.9 and a rate that stays."""
    return Recipe(lr, 0.9, weight_decay, "constant", 0.0, None)


def flipped(signature: Mapping[str, Tensor], fraction: float, source: torch.Generator) -> dict[str, Tensor]:
    """A signature with a fraction of all its bits inverted, chosen at random over all layers."""
    sizes = [bits.numel() for bits in signature.values()]
    bits = torch.cat(list(signature.values())).clone()
    signed = bits.nonzero().squeeze(1)
    chosen = torch.randperm(signed.numel(), generator=source)[: round(fraction * signed.numel())]
    bits[signed[chosen]] *= -1
    return dict(zip(signature, bits.split(sizes), strict=True))
