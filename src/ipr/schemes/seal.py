"""SEAL (arXiv:2501.09284): a passport between two low-rank adapters, in weights that are released as ordinary ones.

What is claimed, how it is read, and what it is worth: `watermarks/adapters.py`, whose letters are used here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from lightning.pytorch.utilities.types import STEP_OUTPUT
from torch import Tensor, nn
from torch.func import functional_call

from ipr.claims.base import Claim
from ipr.config.ranges import check_numbers
from ipr.config.recipe import Recipe
from ipr.config.registry import register
from ipr.config.schema import MISSING, SchemeConfig, TrainConfig
from ipr.data.images import ImageData
from ipr.models.inspection import projection_of
from ipr.passport.statistics import batch_norms, untracked
from ipr.passport.surgery import find_layers
from ipr.randomness import derive_seed, generator
from ipr.schemes.base import About, Scheme, Trained
from ipr.schemes.start import claim_parts, example_image, start_network
from ipr.schemes.watermark import Watermark
from ipr.watermarks.adapters import SealClaim
from ipr.watermarks.base import WatermarkClaim

PURPOSE = "adapters"
"""What the seed is derived for that A is drawn from, as training begins."""


@dataclass
class SealConfig(SchemeConfig):
    """SEAL: two passports between low-rank adapters of frozen weights."""

    layers: list[str] = MISSING  # convolutions to adapt, or modules that hold them
    rank: int = 8  # r; less where a layer has fewer channels
    scale: float = 30.0  # s: entries of a passport are +-s / sqrt(r); low ones weigh little, and any other does as well


@register("seal", order=25)
class Seal(Watermark):
    """L_c with C and L_c with C_p, summed. B, at first 0, and A, at first from N(0, 1 / n), are trained beside the
    network, whose W0 in these layers is frozen. They are in the checkpoints, and in the claim that training ends with;
    the network holds W0 + B C A.

    Deviations: the authors adapt a trained network to another task, take one of the two passports in each step, and let
    passports be any matrices. Here W0 is that of the start, random unless `init` says otherwise: where it does the task
    already B and A learn next to nothing, and any other passport serves as well (docs/schemes.md). Both passports are
    taken in every step, as in V2. Running averages of batch norms are those with C.
    """

    Config = SealConfig
    claim_kind = SealClaim
    about = About(
        "adapter",
        "SEAL (arXiv:2501.09284)",
        "low-rank adapters about a fixed passport, and a second that works, too",
        "signs of the passport between them, accuracy with the second; `factorise` solves for both",
    )
    more_bits = "scheme.rank, or more scheme.layers"
    stronger = "scheme.scale"

    secrets: Tensor

    def __init__(self, network: nn.Module, recipe: Recipe, num_classes: int, *, claim: SealClaim, seed: int) -> None:
        super().__init__(network, recipe, num_classes)
        self.names, self.norms = claim.named, batch_norms(network.modules())
        frozen = [projection_of(network, name).weight.requires_grad_(False) for name in self.names]
        self.bases = [f"base_{number}" for number in range(len(frozen))]
        for name, weight in zip(self.bases, frozen, strict=True):
            self.register_buffer(name, weight.detach().clone(), persistent=False)
        self.register_buffer("secrets", claim.secrets().to(frozen[0]), persistent=False)
        self.up = nn.Parameter(torch.zeros_like(claim.up).to(frozen[0]))
        self.down = nn.Parameter(torch.cat(self._drawn(frozen, claim.rank, seed), 1))

    @staticmethod
    def _drawn(weights: Sequence[Tensor], rank: int, seed: int) -> list[Tensor]:
        source, sizes = generator(seed, PURPOSE), [weight[0].numel() for weight in weights]
        return [torch.randn(rank, n, generator=source).to(weights[0]) / math.sqrt(n) for n in sizes]

    @classmethod
    def draw_claim(cls, config: TrainConfig, data: ImageData, trained: Trained) -> SealClaim:
        """See `Scheme.draw_claim`."""
        scheme, network = config.scheme, start_network(config, data)
        assert isinstance(scheme, SealConfig)
        check_numbers(scheme, "scheme.")
        names = [layer.conv for layer in find_layers(network, example_image(data), scheme.layers)]
        parts = claim_parts(config, data)
        return SealClaim.drawn(network, names, scheme.rank, scheme.scale, cls.source(config), **parts)

    @classmethod
    def arguments(
        cls, claim: WatermarkClaim, data: ImageData, scheme: SchemeConfig, per_step: int, seed: int
    ) -> dict[str, Any]:
        """See `Watermark.arguments`."""
        return {"claim": claim, "seed": seed}

    @classmethod
    def build(cls, config: TrainConfig, data: ImageData, claim: Claim | None, trained: Trained) -> Scheme:
        """See `Scheme.build`: A as training begins follows from seed and `passport.key`, wherever it is begun again."""
        assert isinstance(claim, SealClaim)
        seed = derive_seed(config.seed, PURPOSE, config.passport.key)
        return cls.embedding(claim, start_network(config, data), config.optimizer, data, config.scheme, seed=seed)

    def weights(self, which: int) -> dict[str, Tensor]:
        """W0 + B C A of each layer (0), or W0 + B C_p A (1), as `functional_call` takes them."""
        bases = [self.get_buffer(name) for name in self.bases]
        ups = self.up.split([base.shape[0] for base in bases])
        downs = self.down.split([base[0].numel() for base in bases], 1)
        with torch.autocast(self.up.device.type, enabled=False):
            return {
                f"{name}.weight": base + (up @ secret @ down).view_as(base)
                for name, base, up, secret, down in zip(self.names, bases, ups, self.secrets[which], downs, strict=True)
            }

    def terms(self, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        """L_c with C, and with C_p."""
        public = functional_call(self.network, self.weights(0), (x,))
        with untracked(self.norms):
            private = functional_call(self.network, self.weights(1), (x,))
        self.means.count(public, y)
        return {"cross_entropy_public": self.criterion(public, y), "cross_entropy_private": self.criterion(private, y)}

    def trained(self) -> list[nn.Parameter]:
        """The network's parameters that are not frozen, then the adapters."""
        return [*super().trained(), self.up, self.down]

    def on_train_batch_end(self, outputs: STEP_OUTPUT, batch: tuple[Tensor, Tensor], batch_idx: int) -> None:
        """See `Scheme.on_train_batch_end`; and the network is what the adapters make it."""
        super().on_train_batch_end(outputs, batch, batch_idx)
        self.merge()

    def merge(self) -> None:
        """Writes W0 + B C A into the network."""
        with torch.no_grad():
            for name, weight in self.weights(0).items():
                self.network.get_parameter(name).copy_(weight)

    def completed(self, claim: Claim) -> Claim:
        """See `Scheme.completed`: with the adapters as they are now."""
        assert isinstance(claim, SealClaim)
        self.merge()
        up, down = (tensor.detach().cpu().clone() for tensor in (self.up, self.down))
        return replace(claim, up=up, down=down)
