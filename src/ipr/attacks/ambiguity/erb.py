"""Scales and shifts trained on a share of the images and lifted to a passport: with an accessory block, or without.

The attack is Chen et al.'s (CVPR 2023, 2303.11595), whose family later papers call ERB. It ends with scales; a judge
asks for a passport, and gets one (`passport/lift.py`), or one that is not negative, as feature maps are
(`passport/nonnegative.py`).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from ipr.attacks.ambiguity.accessory_blocks import BLOCKS
from ipr.attacks.ambiguity.fake2 import ScaleSearch
from ipr.attacks.ambiguity.searches import SideBySide
from ipr.attacks.base import Attack, Attacked, Fit, Victim, constant_rate, example_of
from ipr.claims.base import Claim
from ipr.config.recipe import Recipe
from ipr.config.registry import register
from ipr.data.images import ImageData, normalise
from ipr.judging.verdict import claim_of_signs
from ipr.models.inspection import device_of
from ipr.passport.claim import PassportClaim
from ipr.passport.lift import Lifted, lift
from ipr.passport.nonnegative import lift_natural, lift_positive
from ipr.passport.surgery import ConvNorm, Passport, find_layers, protect
from ipr.randomness import derive_seed, drawing, generator
from ipr.signature import Signature, draw_signature

STARTS = ("ones", "row_sums")
LIFTS = ("any", "positive", "natural")


class BlockSearch(ScaleSearch):
    """`ScaleSearch` whose scales come out of a block each (`accessory_blocks.py`).

    Args:
        network: a protected network.
        recipe: see `Scheme`.
        num_classes: see `Scheme`.
        block: makes one for each layer, of its number of channels.
        seed: draws the blocks' first weights.
        shared: see `ScaleSearch`.
    """

    def __init__(
        self,
        network: nn.Module,
        recipe: Recipe,
        num_classes: int,
        *,
        block: type[nn.Module],
        seed: int,
        **shared: Any,
    ) -> None:
        super().__init__(network, recipe, num_classes, **shared)
        with drawing(derive_seed(seed, "accessory blocks")):
            self.blocks = nn.ModuleList(block(gamma.numel()) for gamma in self.gamma)

    def trained(self) -> list[nn.Parameter]:
        """Scales, shifts and blocks."""
        return [*super().trained(), *self.blocks.parameters()]

    def effective(self) -> list[Tensor]:
        """What the blocks make of the scales."""
        return [block(gamma) for block, gamma in zip(self.blocks, self.gamma, strict=True)]


def row_sums(network: nn.Module, layers: Sequence[ConvNorm]) -> dict[str, Tensor]:
    """The sums of the filters, with a mean square of 1 in each layer; layer -> (C,). So are the scales of ones."""
    sums = {}
    for layer in layers:
        total = network.get_submodule(layer.conv).get_parameter("weight").detach().flatten(1).sum(1).cpu()
        sums[layer.conv] = total / total.square().mean().sqrt().clamp(min=1e-30)
    return sums


@dataclass
class TrainedScales(Attack):
    """Scales and shifts of the passport layers, trained with all else frozen, then lifted to passports.

    Blocks are trained side by side, one share after the other. `epochs` are as long as passes over all images: a share
    of them is gone through so many times more often. Chen et al. give neither optimiser nor rate nor epochs.
    """

    kind = "ambiguity"
    section = "none (Chen et al., CVPR 2023)"
    attacker_has = "the weights and a share of the training images"

    # shares of the training images that the forger has
    share: list[float] = field(default_factory=lambda: [0.02, 0.05, 0.1, 1.0])
    block: list[str] = field(default_factory=lambda: list(BLOCKS))  # plain | cerb | ierb: what scales come out of
    lift: list[str] = field(
        default_factory=lambda: list(LIFTS)
    )  # any | positive: not negative | natural: a sum of feature maps
    images: int = 500  # whose feature maps are summed, at most
    start: str = "ones"  # ones | row_sums
    epochs: int = 20  # of the attacker's training
    lr: float = 0.01  # learning rate, constant
    weight_decay: float = 5e-4  # of SGD

    def check(self, scheme: str) -> None:
        """See `Attack.check`."""
        super().check(scheme)
        self.require(bool(self.share), "share", "give fractions above 0 and up to 1, e.g. [0.02,0.1]")
        for name, known in (("block", BLOCKS), ("lift", LIFTS)):
            given = getattr(self, name)
            self.require(bool(given) and {*given} <= {*known}, name, f"choose among: {', '.join(known)}")
        self.require(self.start in STARTS, "start", "choose ones or row_sums")

    def run(self, victim: Victim, data: ImageData, fit: Fit, seed: int) -> Iterator[Attacked]:
        """See `Attack.run`."""
        suspect, example = victim.suspect, example_of(data, victim.suspect)
        layers = find_layers(suspect, example, victim.passport_claim.layers)
        signature = self.signature_for(victim.passport_claim, layers, seed)
        for share in self.share:
            wanted = [block for block in self.block if not self._points(block, share) <= victim.judged]
            if not wanted:
                continue
            searches = self._searches(wanted, victim, layers, data, signature, seed)
            together = next(iter(searches.values())) if len(searches) == 1 else SideBySide(searches, example)
            known = None if share == 1 else max(1, round(share * data.train_labels.numel()))
            name = "-".join([*wanted, f"{share:g}"])
            fit(name, together, epochs=self.epochs, clip_norm=None, share=known)
            few = data.limited(min(self.images, known or data.train_labels.numel()), None)
            images = normalise(few.train_pixels.to(device_of(suspect)), data.mean, data.std)
            claims: dict[str, Claim | None] = {}
            for block, search in searches.items():
                for how in self.lift:
                    lifted = _lifted(how, search.scales(), suspect, layers, images)
                    if lifted is not None:
                        claims[_point(block, share, how)] = self.claimed(victim, lifted.passport, signature)
            yield Attacked(suspect, claims, trainings=len(searches))

    @abstractmethod
    def signature_for(self, owner: PassportClaim, layers: Sequence[ConvNorm], seed: int) -> Signature | None:
        """The signature that is trained towards; None for none."""

    @abstractmethod
    def claimed(self, victim: Victim, passport: Passport, signature: Signature | None) -> Claim:
        """The claim that brings a passport."""

    def weight_of_signs(self) -> float:
        """What the sign loss counts where there is a signature."""
        return 0.0

    def _searches(
        self,
        blocks: Sequence[str],
        victim: Victim,
        layers: Sequence[ConvNorm],
        data: ImageData,
        signature: Signature | None,
        seed: int,
    ) -> dict[str, ScaleSearch]:
        """The searches of one share, by block, over one protected network."""
        blank = {layer.conv: torch.zeros(2, *layer.input_shape) for layer in layers}
        start = {layer.conv: torch.ones(layer.channels) for layer in layers}
        if self.start == "row_sums":
            start = row_sums(victim.suspect, layers)
        network = protect(victim.suspect, blank, example_of(data, victim.suspect), public_affine=True)
        recipe, classes = constant_rate(self.lr, self.weight_decay), len(data.classes)
        shared: Any = {"start": start, "signature": signature, "sign_loss_weight": self.weight_of_signs()}
        found: dict[str, ScaleSearch] = {}
        for name in blocks:
            kind = BLOCKS[name]
            if kind is None:
                found[name] = ScaleSearch(network, recipe, classes, **shared)
            else:
                found[name] = BlockSearch(network, recipe, classes, block=kind, seed=seed, **shared)
        return found

    def _points(self, block: str, share: float) -> set[str]:
        return {_point(block, share, how) for how in self.lift}


def _lifted(
    how: str, scales: Mapping[str, Tensor], suspect: nn.Module, layers: Sequence[ConvNorm], images: Tensor
) -> Lifted | None:
    if how == "any":
        return lift(scales, suspect, layers)
    if how == "positive":
        return lift_positive(scales, suspect, layers)
    return lift_natural(scales, suspect, layers, images)


def _point(block: str, share: float, how: str) -> str:
    """Where on the attack's curve: what is lifted to any passport has a point of its own without further words."""
    return f"block={block} share={share:g}" + ("" if how == "any" else f" lift={how}")


