"""What schemes with an accessory share whose bits are a hash of the passport, as their authors have it."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import replace

from torch import nn

from ipr.config.schema import SchemeConfig, TrainConfig
from ipr.data.images import ImageData
from ipr.errors import InputError
from ipr.passport.claim import PassportClaim
from ipr.schemes.accessory import AccessoryScheme
from ipr.schemes.base import Trained
from ipr.signature import Signature


class HashedScheme(AccessoryScheme):
    """An `AccessoryScheme` whose signature nobody chooses: it follows from the passport."""

    @classmethod
    @abstractmethod
    def hashed(cls, config: TrainConfig, drawn: PassportClaim, capacities: Mapping[str, int]) -> tuple[Signature, str]:
        """The signature, and what the claim's `binding` says of how it was hashed.

        Args:
            config: the request.
            drawn: the passport, with an owner.
            capacities: layer -> C.
        """

    @classmethod
    def secrets_for(cls, network: nn.Module, config: TrainConfig, data: ImageData, trained: Trained) -> PassportClaim:
        """See `PassportScheme.secrets_for`.

        Raises:
            InputError: also where a signature, fewer bits or another hash is asked for.
        """
        _refuse_choice(config.scheme)
        drawn = super().secrets_for(network, config, data, trained)
        capacities = {name: bits.numel() for name, bits in drawn.signature.items()}
        signature, binding = cls.hashed(config, drawn, capacities)
        return replace(drawn, signature=signature, binding=binding)


def _refuse_choice(scheme: SchemeConfig) -> None:
    for field, none in (("signature", None), ("bits", None), ("bound", False)):
        if (asked := getattr(scheme, field)) != none:
            remedy = f"give scheme.{field}={'null' if none is None else 'false'}, or choose scheme=passport_aware"
            raise InputError(f"scheme.{field}", asked, "leaves no choice: every bit hashes the passport", remedy)
