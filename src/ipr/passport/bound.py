"""Signatures that nobody chooses: the bits of a slow hash of passport, owner and nonce.

Whoever finds another passport that keeps a network's accuracy would have to claim the bits that this passport hashes
to, and its scales spell these by chance alone. A forger may try nonces, owners' names and passports until many bits
agree. Each try costs about a second and 128 MiB, as everything is hashed first and the nonce last, through scrypt:
no work is shared between two tries (`judging/forging.py` counts how many it takes).

A claim tells the kind of its signature by what stands before the nonce in its `binding`:

    <nonce>                     version 1, a fast hash: still read, never written
    scrypt-17:<nonce>           version 2, the signs of the scales as they are (scheme V1)
    scrypt-17-relative:<nonce>  version 2, the signs relative to the public scales' (V2, V3; `normal_form.py`)

The kind is hashed with the rest: one nonce gives unrelated bits under each.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Self

import numpy as np
import torch
from torch import Tensor

from ipr.digests import elements, type_name
from ipr.errors import InputError
from ipr.passport.surgery import Passport
from ipr.signature import at_channels, signed_channels

FAST_DOMAIN = b"ipr bound signature 1"
DOMAIN = b"ipr bound signature 2"
"""Keep the hashes apart from every other use of the same functions."""

NONCE_BYTES = 32

SCRYPT_N, SCRYPT_R, SCRYPT_P = 2**17, 8, 2
"""128 N r bytes are 128 MiB, twice over: P lengthens a try, not its memory. Constants of version 2, nobody's choice."""