@register("erb")
@dataclass
class Erb(TrainedScales):
    """Scales trained by cross-entropy alone, plain or with an accessory block, and lifted; signs are what comes out.

    Starts from scales of 1, or from the sums of the filters' rows: the scales of a passport of ones. Of V2 and V3 the
    public scales would be a better start (`lift_passport` needs no more); here they are not used. The claim brings the
    passport, and the signature that it spells. How many of the owner's bits it does not spell, the bit dissimilarity
    rate (BDR) of the paper, is the row's `dissimilarity`: at a half the forger's signature has nothing to do with the
    owner's.
    """

    def signature_for(self, owner: PassportClaim, layers: Sequence[ConvNorm], seed: int) -> None:
        """See `TrainedScales.signature_for`: none."""

    def claimed(self, victim: Victim, passport: Passport, signature: Signature | None) -> Claim:
        """See `TrainedScales.claimed`: with what the passport spells."""
        return claim_of_signs(victim.passport_claim.forged(passport=passport), victim.suspect)


@register("erb_targeted")
@dataclass
class ErbTargeted(TrainedScales):
    """The same toward a signature that the forger chose before he saw the network: cross-entropy and sign loss.

    A judge who asks where a signature comes from, what it spells or what it is the hash of, gets one that was there
    first. Here it is drawn at random, as many bits as the owner's: what it means is no matter of the training. Bits
    that the training does not reach are not read.
    """

    section = "none (this project; Chen et al. choose no signature)"

    sign_loss_weight: float = 0.1  # how much the signs count in the loss

    def signature_for(self, owner: PassportClaim, layers: Sequence[ConvNorm], seed: int) -> Signature:
        """See `TrainedScales.signature_for`: as many bits as the owner's."""
        capacities = {layer.conv: layer.channels for layer in layers}
        return draw_signature(capacities, None, generator(seed, "the forger's signature"), owner.marks().numel())

    def claimed(self, victim: Victim, passport: Passport, signature: Signature | None) -> Claim:
        """See `TrainedScales.claimed`: with the signature that was chosen."""
        assert signature is not None
        return victim.passport_claim.forged(passport=passport, signature=signature, text_bytes=0, triggers=None)

    def weight_of_signs(self) -> float:
        """See `TrainedScales.weight_of_signs`."""
        return self.sign_loss_weight
