"""CHIP (Xu, Cui and Chang 2025, 2505.24536): bits that are a chameleon hash, so that many passports have the same."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from ipr.config.registry import register
from ipr.config.schema import TrainConfig
from ipr.errors import InputError
from ipr.passport.accessory import Accessory, through_f
from ipr.passport.bound import expanded, parts_of
from ipr.passport.chameleon import BYTES, Q, chameleon_hash, exponent, is_key, key_of, message
from ipr.passport.claim import PassportClaim
from ipr.passport.hashed import HashedClaim
from ipr.passport.layer import Affine
from ipr.passport.surgery import Passport
from ipr.randomness import derive_bytes
from ipr.schemes.base import About
from ipr.schemes.hashed import HashedScheme
from ipr.schemes.passport_v2 import PassportV2Config
from ipr.signature import Signature

DOMAIN = b"ipr chameleon signature 1"
TRAPDOOR, BLINDING = "chameleon trapdoor", "chameleon blinding"
"""What the seed is derived for."""

CLIP = 3.0
"""Standardised means of a passport's channels are clipped to so many deviations."""


@dataclass(frozen=True)
class Chameleon:
    """What bits follow from besides the passport, as `binding` in a claim tells it.

    Attributes:
        key: k, which may be public.
        blinding: r.
    """

    key: int
    blinding: int

    def __str__(self) -> str:
        return f"chameleon-2048:{self.key:0{2 * BYTES}x}:{self.blinding:0{2 * BYTES}x}"

    @classmethod
    def parse(cls, text: str) -> Chameleon:
        """What a claim tells.

        Raises:
            InputError: it is none, or holds a key of no such hash.
        """
        pattern = rf"chameleon-2048:([0-9a-f]{{{2 * BYTES}}}):([0-9a-f]{{{2 * BYTES}}})"
        found = re.fullmatch(pattern, text) if isinstance(text, str) else None
        if found is None:
            problem = f"is not chameleon-2048: and two numbers of {2 * BYTES} hexadecimal digits"
            raise InputError("claim", "binding", problem, "restore the claim")
        key, blinding = (int(digits, 16) for digits in found.groups())
        if not is_key(key) or blinding >= Q:
            raise InputError("claim", "binding", "holds no key of a chameleon hash", "restore the claim")
        return cls(key, blinding)

    def value(self, passport: Passport, capacities: Mapping[str, int], name: str) -> int:
        """The hash h of a passport and the name of whom it belongs to."""
        return chameleon_hash(self.key, message_of(passport, capacities, name), self.blinding)


def message_of(passport: Passport, capacities: Mapping[str, int], name: str) -> int:
    """What is hashed of a passport, P_gamma and P_beta of all layers, and of the name of whom it belongs to.

    Args:
        passport: layer -> P_gamma and P_beta, as they are stored.
        capacities: layer -> C.
        name: the owner's, or of a licence the user's.
    """
    return message(DOMAIN, parts_of(passport, capacities, name, sum(capacities.values())))


def bits_of_value(value: int, capacities: Mapping[str, int]) -> dict[str, Tensor]:
    """The signature that a hash gives: the first bits of SHAKE-256 of its bytes, layer by layer."""
    return expanded(value.to_bytes(BYTES), capacities)


def pooled(maps: Tensor, channels: int) -> Tensor:
    """What a passport adds to scale and shift: (2, C) of P_gamma and P_beta, (2, C_in, H, W).

    The mean of each channel, standardised over the channels of its half and clipped to +-`CLIP`; the first C of them,
    or all of them over and over.
    """
    means = maps.double().mean((2, 3))
    apart = means - means.mean(1, keepdim=True)
    deviation = means.std(1, keepdim=True) if means.shape[1] > 1 else torch.zeros(2, 1, dtype=means.dtype)
    standard = (apart / (deviation.to(means.device) + 1e-6)).clamp(-CLIP, CLIP)
    repeated = standard.repeat(1, -(-channels // standard.shape[1]))
    return repeated[:, :channels].to(maps.dtype)


@dataclass(frozen=True)
class ChipClaim(HashedClaim):
    """Passport, key and blinding of a chameleon hash, the signature that follows, and F of each layer."""

    kind = "chip"
    hashed_by = "a chameleon hash of passport and owner: whoever has its trapdoor has other passports for it"

    def hashed(self, binding: str, capacities: Mapping[str, int]) -> dict[str, Tensor]:
        """See `HashedClaim.hashed`."""
        return bits_of_value(Chameleon.parse(binding).value(self.passport, capacities, self.owner), capacities)

    def constants(self, layer: str) -> Accessory:
        """See `AccessoryClaim.constants`: `pooled`."""
        return {"pooled": pooled(self.passport[layer].detach(), self.signature[layer].numel())}

    def through(self, layer: str, affine: Affine, accessory: Accessory) -> Affine:
        """See `AccessoryClaim.through`: F, plus what the passport adds."""
        gamma, beta = affine
        added = accessory["pooled"].to(gamma)
        return through_f(gamma, accessory) + added[:1], through_f(beta, accessory) + added[1:]


@dataclass
class ChipConfig(PassportV2Config):
    """CHIP."""


@register("chip", order=23)
class Chip(HashedScheme):
    """The private branch has gamma = F(Avg(W * P_gamma)) + z(P_gamma) and the same of beta, where z is the passport
    itself, `pooled`; the sign loss is on Avg(W * P_gamma), whose bits are a chameleon hash of passport and owner.

    The trapdoor follows from seed and `passport.key` (`trapdoor_of`) and is stored nowhere. With it the owner makes
    passports for users, all of the same hash (`licences.py`). It leaves every claimant free, too: one with a key of his
    own takes any bits first, and finds the passport afterwards (`forge_accessory`).

    Deviations: a group of 2048 bits in the place of one of 256; one hash over all layers, both halves and the owner's
    name, stretched to as many bits as there are channels, in the place of one for each layer and P_gamma, cut off at
    512; F begins as torch's linear layers do. Left out are the users' own networks.
    """

    Config = ChipConfig
    claim_kind: ClassVar[type[ChipClaim]] = ChipClaim
    about = About(
        "passport",
        "Xu et al. 2025, CHIP",
        "V2 whose private scales pass through a trained network; bits that are a chameleon hash",
        "signs of scales before that network",
    )

    @classmethod
    def hashed(cls, config: TrainConfig, drawn: PassportClaim, capacities: Mapping[str, int]) -> tuple[Signature, str]:
        """See `HashedScheme.hashed`: a chameleon hash, whose key and blinding follow from seed and `passport.key`."""
        blinding = exponent(derive_bytes(config.seed, BLINDING, config.passport.key))
        how = Chameleon(key_of(trapdoor_of(config)), blinding)
        return bits_of_value(how.value(drawn.passport, capacities, drawn.owner), capacities), str(how)


def trapdoor_of(config: TrainConfig) -> int:
    """The trapdoor of a run's hash: the owner's alone, who has `passport.key`. A judge need not see it."""
    return max(1, exponent(derive_bytes(config.seed, TRAPDOOR, config.passport.key)))
