"""A chameleon hash (Krawczyk and Rabin 2000): whoever has its trapdoor finds collisions, and nobody else does.

In the subgroup of order q = (p - 1) / 2 of a group in which discrete logarithms are hard, with key k = g^x,

    h(m, r) = k^m g^r mod p,    and with the trapdoor x    h(m', r + (m - m') x mod q) = h(m, r).

Two openings of one value give x away, x = (r - r') / (m' - m) mod q, so whoever sees two has the trapdoor: users who
show each other their licences, or one of them who is shown the owner's claim.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from ipr.passport.bound import framed

P = int(
    "ffffffffffffffffc90fdaa22168c234c4c6628b80dc1cd129024e088a67cc74020bbea63b139b22514a08798e3404dd"
    "ef9519b3cd3a431b302b0a6df25f14374fe1356d6d51c245e485b576625e7ec6f44c42e9a637ed6b0bff5cb6f406b7ed"
    "ee386bfb5a899fa5ae9f24117c4b1fe649286651ece45b3dc2007cb8a163bf0598da48361c55d39a69163fa8fd24cf5f"
    "83655d23dca3ad961c62f356208552bb9ed529077096966d670c354e4abc9804f1746c08ca18217c32905e462e36ce3b"
    "e39e772c180e86039b2783a2ec07a28fb5c55df06f4c52c9de2bcbf6955817183995497cea956ae515d2261898fa0510"
    "15728e5a8aacaa68ffffffffffffffff",
    16,
)
"""The prime of 2048 bits of RFC 3526, group 14; Q is prime, too."""

Q = (P - 1) // 2

G = 2
"""Generates the subgroup of order Q."""

BYTES = 256
"""Of a number below P."""


def exponent(secret: bytes) -> int:
    """A number below Q, as good as uniform, that follows from a secret: a trapdoor, or what a hash is blinded by."""
    return int.from_bytes(hashlib.shake_256(secret).digest(BYTES + 16)) % Q


def key_of(trapdoor: int) -> int:
    """The key k, which may be public, of a trapdoor x in [1, Q)."""
    return pow(G, trapdoor, P)


def is_key(key: int) -> bool:
    """Whether a number is a key: in the subgroup, and not 1."""
    return 1 < key < P and pow(key, Q, P) == 1


def message(domain: bytes, parts: Iterable[bytes]) -> int:
    """What stands for some content, m: SHA-512 of the domain and the parts, each after its length; a number below Q."""
    return int.from_bytes(hashlib.sha512(b"".join(framed((domain, *parts)))).digest())


def chameleon_hash(key: int, m: int, r: int) -> int:
    """h(m, r), a number in [1, P).

    Args:
        key: k.
        m: what is hashed, in [0, Q).
        r: what blinds it, in [0, Q).
    """
    return pow(key, m, P) * pow(G, r, P) % P


def collision(trapdoor: int, m: int, r: int, other: int) -> int:
    """The r of another m with the same hash.

    Args:
        trapdoor: x.
        m: what was hashed.
        r: what blinded it.
        other: what is to have the same hash.
    """
    return (r + (m - other) * trapdoor) % Q
