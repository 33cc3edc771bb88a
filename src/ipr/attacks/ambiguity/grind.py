"""Hashes ground until a signature that is bound to its passport says what the passport spells.

A bound signature is a hash of the passport, so a forger cannot choose one and solve for a passport that fits it. He
solves the public scales back to a passport first (`passport/lift.py`), and then alters of it, or of the claim's nonce,
what hardly matters, until the hash agrees with the signs in many bits. Each try agrees in each bit with 1/2; turning
whole groups of channels of his copy, which changes no answer, makes more of it (`judging/forging.py` has the odds).
"""

from __future__ import annotations

import copy
import hashlib
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor, nn

from ipr.attacks.ambiguity.guessed_passports import GivesScales
from ipr.attacks.base import Attack, Attacked, Fit, Victim, example_of
from ipr.config.registry import register
from ipr.data.images import ImageData
from ipr.models.channels import symmetry
from ipr.models.gauge import before_norms, scale
from ipr.passport.bound import NONCE_BYTES, Binding, bound_signature, fast_text
from ipr.passport.claim import PassportClaim
from ipr.passport.generate import random_passport, with_energy
from ipr.passport.guesses import lifted_passport
from ipr.passport.lift import public_scales
from ipr.passport.normal_form import public_signs
from ipr.passport.surgery import ConvNorm, find_layers
from ipr.randomness import generator
from ipr.signature import detect

HASHES = ("fast", "slow")
NAME = "Mallory"
"""Whose claims these are."""

BATCH = 2**16
TAIL = 8
"""Bytes that are altered: the last two elements of the last passport, in the lower half of each. A shift of one layer
moves by less than a 128th part of one of its thousands of terms."""


@register("grind")
@dataclass
class Grind(GivesScales, Attack):
    """A lifted passport whose bound signature agrees with what it spells in more bits than a guess.

    `hash=fast` is version 1 of the binding (docs/claims.md): only the last bytes of what is hashed are altered, so a
    try costs a hundred bytes or so, whatever the passport's size. `hash=slow` is version 2, which claims have today: a
    try is a scrypt of a second and 128 MiB. `turned` is the forger's copy in which the groups of a group norm, or the
    channels of a batch norm, that agree in fewer than half of their bits have changed their sign.
    """

    kind = "ambiguity"
    section = "none (this project)"
    attacker_has = "the weights, the places of the passport layers, and time"

    hash: list[str] = field(default_factory=lambda: list(HASHES))  # fast | slow: version 1 or 2 of the binding
    tries: int = 1_000_000  # of the fast hash
    slow_tries: int = 4  # of the slow one, about a second each

    def check(self, scheme: str) -> None:
        """See `Attack.check`."""
        super().check(scheme)
        self.require(bool(self.hash) and {*self.hash} <= {*HASHES}, "hash", "choose among: fast, slow")

    def run(self, victim: Victim, data: ImageData, fit: Fit, seed: int) -> Iterator[Attacked]:
        """See `Attack.run`."""
        owner, suspect, example = victim.passport_claim, victim.suspect, example_of(data, victim.suspect)
        layers = find_layers(suspect, example, owner.layers)
        start = with_energy(random_passport(layers, generator(seed, "lift")), suspect, 1.0)
        passport = lifted_passport(public_scales(suspect, layers), suspect, layers, start)
        claim = replace(owner.forged(passport=passport, text_bytes=0, triggers=None), owner=NAME)
        spelled = {name: detect(gamma[0]).cpu() for name, (gamma, _) in claim.affines(suspect).items()}
        groups = turnable(suspect, layers, example)
        for kind in self.hash:
            for turned in (False, True) if groups else (False,):
                point = f"hash={kind}" + (" turned" if turned else "")
                if point in victim.judged:
                    continue
                sizes = groups if turned else None
                if kind == "fast":
                    found, tries = ground_fast(claim, spelled, self.tries, sizes), self.tries
                else:
                    found, tries = ground_slow(claim, suspect, layers, self.slow_tries, spelled, sizes), self.slow_tries
                copied = turned_to(suspect, example, spelled, found, groups) if turned else suspect
                yield Attacked(copied, {point: found}, iterations=tries)


def turnable(network: nn.Module, layers: Sequence[ConvNorm], example: Tensor) -> dict[str, int]:
    """How many channels of each protected layer change their signs together; {} unless all of them can."""
    found = symmetry(network, example)
    blocks = {name: segment.block for segment in before_norms(network, found) for name in segment.makers}
    return {layer.conv: blocks[layer.conv] for layer in layers} if {one.conv for one in layers} <= {*blocks} else {}


