"""What fingerprints share: nothing is embedded. The claim is made from the trained plain network, which stays so."""

from __future__ import annotations

from typing import Any

from ipr.claims.base import Claim
from ipr.config.schema import SchemeConfig, TrainConfig
from ipr.data.images import ImageData
from ipr.schemes.base import Scheme, Trained
from ipr.schemes.baseline import Baseline
from ipr.schemes.watermark import Watermark
from ipr.watermarks.base import WatermarkClaim


class Fingerprint(Watermark, Baseline):
    """The trained plain network of the same request, and not one step more."""

    tunes = True

    @classmethod
    def build(cls, config: TrainConfig, data: ImageData, claim: Claim | None, trained: Trained) -> Scheme:
        """See `Scheme.build`."""
        return cls(trained(), config.optimizer, len(data.classes))

    @classmethod
    def epochs(cls, config: TrainConfig) -> int:
        """See `Scheme.epochs`: none."""
        return 0

    @classmethod
    def arguments(
        cls, claim: WatermarkClaim, data: ImageData, scheme: SchemeConfig, per_step: int, seed: int
    ) -> dict[str, Any]:
        """See `Watermark.arguments`: there is nothing to embed."""
        return {}
