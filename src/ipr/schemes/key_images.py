"""Key images in every batch: what all black-box watermarks share (Adi et al. 2018)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Generator, Tensor

from ipr.config.schema import SchemeConfig, TrainConfig
from ipr.data.images import ImageData
from ipr.data.trigger_sets import TriggerSet
from ipr.schemes.base import Trained
from ipr.schemes.baseline import Baseline
from ipr.schemes.start import claim_parts, start_network
from ipr.schemes.triggers import TriggerSamples
from ipr.schemes.watermark import Watermark
from ipr.watermarks.base import WatermarkClaim
from ipr.watermarks.key_images import KeyImageClaim


@dataclass
class KeyImagesConfig(SchemeConfig):
    """Key images (trigger_set.size and trigger_set.per_step say how many): Adi, Zhang, Le Merrer, Guo."""


class AppendsImages(Watermark, Baseline):
    """Cross-entropy on batches that end in images of the claim's."""

    @classmethod
    def appends_images(cls, scheme: SchemeConfig) -> bool:
        """See `Scheme.appends_images`."""
        return True

    @classmethod
    def identity(cls, config: TrainConfig, data: ImageData) -> dict[str, Any]:
        """See `Scheme.identity`: the key, and how many images are made, or chosen."""
        asked = {"size": config.trigger_set.size, "per_step": cls.per_step(config, data)}
        return super().identity(config, data) | {"trigger_set": asked}

    def terms(self, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        """L_c over the batch and the images behind it."""
        return super().terms(*self.with_triggers(x, y))


class KeyImages(AppendsImages):
    """Images that nothing is embedded for but their labels: every black-box watermark (Adi et al. 2018)."""

    Config = KeyImagesConfig
    claim_kind: ClassVar[type[KeyImageClaim]]

    @classmethod
    def draw_claim(cls, config: TrainConfig, data: ImageData, trained: Trained) -> WatermarkClaim:
        """See `Scheme.draw_claim`."""
        keys = cls.keys(config, data, trained, cls.source(config))
        choices = cls.claim_kind.choices_among(len(data.classes))
        return cls.claim_kind(pixels=keys.pixels, labels=keys.labels, choices=choices, **claim_parts(config, data))

    @classmethod
    def keys(cls, config: TrainConfig, data: ImageData, trained: Trained, source: Generator) -> TriggerSet:
        """New keys, drawn from `source`; by default with the constants of the scheme's authors."""
        network = start_network(config, data)
        return cls.claim_kind.keys(network, data, config.trigger_set.size, source)

    @classmethod
    def arguments(
        cls, claim: WatermarkClaim, data: ImageData, scheme: SchemeConfig, per_step: int, seed: int
    ) -> dict[str, Any]:
        """See `Watermark.arguments`."""
        assert isinstance(claim, KeyImageClaim)
        return {"triggers": TriggerSamples(claim.triggers, per_step, data, seed)}
