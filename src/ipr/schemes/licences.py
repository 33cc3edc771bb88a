"""Passports for users of CHIP: all have the hash of the owner's, and only the trapdoor finds them.

A licence says who a user is. It is no passport that the owner's network works with, whose scales follow from its own:
users' networks of their own, which the article trains, are left out. Whoever serves the network asks for a licence.

A chameleon hash gives its trapdoor away to whoever sees two openings of one value (`passport/chameleon.py`). So two
users who show each other their licences can make more of them, and who made which cannot be told any more. A list of
licences that are revoked does not mend that.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from ipr.digests import digest_of
from ipr.errors import InputError
from ipr.passport.chameleon import chameleon_hash, collision, key_of
from ipr.passport.generate import random_passport
from ipr.passport.surgery import ConvNorm, Passport
from ipr.randomness import generator
from ipr.schemes.chip import Chameleon, ChipClaim, message_of


@dataclass(frozen=True)
class Licence:
    """What a user keeps.

    Attributes:
        user: the name; no secret.
        passport: layer -> (2, C_in, H, W); secret.
        blinding: r, with which the passport has the owner's hash; secret.
    """

    user: str
    passport: Passport = field(repr=False)
    blinding: int = field(repr=False)

    @property
    def digest(self) -> str:
        """Tells licences apart, and reveals nothing of them."""
        return digest_of({"user": self.user, "blinding": str(self.blinding)}, dict(self.passport))


@dataclass(frozen=True)
class Door:
    """Who lets users in; none of it is secret.

    Attributes:
        key: of the hash.
        value: the hash.
        capacities: layer -> C.
    """

    key: int
    value: int
    capacities: Mapping[str, int]

    def accepts(self, licence: Licence, revoked: Collection[str] = ()) -> bool:
        """Whether a licence is one of the owner's, and not revoked.

        Args:
            licence: what a user shows.
            revoked: digests of licences that hold no more.
        """
        m = message_of(licence.passport, self.capacities, licence.user)
        return chameleon_hash(self.key, m, licence.blinding) == self.value and licence.digest not in revoked


def door_of(claim: ChipClaim) -> Door:
    """What whoever serves the network needs of the owner's claim.

    Raises:
        InputError: its signature is no hash.
    """
    if claim.binding is None:
        raise InputError("claim", claim.kind, "has no chameleon hash", "give the claim that ipr train wrote")
    capacities = {name: bits.numel() for name, bits in claim.signature.items()}
    how = Chameleon.parse(claim.binding)
    return Door(how.key, how.value(claim.passport, capacities, claim.owner), capacities)


def licences(
    claim: ChipClaim, trapdoor: int, users: Collection[str], layers: list[ConvNorm], seed: int
) -> list[Licence]:
    """A licence for each user: a random passport, and what gives it the owner's hash.

    Args:
        claim: the owner's.
        trapdoor: see `chip.trapdoor_of`.
        users: their names, each once.
        layers: the protected layers.
        seed: draws the passports, each for its user's name.

    Raises:
        InputError: the trapdoor is of another key, or a name is given twice.
    """
    door = door_of(claim)
    assert claim.binding is not None
    how = Chameleon.parse(claim.binding)
    if key_of(trapdoor) != door.key:
        raise InputError("trapdoor", "<a number>", "is of another key", "give that of the run which made the claim")
    if len({*users}) != len(users):
        raise InputError("users", len(users), "name one of them twice", "name each once")
    mine, made = message_of(claim.passport, door.capacities, claim.owner), []
    for user in users:
        passport = random_passport(layers, generator(seed, f"licence of {user}"))
        other = message_of(passport, door.capacities, user)
        made.append(Licence(user, passport, collision(trapdoor, mine, how.blinding, other)))
    return made
