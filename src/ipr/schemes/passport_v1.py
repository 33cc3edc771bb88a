"""V1: the passport is distributed with the network (Section III-D, Algorithm 2)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from ipr.config.registry import register
from ipr.config.schema import SchemeConfig
from ipr.passport.layer import presenting
from ipr.schemes.base import About
from ipr.schemes.passport import PassportScheme, PassportSchemeConfig


@dataclass
class PassportV1Config(PassportSchemeConfig):
    """V1: passport distributed with the network."""

    embed_trigger_set: bool = False  # also train on trigger images


@register("passport_v1", order=1)
class PassportV1(PassportScheme):
    """V1: the passport is distributed with the network, which works with nothing else (Algorithm 2)."""

    Config = PassportV1Config
    public_affine = False
    locked = True
    about = About(
        "passport", "Section III-D, V1; Algorithm 2", "scales and shifts from a distributed passport", "signs of scales"
    )

    @classmethod
    def appends_images(cls, scheme: SchemeConfig) -> bool:
        """See `Scheme.appends_images`."""
        return isinstance(scheme, PassportV1Config) and scheme.embed_trigger_set

    def terms(self, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        """L_c with the passport, and the regulariser."""
        x, y = self.with_triggers(x, y)
        affines = self.passport_affines()
        with presenting(self.layers, affines):
            logits = self.network(x)
        self.means.count(logits, y)
        return {"cross_entropy": self.criterion(logits, y), **self.regulariser(affines)}
