"""fake2 (Section IV-D, Table VII, Figures 12 and 15): scale and shift reverse-engineered with the training data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional

from ipr.attacks.base import Attack, Attacked, Fit, Victim, constant_rate, example_of, flipped, fractions, require
from ipr.data.images import ImageData
from ipr.passport.layer import passport_layers, presenting
from ipr.passport.surgery import protect
from ipr.randomness import generator
from ipr.schemes.base import Scheme
from ipr.schemes.recipe import Recipe
from ipr.signature import Signature, sign_loss
from ipr.verification.verdict import claim_of_signs


class ScaleSearch(Scheme):
    """Trains the scales and shifts of the passport layers alone; the network, statistics included, stays frozen.

    Args:
        network: a protected network.
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
        network.requires_grad_(False)
        names = list(passport_layers(network))
        self.names, self.sign_loss_weight = names, sign_loss_weight
        self.gamma = nn.ParameterList(start[name].to(torch.float32, copy=True) for name in names)
        self.beta = nn.ParameterList(torch.zeros(start[name].numel()) for name in names)
        bits = torch.cat([signature[name] for name in names]) if signature is not None else None
        self.register_buffer("bits", bits, persistent=False)

    def on_train_epoch_start(self) -> None:
        """Keeps running statistics as they are."""
        self.network.eval()

    def trained(self) -> list[nn.Parameter]:
        """Scales and shifts."""
        return [*self.gamma, *self.beta]

    def effective(self) -> list[Tensor]:
        """The scales that the network answers with, (C,) of each layer: those that are trained."""
        return list(self.gamma)

    def terms(self, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        """L_c with the scales sought, and the sign loss where signs are to be held."""
        affines = {n: (g[None], b[None]) for n, g, b in zip(self.names, self.effective(), self.beta, strict=True)}
        with presenting(self.network, affines):
            logits = self.network(x)
        self.means.count(logits, y)
        loss = {"cross_entropy": functional.cross_entropy(logits, y)}
        if self.bits is not None:
            loss["sign_loss"] = self.sign_loss_weight * sign_loss(torch.cat(list(self.gamma)), self.get_buffer("bits"))
        return loss

    def scales(self) -> dict[str, Tensor]:
        """What was found, as a claim brings it: (2, C) per layer."""
        pairs = zip(self.names, self.effective(), self.beta, strict=True)
        return {name: torch.stack([gamma, beta]).detach().cpu().clone() for name, gamma, beta in pairs}


@dataclass
class Fake2(Attack):
    """Scale and shift of the passport layers, trained from random signs with everything else frozen.

    The forger claims the signs that come out, and brings scales instead of a passport (`Claim.scales`). Constants are
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

    def check(self, scheme: str) -> None:
        """See `Attack.check`."""
        super().check(scheme)
        require(self.epochs >= 1, "epochs", self.epochs, "give e.g. 100")
        require(self.lr > 0, "lr", self.lr, "give e.g. 0.01")

    def run(self, victim: Victim, data: ImageData, fit: Fit, seed: int) -> Iterator[Attacked]:
        """See `Attack.run`."""
        source = generator(seed, "signs to start from")
        start = {
            name: torch.randint(0, 2, bits.shape, generator=source) * 2 - 1
            for name, bits in victim.passport_claim.signature.items()
        }
        scales = self._search(victim, data, fit, "fake2", start, None)
        forged = victim.passport_claim.forged(passport={}, scales=scales)
        yield Attacked(victim.suspect, {"": claim_of_signs(forged, victim.suspect)})

    def _search(
        self, victim: Victim, data: ImageData, fit: Fit, name: str, start: Signature, signature: Signature | None
    ) -> dict[str, Tensor]:
        claim = victim.passport_claim
        protected = protect(victim.suspect, claim.passport, example_of(data, victim.suspect), public_affine=True)
        search = ScaleSearch(
            protected, constant_rate(self.lr, self.weight_decay), len(data.classes), start=start, signature=signature
        )
        fit(name, search, epochs=self.epochs, clip_norm=None)
        return search.scales()


@dataclass
class Fake2Signature(Fake2):
    """fake2 for a signature of the forger's choice, at a given dissimilarity to the owner's (Figure 15).

    The scales start from the forged signs, and the sign loss holds them there.
    """

    section = "IV-D, Figure 15"
    attacker_has = "the weights, the training data and the owner's signature, not the passport"

    # shares of the bits that differ
    dissimilarity: list[float] = field(default_factory=lambda: [0.0, 0.1, 0.25, 0.5, 1.0])

    def check(self, scheme: str) -> None:
        """See `Attack.check`."""
        super().check(scheme)
        fractions("dissimilarity", self.dissimilarity)

    def run(self, victim: Victim, data: ImageData, fit: Fit, seed: int) -> Iterator[Attacked]:
        """See `Attack.run`."""
        for share in self.dissimilarity:
            bits = flipped(victim.passport_claim.signature, share, generator(seed, f"{share} of the signature"))
            scales = self._search(victim, data, fit, f"dissimilarity-{share:g}", bits, bits)
            forged = victim.passport_claim.forged(passport={}, scales=scales, signature=bits, text_bytes=0)
            yield Attacked(victim.suspect, {f"dissimilarity={share:g}": forged})
