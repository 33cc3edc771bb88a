"""Bits that follow from the owner's other secrets by a hash, so that nobody can choose them by the weights."""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ipr.errors import InputError
from ipr.watermarks.projection import FilterClaim


def hash_bits(content: bytes | memoryview, count: int) -> Tensor:
    """The first bits of SHAKE-256 (FIPS 202), of every byte the highest first, +1 for a set bit; (count,), int8.

    Args:
        content: bytes.
        count: at least 1.
    """
    octets = hashlib.shake_256(content).digest(-(-count // 8))
    unpacked = np.unpackbits(np.frombuffer(octets, dtype=np.uint8))[:count]
    return torch.from_numpy(unpacked.astype(np.int8)) * 2 - 1


@dataclass(frozen=True, kw_only=True)
class HashedClaim(FilterClaim):
    """Bits in the weights of one convolution that are the hash of what else the claim holds.

    A claim whose bits are others is refused: whoever has the weights can count what they read, and cannot find secrets
    whose hash that is. What is left is to try: of n keys the best agrees in about T / 2 + sqrt(T ln(n) / 2) of T bits
    (`attack=grind_hash`), which a judge's p-value is to leave room for.
    """

    follow = frozenset({"bits"})

    def __post_init__(self) -> None:
        super().__post_init__()
        if not torch.equal(self.bits, self.hashed()):
            raise InputError("claim", "bits", f"are not the hash of {self.hash_of}", "restore the claim")

    @property
    @abstractmethod
    def hash_of(self) -> str:
        """What is hashed, in words."""

    @abstractmethod
    def hashed(self) -> Tensor:
        """The bits that follow, (T,), int8.

        Raises:
            InputError: what is hashed is not what it should be.
        """
