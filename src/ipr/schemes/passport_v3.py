"""V3: V2 with a trigger set, for a first, black-box claim (Section III-D)."""

from __future__ import annotations

from dataclasses import dataclass

from ipr.config.registry import register
from ipr.config.schema import SchemeConfig
from ipr.errors import InputError
from ipr.schemes.base import About
from ipr.schemes.passport_v2 import PassportV2, PassportV2Config


@dataclass
class PassportV3Config(PassportV2Config):
    """V3: private passport and trigger set."""


@register("passport_v3", order=3)
class PassportV3(PassportV2):
    """V3: V2 with a trigger set, for a first, black-box claim (Section III-D). `triggers` must be given."""

    Config = PassportV3Config
    about = About(
        "passport", "Section III-D, V3; Algorithm 6", "V2 and a trigger set", "signs of scales; trigger accuracy"
    )

    @classmethod
    def appends_images(cls, scheme: SchemeConfig) -> bool:
        """See `Scheme.appends_images`."""
        return True

    def on_fit_start(self) -> None:
        """Refuses to train without what makes it V3."""
        super().on_fit_start()
        if self.triggers is None:
            raise InputError("trigger_set", None, "scheme V3 embeds a trigger set", "give one, or use scheme V2")
