"""fake2 (Section IV-D, Table VII, Figures 12 and 15): scale and shift reverse-engineered with the training data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from ipr.attacks.ambiguity.searches import Search, forgeries, missing, protected_again
from ipr.attacks.base import Attack, Attacked, Fit, Victim, constant_rate, example_of, flipped
from ipr.config.recipe import Recipe
from ipr.config.registry import register
from ipr.data.images import ImageData
from ipr.judging.verdict import claim_of_signs
from ipr.passport.claim import PassportClaim
from ipr.passport.layer import Affine
from ipr.passport.presented import ScalesClaim
from ipr.randomness import generator
from ipr.signature import Signature, sign_loss


class ScaleSearch(Search):
    """Trains the scales and shifts of the passport layers themselves.

    Args:
        network: see `Search`.
        recipe: see `Scheme`.
        num_classes: see `Scheme`.
        start: what the scales start with, (C,) of each layer: signs, in the authors' code; shifts start at 0.
        signature: the signs to hold on to with the sign loss; None leaves them free.
        sign_loss_weight: its weight.
    """

    def __init__(
        self,
        network: nn.Module,
        recipe: Recipe,
        num_classes: int,
        *,
        start: Mapping[str, Tensor],
        signature: Signature | None = None,
        sign_loss_weight: float = 0.1,
    ) -> None:
        super().__init__(network, recipe, num_classes)
        names, self.signature, self.sign_loss_weight = self.names, signature, sign_loss_weight
        self.gamma = nn.ParameterList(start[name].to(torch.float32, copy=True) for name in names)
        self.beta = nn.ParameterList(torch.zeros(start[name].numel()) for name in names)
        bits = torch.cat([signature[name] for name in names]) if signature is not None else None
        self.register_buffer("bits", bits, persistent=False)

    def trained(self) -> list[nn.Parameter]:
        """Scales and shifts."""
        return [*self.gamma, *self.beta]

    def effective(self) -> list[Tensor]:
        """The scales that the network answers with, (C,) of each layer: those that are trained."""
        return list(self.gamma)

    def affines(self) -> dict[str, Affine]:
        """See `Search.affines`: the scales sought."""
        pairs = zip(self.names, self.effective(), self.beta, strict=True)
        return {name: (gamma[None], beta[None]) for name, gamma, beta in pairs}

    def regularisers(self, affines: Mapping[str, Affine]) -> dict[str, Tensor]:
        """The sign loss where signs are to be held."""
        if self.bits is None:
            return {}
        gamma = torch.cat([scale.squeeze(0) for scale, _ in affines.values()])
        held = sign_loss(gamma, self.get_buffer("bits"))
        return {"sign_loss": self.sign_loss_weight * held}

    def claimed(self, owner: PassportClaim) -> ScalesClaim:
        """See `Search.claimed`: the scales, with the signature that was held on to, else the owner's."""
        held = {} if self.signature is None else {"signature": self.signature, "text_bytes": 0}
        return owner.with_scales(self.scales(), **held)

    def scales(self) -> dict[str, Tensor]:
        """What was found, as a claim brings it: (2, C) per layer."""
        return {name: torch.cat(pair).detach().cpu().clone() for name, pair in self.affines().items()}


def _signs(like: Tensor, source: torch.Generator) -> Tensor:
    """Signs drawn at random, -1 or +1, of a shape."""
    return torch.randint(0, 2, like.shape, generator=source) * 2 - 1


@register("fake2")
@dataclass
class Fake2(Attack):
    """Scale and shift of the passport layers, trained from random signs with everything else frozen.

    The forger claims the signs that come out, and brings scales instead of a passport (`ScalesClaim`). Constants are
    the authors' code's: SGD 0.01, weight decay 5e-4, 100 epochs there. Deviations: running statistics are frozen too,
    as the suspect is what is judged; V2 and V3 start from random signs like V1, where that code starts from the public
    scales.
    """

    kind = "ambiguity"
    section = "IV-D, fake2"
    attacker_has = "the weights and the training data, not the passport"

    epochs: int = 100  # of the attacker's training
    lr: float = 0.01  # learning rate, constant
    weight_decay: float = 5e-4  # of SGD

    def run(self, victim: Victim, data: ImageData, fit: Fit, seed: int) -> Iterator[Attacked]:
        """See `Attack.run`."""
        source = generator(seed, "signs to start from")
        start = {name: _signs(bits, source) for name, bits in victim.passport_claim.signature.items()}
        example = example_of(data, victim.suspect)
        search = self._search(protected_again(victim, example), data, start, None)
        fit("fake2", search, epochs=self.epochs, clip_norm=None)
        yield Attacked(victim.suspect, {"": claim_of_signs(search.claimed(victim.passport_claim), victim.suspect)})

    def _search(
        self, network: nn.Module, data: ImageData, start: Signature, signature: Signature | None
    ) -> ScaleSearch:
        recipe = constant_rate(self.lr, self.weight_decay)
        return ScaleSearch(network, recipe, len(data.classes), start=start, signature=signature)


@register("fake2_signature")
@dataclass
class Fake2Signature(Fake2):
    """fake2 for a signature of the forger's choice, at a given dissimilarity to the owner's (Figure 15).

    The scales start from the forged signs, and the sign loss holds them there. All dissimilarities are trained side by
    side (`SideBySide`).
    """

    section = "IV-D, Figure 15"
    attacker_has = "the weights, the training data and the owner's signature, not the passport"
    fractions = ("dissimilarity",)

    # shares of the bits that differ
    dissimilarity: list[float] = field(default_factory=lambda: [0.0, 0.1, 0.25, 0.5, 1.0])

    def run(self, victim: Victim, data: ImageData, fit: Fit, seed: int) -> Iterator[Attacked]:
        """See `Attack.run`."""
        example, owner = example_of(data, victim.suspect), victim.passport_claim
        network, searches = protected_again(victim, example), {}
        for name, share in missing(self.dissimilarity, victim.judged).items():
            source = generator(seed, f"{share} of the signature")
            bits = flipped(owner.signature, share, source)
            start = {layer: torch.where(own == 0, _signs(own, source), own) for layer, own in bits.items()}
            searches[name] = self._search(network, data, start, bits)
        yield from forgeries(searches, victim, fit, self.name, example, epochs=self.epochs, clip_norm=None)
