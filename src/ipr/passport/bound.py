"""Signatures that nobody chooses: the bits of a hash of passport, owner and nonce.

Whoever finds another passport that keeps a network's accuracy would have to claim the bits that this passport hashes
to, and its scales spell these by chance alone. A forger may try nonces, and owners' names, until some bits agree: after
2^k of them about k more than by chance, which the p-value that a claim must reach leaves room for.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Mapping

import numpy as np
import torch
from torch import Tensor

from ipr.digests import elements, type_name
from ipr.errors import InputError
from ipr.passport.surgery import Passport

DOMAIN = b"ipr bound signature 1"
"""Keeps the hash apart from every other use of the same function."""

NONCE_BYTES = 32


def bound_signature(passport: Passport, capacities: Mapping[str, int], owner: str, nonce: bytes) -> dict[str, Tensor]:
    """The signature that follows from a passport: the first bits of SHAKE-256 of everything below.

    Hashed are, each after its length in bytes (8 bytes, highest first): `DOMAIN`, the nonce, the owner's name in
    UTF-8, and for each layer in the network's order its name, C in decimal digits, the type (`float32`), the shape
    (`2 192 8 8`) and the elements of its passport. No two contents give the same text.

    Args:
        passport: layer -> P_gamma and P_beta, (2, C_in, H, W), as they are stored.
        capacities: layer -> C, its number of channels and of bits; the same layers in the same order.
        owner: the owner's name.
        nonce: `NONCE_BYTES` bytes.

    Returns:
        layer -> bits in {-1, +1}, (C,), int8; of every byte the highest bit first, +1 for a set bit.
    """
    digest = hashlib.shake_256()
    for part in _parts(passport, capacities, owner, nonce):
        digest.update(len(part).to_bytes(8) + part)
    total = sum(capacities.values())
    octets = np.frombuffer(digest.digest(-(-total // 8)), dtype=np.uint8)
    bits = torch.from_numpy(np.unpackbits(octets)[:total].astype(np.int8)) * 2 - 1
    return dict(zip(capacities, bits.split(list(capacities.values())), strict=True))


def _parts(passport: Passport, capacities: Mapping[str, int], owner: str, nonce: bytes) -> Iterator[bytes]:
    yield from (DOMAIN, nonce, owner.encode())
    for name, channels in capacities.items():
        maps = passport[name]
        shape = " ".join(map(str, maps.shape))
        yield from (name.encode(), str(channels).encode(), type_name(maps).encode(), shape.encode())
        yield bytes(elements(maps))


def nonce_of(binding: str) -> bytes:
    """The nonce of a claim's `binding`.

    Raises:
        InputError: it is not `NONCE_BYTES` bytes as lower-case hexadecimal digits.
    """
    if not isinstance(binding, str) or not re.fullmatch(rf"[0-9a-f]{{{2 * NONCE_BYTES}}}", binding):
        raise InputError("claim", "binding", f"is not {2 * NONCE_BYTES} hexadecimal digits", "restore the claim")
    return bytes.fromhex(binding)
