"""Trapdoor normalisation (Liu et al., ICML 2023): V2 whose bits are a hash of the passport, which nobody chooses."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from ipr.config.registry import register
from ipr.config.schema import TrainConfig
from ipr.data.images import ImageData
from ipr.errors import InputError
from ipr.passport.claim import PassportClaim
from ipr.schemes.base import About, Trained
from ipr.schemes.passport_v2 import PassportV2, PassportV2Config


@dataclass
class TrapdoorConfig(PassportV2Config):
    """Trapdoor normalisation: V2, always bound."""

    bound: bool = True  # write the bits that passport, owner and key hash to; there is no other way (docs/claims.md)


@register("trapdoor", order=21)
class Trapdoor(PassportV2):
    """V2 with `scheme.bound=true`, and nothing else: whoever chooses scales first finds no passport for them whose hash
    they spell.

    Its authors published no code, and of their article only the abstract was at hand, which tells of a connection both
    ways between watermark and network that cannot be inverted. That the bits are a hash of the passport, which makes
    the scales, is our reading. The hash is ours, with owner and nonce in it, and slow (`passport/bound.py`).
    """

    Config = TrapdoorConfig
    about = About("passport", "Liu et al. 2023, trapdoor normalisation", "V2 with bound bits", "signs of scales")

    @classmethod
    def secrets_for(cls, network: nn.Module, config: TrainConfig, data: ImageData, trained: Trained) -> PassportClaim:
        """See `PassportScheme.secrets_for`.

        Raises:
            InputError: also where the bits are not to be bound.
        """
        if not getattr(config.scheme, "bound", True):
            raise InputError("scheme.bound", False, "is passport_v2, and no trapdoor", "choose scheme=passport_v2")
        return super().secrets_for(network, config, data, trained)
