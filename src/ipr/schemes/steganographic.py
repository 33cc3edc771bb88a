"""Steganographic Passport (Cui et al., CVPR 2024, 2404.02889), without its steganography."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from ipr.claims.redraw import Part
from ipr.config.registry import register
from ipr.config.schema import TrainConfig
from ipr.data.images import ImageData
from ipr.digests import elements
from ipr.errors import InputError
from ipr.passport.accessory import Accessory, draw_f, shapes_of_f, through_f
from ipr.passport.claim import PassportClaim
from ipr.passport.hashed import HashedClaim
from ipr.passport.layer import Affine
from ipr.passport.surgery import Passport
from ipr.schemes.base import About
from ipr.schemes.hashed import HashedScheme
from ipr.schemes.passport_v2 import PassportV2, PassportV2Config
from ipr.signature import Signature

HASHED = "sha-512"
"""What `binding` of a claim says where each layer's bits hash its P_gamma."""


def hashed_signature(passport: Passport, capacities: Mapping[str, int]) -> dict[str, Tensor]:
    """The first C bits of SHA-512 of the bytes of P_gamma, layer by layer; of every byte the highest bit first.

    A layer of more than 512 channels, which its authors do not have, takes more blocks: of these bytes with the block's
    number, 1 and up, behind them (4 bytes, highest first).

    Args:
        passport: layer -> P_gamma and P_beta, as they are stored.
        capacities: layer -> C.

    Returns:
        layer -> bits in {-1, +1}, (C,), int8.
    """
    found = {}
    for name, channels in capacities.items():
        content = bytes(elements(passport[name][0].contiguous()))
        blocks = range(-(-channels // 512))
        octets = b"".join(hashlib.sha512(content + (n.to_bytes(4) if n else b"")).digest() for n in blocks)
        bits = np.unpackbits(np.frombuffer(octets, dtype=np.uint8))[:channels]
        found[name] = torch.from_numpy(bits.astype(np.int8)) * 2 - 1
    return found


@dataclass(frozen=True)
class SteganographicClaim(HashedClaim):
    """Passport, the signature that it hashes to, and of each layer F and the inner `scale` and `shift`, (C,)."""

    kind = "steganographic"

    hashed_by = "SHA-512 of P_gamma, layer by layer"

    def hashed(self, binding: str, capacities: Mapping[str, int]) -> dict[str, Tensor]:
        """See `HashedClaim.hashed`."""
        if binding != HASHED:
            raise InputError("claim", "binding", f"is not {HASHED}", "restore the claim")
        return hashed_signature(self.passport, capacities)

    def _signature_redrawn(self) -> Part:
        """Not drawn: gamma_1 turns a sign that is read. Scales of many networks lean to one sign, so that its claimant
        could have the bits in networks that he never saw.
        """
        return Part("signature", "signature", None, "its signs are turned by trained scales, which may be chosen")

    @classmethod
    def shapes(cls, channels: int) -> dict[str, tuple[int, ...]]:
        """See `AccessoryClaim.shapes`: F, then gamma_1 and beta_1."""
        return shapes_of_f(channels) | {"scale": (channels,), "shift": (channels,)}

    @classmethod
    def drawn(cls, channels: int, source: Generator) -> dict[str, Tensor]:
        """See `AccessoryClaim.drawn`: gamma_1 is 1 and beta_1 is 0."""
        return draw_f(channels, source) | {"scale": torch.ones(channels), "shift": torch.zeros(channels)}

    def through(self, layer: str, affine: Affine, accessory: Accessory) -> Affine:
        """See `AccessoryClaim.through`: s (gamma_1 x + beta_1) + t has scale s gamma_1 and shift s beta_1 + t."""
        s, t = (through_f(values, accessory) for values in affine)
        return s * accessory["scale"].to(s), s * accessory["shift"].to(s) + t

    def signed(self, gamma: Tensor, accessory: Accessory) -> Tensor:
        """See `AccessoryClaim.signed`: times gamma_1."""
        return gamma * accessory["scale"].to(gamma)


@dataclass
class SteganographicConfig(PassportV2Config):
    """Steganographic Passport."""

    balance_weight: float = 0.0  # of the L1 distance of both branches' scales and shifts, which its authors left out


@register("steganographic", order=22)
class Steganographic(HashedScheme):
    """The private branch answers with s (gamma_1 BN(x) + beta_1) + t, where s = F(Avg(W * P_gamma)) and
    t = F(Avg(W * P_beta)) pass through F (`passport/accessory.py`) and gamma_1 and beta_1 are trained; the sign loss is
    on Avg(W * P_gamma) gamma_1.

    The bits are no choice: SHA-512 of P_gamma (`hashed_signature`), in every channel. Still gamma_1 has the sign of
    every bit read in its hand, so that the hash keeps no forger out (`forge_accessory`).

    Left out is what the scheme is named after: a network that hides pictures of users in the passport and so gives each
    user a passport. Deviations: the balance of both branches is a mean per layer, and off, as in the authors' training;
    the penalty on gamma^2 and damped steps are V2's; the bits are hashed from the very passport.
    """

    Config = SteganographicConfig
    claim_kind: ClassVar[type[SteganographicClaim]] = SteganographicClaim
    about = About(
        "passport",
        "Cui et al. 2024, Steganographic Passport",
        "V2 with a second, trained affine; bits that hash the passport",
        "signs of scales times trained ones",
    )

    balance_weight = 0.0

    @classmethod
    def hashed(cls, config: TrainConfig, drawn: PassportClaim, capacities: Mapping[str, int]) -> tuple[Signature, str]:
        """See `HashedScheme.hashed`: SHA-512 of P_gamma."""
        return hashed_signature(drawn.passport, capacities), HASHED

    @classmethod
    def around(cls, network: nn.Module, config: TrainConfig, data: ImageData, claim: PassportClaim) -> PassportV2:
        """See `PassportScheme.around`."""
        scheme = super().around(network, config, data, claim)
        assert isinstance(scheme, Steganographic)
        assert isinstance(config.scheme, SteganographicConfig)
        scheme.balance_weight = config.scheme.balance_weight
        return scheme

    def regulariser(self, affines: dict[str, Affine]) -> dict[str, Tensor]:
        """See `PassportScheme.regulariser`; and the balance of both branches, where it is asked for."""
        terms = super().regulariser(affines)
        if not self.balance_weight:
            return terms
        shown = self.presented(affines)
        apart = [
            functional.l1_loss(public, private)
            for name, layer in self.layers.items()
            for public, private in zip(layer.public_affine(), shown[name], strict=True)
        ]
        return terms | {"balance": self.balance_weight * torch.stack(apart).sum()}