@dataclass(frozen=True)
class Binding:
    """What binds a signature, as `binding` in a claim tells it.

    Attributes:
        nonce: `NONCE_BYTES` bytes.
        slow: whether the hash is version 2's.
        relative: whether the bits are read relative to the signs of the public scales; version 2 only.
    """

    nonce: bytes
    slow: bool = True
    relative: bool = False

    def __post_init__(self) -> None:
        if len(self.nonce) != NONCE_BYTES or (self.relative and not self.slow):
            raise ValueError(f"{len(self.nonce)} bytes, slow={self.slow}, relative={self.relative}: no binding")

    def __str__(self) -> str:
        return (f"{self.method}:" if self.slow else "") + self.nonce.hex()

    @property
    def method(self) -> str:
        """The hash, and how signs are read: what stands before the nonce."""
        return ("scrypt-17" if self.slow else "shake-256") + ("-relative" if self.relative else "")

    @property
    def says(self) -> str:
        """The same in words."""
        relative = ", its signs relative to the public scales'" if self.relative else ""
        return f"bound to passport and owner by a {'slow' if self.slow else 'fast'} hash{relative}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """The binding that a claim tells.

        Raises:
            InputError: it is none.
        """
        pattern = rf"(?:(?P<slow>scrypt-17)(?P<relative>-relative)?:)?(?P<nonce>[0-9a-f]{{{2 * NONCE_BYTES}}})"
        found = re.fullmatch(pattern, text) if isinstance(text, str) else None
        if found is None:
            problem = f"is not {2 * NONCE_BYTES} hexadecimal digits, nor these after scrypt-17: or scrypt-17-relative:"
            raise InputError("claim", "binding", problem, "restore the claim")
        return cls(bytes.fromhex(found["nonce"]), slow=bool(found["slow"]), relative=bool(found["relative"]))


def bound_signature(
    passport: Passport, capacities: Mapping[str, int], owner: str, binding: Binding, count: int | None = None
) -> dict[str, Tensor]:
    """The signature that follows from a passport: the first bits of the hash of everything below.

    Each part is hashed after its length in bytes (8 bytes, highest first), so that no two contents give the same text:
    the owner's name in UTF-8, and for each layer in the network's order its name, C in decimal digits, the type
    (`float32`), the shape (`2 192 8 8`) and the elements of its passport; then, where fewer channels carry a bit than
    there are, how many (`128 bits`).

    Version 2 hashes `DOMAIN`, the method (`scrypt-17`, `scrypt-17-relative`) and these with SHA-256, the digest with
    scrypt, salted with the nonce, to 32 bytes, and these with SHAKE-256. Version 1 hashes `FAST_DOMAIN`, the nonce and
    these with SHAKE-256.

    Args:
        passport: layer -> P_gamma and P_beta, (2, C_in, H, W), as they are stored.
        capacities: layer -> C, its number of channels and of bits; the same layers in the same order.
        owner: the owner's name.
        binding: nonce and version.
        count: how many channels carry a bit; None for all.

    Returns:
        layer -> bits in {-1, +1}, (C,), int8, 0 where a channel carries none: see `expanded`.

    Raises:
        InputError: there are not so many channels.
    """
    total = signed_channels(count, sum(capacities.values()))
    if not binding.slow:
        return expanded(fast_text(passport, capacities, owner, binding.nonce, total), capacities, total)
    parts = parts_of(passport, capacities, owner, total)
    digest = hashlib.sha256()
    for part in framed((DOMAIN, binding.method.encode(), *parts)):
        digest.update(part)
    return expanded(stretched(digest.digest(), binding.nonce), capacities, total)


def fast_text(
    passport: Passport, capacities: Mapping[str, int], owner: str, nonce: bytes, total: int | None = None
) -> bytes:
    """What version 1 hashes (`bound_signature`); where every channel has a bit, it ends with the last P_beta."""
    total = sum(capacities.values()) if total is None else total
    return b"".join(framed((FAST_DOMAIN, nonce, *parts_of(passport, capacities, owner, total))))


@lru_cache(maxsize=1024)
def stretched(digest: bytes, nonce: bytes) -> bytes:
    """The slow hash, 32 bytes; computed once in a process for each digest and nonce, however often a claim is made."""
    limit = 2 * 128 * SCRYPT_N * SCRYPT_R  # what OpenSSL may take; it takes half
    return hashlib.scrypt(digest, salt=nonce, n=SCRYPT_N, r=SCRYPT_R, p=SCRYPT_P, maxmem=limit, dklen=32)


def expanded(seed: bytes, capacities: Mapping[str, int], count: int | None = None) -> dict[str, Tensor]:
    """The first bits of SHAKE-256 of a seed, layer by layer, as `bound_signature` returns them.

    Of every byte the highest bit first, +1 for a set bit. Where fewer channels carry one, the whole bytes behind the
    bits are a rank of each channel, 8 bytes, highest first; the bits stand, in order, at those of the lowest ranks.

    Args:
        seed: any.
        capacities: see `bound_signature`.
        count: see `bound_signature`.
    """
    channels = sum(capacities.values())
    total = channels if count is None else count
    length = -(-total // 8)
    octets = hashlib.shake_256(seed).digest(length + (8 * channels if total < channels else 0))
    unpacked = np.unpackbits(np.frombuffer(octets[:length], dtype=np.uint8))
    bits = torch.from_numpy(unpacked[:total].astype(np.int8)) * 2 - 1
    if total < channels:
        ranks = np.frombuffer(octets[length:], dtype=">u8").argsort(kind="stable").argsort(kind="stable")
        bits = at_channels(bits, torch.from_numpy(ranks))
    return dict(zip(capacities, bits.split(list(capacities.values())), strict=True))


def framed(parts: Iterable[bytes]) -> Iterator[bytes]:
    """Each part after its length in bytes (8 bytes, highest first)."""
    for part in parts:
        yield len(part).to_bytes(8) + part


def parts_of(passport: Passport, capacities: Mapping[str, int], owner: str, total: int) -> Iterator[bytes]:
    """What is hashed of owner and passport, part by part; see `bound_signature`."""
    yield owner.encode()
    for name, channels in capacities.items():
        maps = passport[name]
        shape = " ".join(map(str, maps.shape))
        yield from (name.encode(), str(channels).encode(), type_name(maps).encode(), shape.encode())
        yield bytes(elements(maps))
    if total < sum(capacities.values()):
        yield f"{total} bits".encode()
