"""An accessory that is solved for: what stands between a passport and its scales is free to choose."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Generator, Tensor, nn

from ipr.attacks.base import Attack, Attacked, Fit, Victim, example_of
from ipr.config.registry import register
from ipr.data.images import ImageData
from ipr.passport.accessory import AccessoryClaim, draw_f, through_f
from ipr.passport.chameleon import chameleon_hash, collision, exponent, key_of
from ipr.passport.generate import random_passport, with_energy
from ipr.passport.guesses import lifted_passport
from ipr.passport.layer import Affine
from ipr.passport.lift import public_scales
from ipr.passport.surgery import ConvNorm, Passport, find_layers
from ipr.randomness import generator
from ipr.schemes.base import Scheme
from ipr.schemes.chip import Chameleon, ChipClaim, bits_of_value, message_of
from ipr.schemes.steganographic import HASHED, SteganographicClaim, hashed_signature
from ipr.signature import Signature, draw_signature


def solve_f(given: Tensor, wanted: Tensor, source: Generator) -> dict[str, Tensor]:
    """An F with F(given) = wanted for two vectors: `into` is drawn, and `out`, of least norm, is solved for.

    Exact where C is 8 or more, so that two numbers at least are between its matrices; else the nearest there is.

    Args:
        given: what goes in, (2, C).
        wanted: what is to come out, (2, C).
        source: draws.
    """
    channels = given.shape[1]
    drawn = {name: part.double() for name, part in draw_f(channels, source).items()}
    hidden = through_f(given.double(), drawn | {"out": torch.eye(drawn["into"].shape[0])})
    return {"into": drawn["into"].float(), "out": (torch.linalg.pinv(hidden) @ wanted.double()).T.float().contiguous()}


def solve(claim: AccessoryClaim, layer: str, own: Affine, wanted: Tensor, source: Generator) -> dict[str, Tensor]:
    """What makes the scales and shifts of a passport those that are wanted, and its signature read.

    Args:
        claim: the forger's, with passport and signature; its accessory is not looked at.
        layer: which.
        own: scale and shift of Eq. 4, each (1, C).
        wanted: scale and shift, (2, C).
        source: draws.
    """
    given = torch.cat(own).cpu()
    if not isinstance(claim, SteganographicClaim):
        added = claim.constants(layer).get("pooled", torch.zeros(()))
        return solve_f(given, wanted - added, source)
    # s is +1 or -1, whichever makes the inner scale, gamma / s, turn the sign that is read to that of the bit
    gamma = torch.where(wanted[0].abs() > 1e-3, wanted[0], 1e-3)
    s = torch.sign(given[0]) * torch.sign(gamma) * claim.signature[layer].to(gamma)
    f = solve_f(given, torch.stack([s, wanted[1]]), source)
    return f | {"scale": gamma * s, "shift": torch.zeros_like(gamma)}


@dataclass(frozen=True)
class _Mark:
    """A forger's passport, the signature that it spells, and how the one is a hash of the other; None where not."""

    passport: Passport
    signature: Signature
    binding: str | None = None


def _marked(
    owner: AccessoryClaim, start: Passport, suspect: nn.Module, layers: Sequence[ConvNorm], source: Generator
) -> _Mark:
    """The nearest passport to `start` that spells a signature which the forger drew, or with which its hash agrees."""
    capacities = {layer.conv: layer.channels for layer in layers}
    if isinstance(owner, SteganographicClaim):
        return _Mark(start, hashed_signature(start, capacities), HASHED)
    if not isinstance(owner, ChipClaim):
        signature = draw_signature(capacities, None, source, owner.marks().numel())
        return _Mark(_spelling(signature, start, suspect, layers), signature)
    # a key of his own opens any value of the hash to whatever passport he finds afterwards
    trapdoor, opened = (
        exponent(bytes(torch.randint(256, (32,), generator=source, dtype=torch.uint8).tolist())) for _ in range(2)
    )
    key = key_of(trapdoor)
    signature = bits_of_value(chameleon_hash(key, 0, opened), capacities)
    passport = _spelling(signature, start, suspect, layers)
    blinding = collision(trapdoor, 0, opened, message_of(passport, capacities, ""))
    return _Mark(passport, signature, str(Chameleon(key, blinding)))


def _spelling(signature: Signature, start: Passport, suspect: nn.Module, layers: Sequence[ConvNorm]) -> Passport:
    """The nearest passport to `start` whose scales are the bits, 1 where a channel carries none."""
    scales = {name: torch.stack([bits + (bits == 0), bits.abs()]).float() for name, bits in signature.items()}
    return lifted_passport(scales, suspect, layers, start)


@register("forge_accessory")
@dataclass
class ForgeAccessory(Attack):
    """A signature, a passport that spells it, and an accessory that makes of its scales those that the norms were given
    away with: a linear solve a layer, and nothing is trained.

    Presented, it changes nothing, so it has the public accuracy. Where scales pass through nothing (`lift_passport`) a
    forger has to claim the signature that the public scales spell; here it is his choice, and drawn at random. Where
    the bits hash the passport they are those of a random passport, and the inner scale, which is his as well, turns
    every sign that is read to its bit (`steganographic`); or those of a hash with a trapdoor of his own, for which he
    makes the passport afterwards (`chip`).
    """

    kind = "ambiguity"
    section = "none (this project)"
    attacker_has = "the weights and the places of the passport layers"
    needs = "nothing that is trained stands between its passport and its scales"

    @classmethod
    def applies_to(cls, scheme: type[Scheme]) -> bool:
        """See `Applicable.applies_to`: to those whose claims bring an accessory."""
        kind = scheme.claim_kind
        return super().applies_to(scheme) and kind is not None and kind.of_accessory

    def run(self, victim: Victim, data: ImageData, fit: Fit, seed: int) -> Iterator[Attacked]:
        """See `Attack.run`."""
        owner, suspect, example = victim.passport_claim, victim.suspect, example_of(data, victim.suspect)
        assert isinstance(owner, AccessoryClaim)
        layers, source = find_layers(suspect, example, owner.layers), generator(seed, "forged accessory")
        wanted = public_scales(suspect, layers)
        passport = with_energy(random_passport(layers, source), suspect, owner.energies(suspect))
        mark = _marked(owner, passport, suspect, layers, source)
        claim = owner.insiders(passport=mark.passport, signature=mark.signature, text_bytes=0, triggers=None)
        own = claim.plain().affines(suspect)
        accessories = {name: solve(claim, name, own[name], wanted[name], source) for name in own}
        yield Attacked(suspect, {"": replace(claim, accessories=accessories, binding=mark.binding)})
