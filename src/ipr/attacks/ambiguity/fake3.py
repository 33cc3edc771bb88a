"""fake3 (Section IV-D, Table VII, Figure 16): an insider makes another passport out of the genuine one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional

from ipr.attacks.ambiguity.searches import Search, forgeries, missing, protected_again
from ipr.attacks.base import Attack, Attacked, Fit, Victim, constant_rate, example_of, flipped
from ipr.config.recipe import Recipe
from ipr.config.registry import register
from ipr.data.images import ImageData
from ipr.passport.accessory import AccessoryClaim
from ipr.passport.claim import PassportClaim
from ipr.passport.layer import Affine, patch_mean, scale_and_shift
from ipr.passport.surgery import Passport
from ipr.randomness import generator
from ipr.signature import Signature, sign_loss


class PassportSearch(Search):
    """Trains a passport: keep the accuracy, spell a signature, get away from the genuine passport.

    Args:
        network: see `Search`.
        recipe: see `Scheme`.
        num_classes: see `Scheme`.
        genuine: P.
        signature: the bits to spell.
        sign_loss_weight: weight of the sign loss (Eq. 6).
        source: draws the first step away from P.
        keeps: the owner's claim, whose accessory the forged passport's scales pass through, too; None where it has
            none.
    """

    def __init__(
        self,
        network: nn.Module,
        recipe: Recipe,
        num_classes: int,
        *,
        genuine: Passport,
        signature: Signature,
        sign_loss_weight: float,
        source: torch.Generator,
        keeps: AccessoryClaim | None = None,
    ) -> None:
        super().__init__(network, recipe, num_classes)
        self.signature, self.sign_loss_weight, self.keeps = signature, sign_loss_weight, keeps
        self.forged = nn.ParameterList(
            genuine[name] + 0.001 * torch.randn(genuine[name].shape, generator=source) for name in self.names
        )
        for i, name in enumerate(self.names):
            self.register_buffer(f"genuine_{i}", genuine[name], persistent=False)
        self.register_buffer("bits", torch.cat([signature[name] for name in self.names]), persistent=False)

    def trained(self) -> list[nn.Parameter]:
        """The passport."""
        return list(self.forged)

    def affines(self) -> dict[str, Affine]:
        """Eq. 4 for the forged passport, and what the owner's accessory makes of it."""
        own = self.own()
        return own if self.keeps is None else {name: self.keeps.presents(name, pair) for name, pair in own.items()}

    def own(self) -> dict[str, Affine]:
        """Eq. 4 for the forged passport."""
        convolutions = [layer.conv for layer in self.layers.values()]
        return {
            name: scale_and_shift(conv.weight, patch_mean(maps, conv).unsqueeze(0))
            for name, conv, maps in zip(self.names, convolutions, self.forged, strict=True)
        }

    def regularisers(self, affines: Mapping[str, Affine]) -> dict[str, Tensor]:
        """The sign loss, and the sum over layers of 1 / MSE(P', P), as in the authors' code."""
        scales = {name: pair[0] for name, pair in affines.items()}
        if self.keeps is not None:
            scales = {name: self.keeps.reads(name, pair[0]) for name, pair in self.own().items()}
        gamma = torch.cat([scales[name][0] for name in self.names])
        distances = [functional.mse_loss(maps, self.get_buffer(f"genuine_{i}")) for i, maps in enumerate(self.forged)]
        return {
            "sign_loss": self.sign_loss_weight * sign_loss(gamma, self.get_buffer("bits")),
            "closeness": torch.stack([1 / distance for distance in distances]).sum(),
        }

    def claimed(self, owner: PassportClaim) -> PassportClaim:
        """See `Search.claimed`: the passport, with the signature that it was to spell."""
        found = {name: maps.detach().cpu().clone() for name, maps in zip(self.names, self.forged, strict=True)}
        return owner.insiders(passport=found, signature=self.signature, text_bytes=0)


@register("fake3")
@dataclass
class Fake3(Attack):
    """A passport as far from the genuine one as the accuracy allows, for a signature that differs in a given share.

    Constants are the authors' code's: SGD 0.01, weight decay 5e-4, gradients clipped to 2, 100 epochs there. All
    dissimilarities are trained side by side (`SideBySide`).
    """

    kind = "ambiguity"
    section = "IV-D, fake3"
    attacker_has = "the weights, the training data, the genuine passport and the signature (an insider)"
    fractions = ("dissimilarity",)

    # shares of the bits that differ from the owner's
    dissimilarity: list[float] = field(default_factory=lambda: [0.0, 0.1, 0.5, 1.0])
    epochs: int = 100  # of the attacker's training
    lr: float = 0.01  # learning rate, constant
    weight_decay: float = 5e-4  # of SGD
    clip_norm: float = 2.0  # largest norm of a gradient
    sign_loss_weight: float = 0.1  # how much the forged signs count in the loss

    def run(self, victim: Victim, data: ImageData, fit: Fit, seed: int) -> Iterator[Attacked]:
        """See `Attack.run`."""
        example, owner = example_of(data, victim.suspect), victim.passport_claim
        network, searches = protected_again(victim, example), {}
        for name, share in missing(self.dissimilarity, victim.judged).items():
            bits = flipped(owner.signature, share, generator(seed, f"{share} of the signature"))
            searches[name] = PassportSearch(
                network,
                constant_rate(self.lr, self.weight_decay),
                len(data.classes),
                genuine=owner.passport,
                signature=bits,
                sign_loss_weight=self.sign_loss_weight,
                source=generator(seed, f"first step for {share}"),
                keeps=owner if isinstance(owner, AccessoryClaim) else None,
            )
        yield from forgeries(searches, victim, fit, self.name, example, epochs=self.epochs, clip_norm=self.clip_norm)
