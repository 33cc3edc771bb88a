"""What the watermarks share that passports compete with; those of one regulariser on a mean filter stand here, too."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Generator, Tensor, nn

from ipr.claims.base import Claim
from ipr.config.ranges import check_numbers
from ipr.config.recipe import Recipe
from ipr.config.schema import MISSING, SchemeConfig, TrainConfig
from ipr.data.images import ImageData
from ipr.models.inspection import convolution_of
from ipr.randomness import generator
from ipr.schemes.base import About, Scheme, Trained
from ipr.schemes.baseline import Baseline
from ipr.schemes.start import start_network
from ipr.store.folder import secret_digest
from ipr.watermarks.base import WatermarkClaim
from ipr.watermarks.projection import FilterClaim, mean_filter


class Watermark(Scheme):
    """A scheme whose claim is a `WatermarkClaim`; its name is the claim's kind."""

    about: ClassVar[About]
    claim_kind: ClassVar[type[WatermarkClaim]]

    @classmethod
    @abstractmethod
    def draw_claim(cls, config: TrainConfig, data: ImageData, trained: Trained) -> WatermarkClaim:
        """See `Scheme.draw_claim`: secrets from `source`, and what every claim holds besides (`claim_parts`)."""

    @classmethod
    def embedding(
        cls,
        claim: WatermarkClaim,
        network: nn.Module,
        recipe: Recipe,
        data: ImageData,
        scheme: SchemeConfig | None = None,
        *,
        per_step: int = 2,
        seed: int = 0,
    ) -> Scheme:
        """What embeds a claim of this kind into a network: a new one, or another's that is overwritten.

        Args:
            claim: what is embedded.
            network: what it is embedded into, in place.
            recipe: how it is trained.
            data: gives the classes and the normalisation.
            scheme: what was asked for; the authors' constants where it is None.
            per_step: key images in every batch.
            seed: of their order.
        """
        arguments = cls.arguments(claim, data, scheme or cls.Config(), per_step, seed)
        return cls(network, recipe, len(data.classes), **arguments)

    @classmethod
    def arguments(
        cls, claim: WatermarkClaim, data: ImageData, scheme: SchemeConfig, per_step: int, seed: int
    ) -> dict[str, Any]:
        """What the class takes by name, from what `embedding` is given."""
        return {"claim": claim, "scheme": scheme}

    @classmethod
    def purposes(cls, config: TrainConfig) -> dict[str, str]:
        """See `Scheme.purposes`."""
        purpose = cls.claim_kind.purpose()
        return {purpose: purpose}

    @classmethod
    def identity(cls, config: TrainConfig, data: ImageData) -> dict[str, Any]:
        """See `Scheme.identity`: the key that the secrets are drawn with."""
        return {"key": secret_digest(config.passport.key)}

    @classmethod
    def source(cls, config: TrainConfig) -> Generator:
        """What the secrets of a run are drawn from."""
        purpose = cls.claim_kind.purpose()
        return generator(config.seed, cls.purposes(config).get(purpose, purpose), config.passport.key)

    @classmethod
    def build(cls, config: TrainConfig, data: ImageData, claim: Claim | None, trained: Trained) -> Scheme:
        """See `Scheme.build`."""
        assert isinstance(claim, cls.claim_kind)
        network = trained() if cls.tunes else start_network(config, data)
        per_step = cls.per_step(config, data)
        recipe = cls.recipe_of(config)
        return cls.embedding(claim, network, recipe, data, config.scheme, per_step=per_step, seed=config.seed)

    @classmethod
    def recipe_of(cls, config: TrainConfig) -> Recipe:
        """How `build` has the network trained."""
        return config.optimizer


@dataclass
class InFiltersConfig(SchemeConfig):
    """Fields of every watermark in the weights of one convolution."""

    layer: str = MISSING  # a convolution, or a module whose first one is taken
    weight: float = MISSING  # of the regulariser


class InFilters(Watermark, Baseline):
    """Cross-entropy and a regulariser on a vector of one convolution's weights: by default its mean filter.

    Args:
        network: see `Scheme`.
        recipe: see `Scheme`.
        num_classes: see `Scheme`.
        claim: what is written; its tensors are attributes of their names, which no checkpoint holds.
        scheme: what was asked for.
    """

    def __init__(
        self, network: nn.Module, recipe: Recipe, num_classes: int, *, claim: FilterClaim, scheme: InFiltersConfig
    ) -> None:
        super().__init__(network, recipe, num_classes)
        check_numbers(scheme, "scheme.")
        self.layer, self.weight = claim.layer, scheme.weight
        for name, tensor in claim.tensors().items():
            self.register_buffer(name, tensor, persistent=False)

    def vector(self, convolution: nn.Conv2d) -> Tensor:
        """What of the convolution's weights the regulariser is taken of, (M,): by default its mean filter."""
        return mean_filter(convolution)

    @abstractmethod
    def embedding_loss(self, w: Tensor) -> Tensor:
        """The regulariser of that vector, (M,)."""

    def terms(self, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        """L_c and the regulariser."""
        _, convolution = convolution_of(self.network, self.layer)
        losses = super().terms(x, y)
        with torch.autocast(x.device.type, enabled=False):  # bits are at stake
            return losses | {"watermark": self.weight * self.embedding_loss(self.vector(convolution))}