def agreeing(bits: np.ndarray, spelled: np.ndarray, groups: Sequence[int] | None) -> np.ndarray:
    """How many bits of each candidate agree, (N,); with `groups`, after turning those in which most do not.

    Args:
        bits: (N, T), 0 or 1.
        spelled: (T,), 0 or 1.
        groups: sizes, summing to T; None where nothing is turned.
    """
    same = (bits == spelled).astype(np.int64)
    if groups is None:
        return np.asarray(same.sum(1))
    starts = np.cumsum([0, *groups[:-1]])
    each = np.add.reduceat(same, starts, axis=1)
    return np.asarray(np.maximum(each, np.array(groups) - each).sum(1))


def ground_fast(
    claim: PassportClaim, spelled: Mapping[str, Tensor], tries: int, groups: Mapping[str, int] | None
) -> PassportClaim:
    """The best of many passports that differ in the last bytes: all before them is hashed once.

    Args:
        claim: with the passport to alter, and its owner's name.
        spelled: layer -> the signs that its scales have, {-1, 1}, (C,).
        tries: how many, up to 2^32.
        groups: layer -> how many channels are turned together; None to turn nothing.
    """
    capacities = {name: signs.numel() for name, signs in spelled.items()}
    nonce = bytes(NONCE_BYTES)
    text = fast_text(claim.passport, capacities, claim.owner, nonce)
    begun = hashlib.shake_256(text[:-TAIL])
    words = struct.unpack("<II", text[-TAIL:])
    length, wanted = -(-sum(capacities.values()) // 8), _as_bits(spelled)
    sizes = _sizes(capacities, groups)
    best, kept = -1, words
    for first in range(0, tries, BATCH):
        numbers = range(first, min(first + BATCH, tries))
        tails = [struct.pack("<II", words[0] ^ (n >> 16), words[1] ^ (n & 0xFFFF)) for n in numbers]
        digests = []
        for tail in tails:
            state = begun.copy()
            state.update(tail)
            digests.append(state.digest(length))
        octets = np.frombuffer(b"".join(digests), dtype=np.uint8).reshape(len(tails), length)
        counts = agreeing(np.unpackbits(octets, axis=1)[:, : wanted.size], wanted, sizes)
        if counts.max() > best:
            best, kept = int(counts.max()), struct.unpack("<II", tails[int(counts.argmax())])
    passport = {name: maps.clone() for name, maps in claim.passport.items()}
    last = passport[list(passport)[-1]]
    last.view(-1)[-2:] = torch.from_numpy(np.array(kept, dtype=np.uint32).view(np.float32).copy())
    binding = Binding(nonce, slow=False)
    bits = bound_signature(passport, capacities, claim.owner, binding)
    return replace(claim, passport=passport, signature=bits, binding=str(binding))


def ground_slow(
    claim: PassportClaim,
    network: nn.Module,
    layers: Sequence[ConvNorm],
    tries: int,
    spelled: Mapping[str, Tensor],
    groups: Mapping[str, int] | None,
) -> PassportClaim:
    """The best of a few nonces: signs relative to the public scales', or, where channels are turned, as they are."""
    capacities = {name: signs.numel() for name, signs in spelled.items()}
    relative = groups is None
    if relative:
        public = public_signs(network, layers)
        spelled = {name: signs * public[name].cpu().to(signs) for name, signs in spelled.items()}
    wanted, sizes = _as_bits(spelled), _sizes(capacities, groups)
    found: list[tuple[int, PassportClaim]] = []
    for number in range(tries):
        binding = Binding(number.to_bytes(NONCE_BYTES), slow=True, relative=relative)
        bits = bound_signature(claim.passport, capacities, claim.owner, binding)
        count = int(agreeing(_as_bits(bits)[None], wanted, sizes)[0])
        found.append((count, replace(claim, signature=bits, binding=str(binding))))
    return max(found, key=lambda one: one[0])[1]


def turned_to(
    suspect: nn.Module,
    example: Tensor,
    spelled: Mapping[str, Tensor],
    claim: PassportClaim,
    groups: Mapping[str, int],
) -> nn.Module:
    """A copy with the same answers, in which the groups are turned that agree with a claim in fewer than half."""
    copied = copy.deepcopy(suspect)
    for segment in before_norms(copied, symmetry(copied, example)):
        for name in segment.makers:
            if name in groups:
                same = (spelled[name] == claim.signature[name]).float().unflatten(0, (-1, groups[name])).mean(1)
                signs = torch.where(same < 0.5, -1.0, 1.0).repeat_interleave(groups[name])
                scale(copied, segment, signs)
    return copied


def _as_bits(signs: Mapping[str, Tensor]) -> np.ndarray:
    return (torch.cat(list(signs.values())).cpu().numpy() > 0).astype(np.uint8)


def _sizes(capacities: Mapping[str, int], groups: Mapping[str, int] | None) -> list[int] | None:
    if groups is None:
        return None
    return [groups[name] for name, channels in capacities.items() for _ in range(channels // groups[name])]
