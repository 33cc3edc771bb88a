"""fake3 (Section IV-D, Table VII, Figure 16): an insider makes another passport out of the genuine one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional

from ipr.attacks.base import Attack, Attacked, Fit, Victim, constant_rate, example_of, flipped, fractions, require
from ipr.data.images import ImageData
from ipr.passport.layer import Affine, passport_layers, patch_mean, presenting, scale_and_shift
from ipr.passport.surgery import Passport, protect
from ipr.randomness import generator
from ipr.schemes.base import Scheme
from ipr.schemes.recipe import Recipe
from ipr.signature import Signature, sign_loss


class PassportSearch(Scheme):
    """Trains a passport alone: keep the accuracy, spell a signature, get away from the genuine passport.

    Args:
        network: a protected network, presented with the genuine passport; frozen.
        recipe: see `Scheme`.
        num_classes: see `Scheme`.
        genuine: P.
        signature: the bits to spell.
        sign_loss_weight: weight of the sign loss (Eq. 6).
        source: draws the first step away from P.
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
    ) -> None:
        super().__init__(network, recipe, num_classes)
        network.requires_grad_(False)
        self.names, self.sign_loss_weight = list(passport_layers(network)), sign_loss_weight
        self.forged = nn.ParameterList(
            genuine[name] + 0.001 * torch.randn(genuine[name].shape, generator=source) for name in self.names
        )
        for i, name in enumerate(self.names):
            self.register_buffer(f"genuine_{i}", genuine[name], persistent=False)
        self.register_buffer("bits", torch.cat([signature[name] for name in self.names]), persistent=False)

    def on_train_epoch_start(self) -> None:
        """Keeps running statistics as they are."""
        self.network.eval()

    def trained(self) -> list[nn.Parameter]:
        """The passport."""
        return list(self.forged)

    def affines(self) -> dict[str, Affine]:
        """Eq. 4 for the forged passport."""
        layers = passport_layers(self.network)
        return {
            name: scale_and_shift(layers[name].conv.weight, patch_mean(maps, layers[name].conv).unsqueeze(0))
            for name, maps in zip(self.names, self.forged, strict=True)
        }

    def terms(self, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        """L_c, the sign loss, and the sum over layers of 1 / MSE(P', P), as in the authors' code."""
        affines = self.affines()
        with presenting(self.network, affines):
            logits = self.network(x)
        self.means.count(logits, y)
        gamma = torch.cat([affines[name][0][0] for name in self.names])
        distances = [functional.mse_loss(maps, self.get_buffer(f"genuine_{i}")) for i, maps in enumerate(self.forged)]
        return {
            "cross_entropy": functional.cross_entropy(logits, y),
            "sign_loss": self.sign_loss_weight * sign_loss(gamma, self.get_buffer("bits")),
            "closeness": torch.stack([1 / distance for distance in distances]).sum(),
        }

    def passport(self) -> dict[str, Tensor]:
        """What was found."""
        return {name: maps.detach().cpu().clone() for name, maps in zip(self.names, self.forged, strict=True)}


@dataclass
class Fake3(Attack):
    """A passport as far from the genuine one as the accuracy allows, for a signature that differs in a given share.

    Constants are the authors' code's: SGD 0.01, weight decay 5e-4, gradients clipped to 2, 100 epochs there.
    """

    kind = "ambiguity"
    section = "IV-D, fake3"
    attacker_has = "the weights, the training data, the genuine passport and the signature (an insider)"

    # shares of the bits that differ from the owner's
    dissimilarity: list[float] = field(default_factory=lambda: [0.0, 0.1, 0.5, 1.0])
    epochs: int = 100  # of the attacker's training
    lr: float = 0.01  # learning rate, constant
    weight_decay: float = 5e-4  # of SGD
    clip_norm: float = 2.0  # largest norm of a gradient
    sign_loss_weight: float = 0.1  # how much the forged signs count in the loss

    def check(self, scheme: str) -> None:
        """See `Attack.check`."""
        super().check(scheme)
        fractions("dissimilarity", self.dissimilarity)
        require(self.epochs >= 1, "epochs", self.epochs, "give e.g. 100")
        require(self.lr > 0, "lr", self.lr, "give e.g. 0.01")
        require(self.clip_norm > 0, "clip_norm", self.clip_norm, "give e.g. 2")

    def run(self, victim: Victim, data: ImageData, fit: Fit, seed: int) -> Iterator[Attacked]:
        """See `Attack.run`."""
        claim = victim.passport_claim
        for share in self.dissimilarity:
            bits = flipped(claim.signature, share, generator(seed, f"{share} of the signature"))
            search = PassportSearch(
                protect(victim.suspect, claim.passport, example_of(data, victim.suspect), public_affine=True),
                constant_rate(self.lr, self.weight_decay),
                len(data.classes),
                genuine=claim.passport,
                signature=bits,
                sign_loss_weight=self.sign_loss_weight,
                source=generator(seed, f"first step for {share}"),
            )
            fit(f"dissimilarity-{share:g}", search, epochs=self.epochs, clip_norm=self.clip_norm)
            forged = claim.forged(passport=search.passport(), signature=bits, text_bytes=0)
            yield Attacked(victim.suspect, {f"dissimilarity={share:g}": forged})
