"""Adi et al. 2018 [2]: abstract images with random labels, a backdoor that only its owner knows."""

from __future__ import annotations

from typing import Any

from torch import Generator

from ipr.claims.origin import TRIGGER_SET
from ipr.config.registry import register
from ipr.config.schema import TrainConfig
from ipr.data.images import ImageData
from ipr.data.trigger_sets import TriggerSet
from ipr.schemes.base import About, Trained
from ipr.schemes.key_images import KeyImages
from ipr.schemes.triggers import identity_of_triggers, make_trigger_set, trigger_count
from ipr.watermarks.key_images import TriggerSetClaim


@register("trigger_set", order=7)
class AbstractTriggerSet(KeyImages):
    """Cross-entropy on batches that end in abstract images with random labels (Adi et al. 2018)."""

    claim_kind = TriggerSetClaim
    about = About("key images", "Adi et al. 2018 [2]", "abstract images, random labels", "trigger accuracy")

    @classmethod
    def purposes(cls, config: TrainConfig) -> dict[str, str]:
        """See `Scheme.purposes`: images of a folder are not drawn."""
        return {TRIGGER_SET: TRIGGER_SET} if config.trigger_set.name == "abstract" else {}

    @classmethod
    def identity(cls, config: TrainConfig, data: ImageData) -> dict[str, Any]:
        """See `Scheme.identity`."""
        triggers = identity_of_triggers(config.trigger_set, cls.per_step(config, data), data)
        return super().identity(config, data) | {"trigger_set": triggers}

    @classmethod
    def trigger_count(cls, config: TrainConfig, data: ImageData) -> int:
        """See `Scheme.trigger_count`."""
        return trigger_count(config.trigger_set, data)

    @classmethod
    def keys(cls, config: TrainConfig, data: ImageData, trained: Trained, source: Generator) -> TriggerSet:
        """See `KeyImages.keys`: those that `trigger_set=...` asks for."""
        return make_trigger_set(config.trigger_set, data, source)
