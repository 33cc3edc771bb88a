"""What the watermarks share that passports compete with; those of one regulariser on a mean filter stand here, too."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Generator, Tensor, nn

from ipr.claims.base import Claim
from ipr.config.recipe import Recipe
from ipr.config.schema import MISSING, SchemeConfig, TrainConfig
from ipr.data.images import ImageData
from ipr.errors import InputError
from ipr.models.inspection import convolution_of
from ipr.randomness import derive_seed, started_at
from ipr.schemes.base import Scheme, Trained, claim_parts
from ipr.schemes.baseline import Baseline
from ipr.schemes.start import start_network
from ipr.store.folder import secret_digest
from ipr.watermarks.base import WatermarkClaim
from ipr.watermarks.projection import mean_filter


class Watermark(Scheme):
    """A scheme whose claim is a `WatermarkClaim`; its name is the claim's kind."""

    claim_kind: ClassVar[type[WatermarkClaim]]

    @classmethod
    def drawn(
        cls, scheme: SchemeConfig, network: nn.Module, data: ImageData, source: Generator, parts: dict[str, Any]
    ) -> WatermarkClaim:
        """A new claim; for schemes that leave `draw_claim` as it is.

        Args:
            scheme: what is asked for, of the class `Config`.
            network: the plain network, for the sizes of its layers.
            data: what key images are taken from.
            source: what the secrets are drawn from.
            parts: what every claim holds besides (`claim_parts`).

        Raises:
            InputError: a setting does not fit the network or the images.
        """
        raise NotImplementedError(f"{cls.__name__} draws no claim")

    @classmethod
    def constants(cls, scheme: SchemeConfig) -> dict[str, Any]:
        """The weights of the regularisers, and whatever else the class takes by name, from what was asked for."""
        return {}

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
        return {"claim": claim, **cls.constants(scheme)}

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
        ((_, purpose),) = cls.purposes(config).items()
        return started_at(derive_seed(config.seed, purpose, config.passport.key))

    @classmethod
    def draw_claim(cls, config: TrainConfig, data: ImageData, trained: Trained) -> WatermarkClaim:
        """See `Scheme.draw_claim`."""
        network = start_network(config, data)
        return cls.drawn(config.scheme, network, data, cls.source(config), claim_parts(config, data))

    @classmethod
    def build(cls, config: TrainConfig, data: ImageData, claim: Claim | None, trained: Trained) -> Scheme:
        """See `Scheme.build`."""
        assert isinstance(claim, cls.claim_kind)
        network = trained() if cls.tunes else start_network(config, data)
        more = {"per_step": config.trigger_set.per_step, "seed": config.seed}
        return cls.embedding(claim, network, cls.recipe_of(config), data, config.scheme, **more)

    @classmethod
    def recipe_of(cls, config: TrainConfig) -> Recipe:
        """How `build` has the network trained."""
        return config.optimizer


@dataclass
class InFiltersConfig(SchemeConfig):
    """Fields of every watermark in the mean filter of one convolution."""

    layer: str = MISSING  # a convolution, or a module whose first one is taken
    weight: float = MISSING  # of the regulariser


class InFilters(Watermark, Baseline):
    """Cross-entropy and a regulariser on the mean filter of one convolution.

    Args:
        network: see `Scheme`.
        recipe: see `Scheme`.
        num_classes: see `Scheme`.
        layer: the convolution.
        weight: of the regulariser.
    """

    def __init__(self, network: nn.Module, recipe: Recipe, num_classes: int, *, layer: str, weight: float) -> None:
        super().__init__(network, recipe, num_classes)
        check_weight("weight", weight)
        self.layer, self.weight = layer, weight

    @classmethod
    def constants(cls, scheme: SchemeConfig) -> dict[str, Any]:
        """See `Watermark.constants`."""
        assert isinstance(scheme, InFiltersConfig)
        return {"weight": scheme.weight}

    @abstractmethod
    def embedding_loss(self, w: Tensor) -> Tensor:
        """The regulariser of a mean filter, (M,)."""

    def terms(self, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        """L_c and the regulariser."""
        _, convolution = convolution_of(self.network, self.layer)
        losses = super().terms(x, y)
        with torch.autocast(x.device.type, enabled=False):  # bits are at stake
            return losses | {"watermark": self.weight * self.embedding_loss(mean_filter(convolution))}


def check_weight(name: str, value: float) -> None:
    """Refuses a negative weight of a regulariser."""
    if value < 0:
        raise InputError(f"scheme.{name}", value, "must not be negative", "give e.g. 0.01")
