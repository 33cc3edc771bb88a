"""Scales and shifts trained on a share of the images and lifted to a passport: with an accessory block, or without.

The block is CERB of Chen et al. (CVPR 2023, 2303.11595): scales that are trained directly seldom cross 0, and those
that come of a small network do. Their attack ends with scales; a judge asks for a passport, and gets one (`lift`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional

from ipr.attacks.ambiguity.fake2 import ScaleSearch
from ipr.attacks.base import Attack, Attacked, Fit, Victim, constant_rate, example_of
from ipr.config.recipe import Recipe
from ipr.config.registry import register
from ipr.data.images import ImageData
from ipr.judging.verdict import claim_of_signs
from ipr.passport.lift import lift
from ipr.passport.surgery import ConvNorm, find_layers, protect
from ipr.randomness import derive_seed, drawing

BLOCKS = ("plain", "cerb")
STARTS = ("ones", "row_sums")


class Cerb(nn.Module):
    """gamma'' = W_2^T LeakyReLU(W_1^T gamma + b_1) + b_2 + gamma, C -> C / 8 -> C.

    Deviation: W_2 and b_2 start at 0, so that training starts from gamma itself; the paper does not say.

    Args:
        channels: C.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.into = nn.Linear(channels, max(1, channels // 8))
        self.out = nn.Linear(self.into.out_features, channels)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, gamma: Tensor) -> Tensor:
        """Gamma and gamma'', each (C,)."""
        found: Tensor = self.out(functional.leaky_relu(self.into(gamma))) + gamma
        return found


class BlockSearch(ScaleSearch):
    """`ScaleSearch` whose scales come out of a block each; only the cross-entropy is minimised.

    Args:
        network: a protected network.
        recipe: see `Scheme`.
        num_classes: see `Scheme`.
        start: see `ScaleSearch`.
        seed: draws the blocks' first weights.
    """

    def __init__(
        self, network: nn.Module, recipe: Recipe, num_classes: int, *, start: Mapping[str, Tensor], seed: int
    ) -> None:
        super().__init__(network, recipe, num_classes, start=start)
        with drawing(derive_seed(seed, "accessory blocks")):
            self.blocks = nn.ModuleList(Cerb(gamma.numel()) for gamma in self.gamma)

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


@register("train_scales")
@dataclass
class TrainScales(Attack):
    """Scales and shifts of the passport layers, trained by cross-entropy alone with all else frozen, then lifted.

    Starts from scales of 1, or from the sums of the filters' rows: the scales of a passport of ones. Of V2 and V3 the
    public scales would be a better start (`lift_passport` needs no more); here they are not used. The claim brings the
    passport, and the signature that it spells. `epochs` are as long as passes over all images: a share of them is
    gone through so many times more often.
    """

    kind = "ambiguity"
    section = "none (Chen et al., CVPR 2023)"
    attacker_has = "the weights and a share of the training images"

    # shares of the training images that the forger has
    share: list[float] = field(default_factory=lambda: [0.02, 0.1, 1.0])
    block: list[str] = field(default_factory=lambda: list(BLOCKS))  # with the block of Chen et al., or plain
    start: str = "ones"  # ones | row_sums
    epochs: int = 20  # of the attacker's training
    lr: float = 0.01  # learning rate, constant
    weight_decay: float = 5e-4  # of SGD

    def check(self, scheme: str) -> None:
        """See `Attack.check`."""
        super().check(scheme)
        self.require(bool(self.share), "share", "give fractions above 0 and up to 1, e.g. [0.02,0.1]")
        self.require(bool(self.block) and {*self.block} <= {*BLOCKS}, "block", "choose among: plain, cerb")
        self.require(self.start in STARTS, "start", "choose ones or row_sums")

    def run(self, victim: Victim, data: ImageData, fit: Fit, seed: int) -> Iterator[Attacked]:
        """See `Attack.run`."""
        owner, suspect, example = victim.passport_claim, victim.suspect, example_of(data, victim.suspect)
        layers = find_layers(suspect, example, owner.layers)
        blank = {layer.conv: torch.zeros(2, *layer.input_shape) for layer in layers}
        start = {layer.conv: torch.ones(layer.channels) for layer in layers}
        if self.start == "row_sums":
            start = row_sums(suspect, layers)
        recipe, classes = constant_rate(self.lr, self.weight_decay), len(data.classes)
        for block in self.block:
            for share in self.share:
                protected = protect(suspect, blank, example, public_affine=True)
                search = (
                    ScaleSearch(protected, recipe, classes, start=start)
                    if block == "plain"
                    else BlockSearch(protected, recipe, classes, start=start, seed=seed)
                )
                known = None if share == 1 else max(1, round(share * data.train_labels.numel()))
                fit(f"{block}-{share:g}", search, epochs=self.epochs, clip_norm=None, share=known)
                forged = owner.forged(passport=lift(search.scales(), suspect, layers).passport)
                yield Attacked(suspect, {f"block={block} share={share:g}": claim_of_signs(forged, suspect)})
