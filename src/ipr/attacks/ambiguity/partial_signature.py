"""A signature that is right, partly right, or wrong (Table IX)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ipr.attacks.base import Attack, Attacked, Fit, Victim, example_of
from ipr.config.registry import register
from ipr.data.images import ImageData
from ipr.passport.normal_form import public_signs, relative_to
from ipr.passport.surgery import find_layers
from ipr.randomness import generator
from ipr.schemes.base import Scheme
from ipr.signature import Signature, bits_of


def with_wrong_bytes(signature: Signature, fraction: float, source: torch.Generator) -> dict[str, Tensor]:
    """A signature with a fraction of its bytes (8 bits, the characters of a text) replaced by random ones."""
    sizes = [bits.numel() for bits in signature.values()]
    everywhere = torch.cat(list(signature.values()))
    bits = bits_of(signature)
    count = -(-bits.numel() // 8)
    for start in 8 * torch.randperm(count, generator=source)[: round(fraction * count)]:
        part = bits[start : start + 8]
        part[:] = torch.randint(0, 2, part.shape, generator=source, dtype=torch.int8) * 2 - 1
    everywhere[everywhere != 0] = bits
    return dict(zip(signature, everywhere.split(sizes), strict=True))


def _with_signs(gamma: Tensor, bits: Tensor) -> Tensor:
    """Scales, (1, C), with the signs of the bits, (C,); their own where a channel carries none."""
    signs = bits.to(gamma)
    return torch.where(signs == 0, gamma, gamma.abs() * signs)


@register("partial_signature")
@dataclass
class PartialSignature(Attack):
    """The genuine magnitudes with the signs of a signature of which a fraction of the bytes is wrong.

    A random byte agrees in half of its bits, so `wrong=1` differs from the owner's signature in half of all bits.
    """

    kind = "ambiguity"
    section = "IV-E, Table IX"
    attacker_has = "the weights and the genuine passport (distributed in V1, leaked in V2 and V3), not the signature"
    fractions = ("wrong",)
    needs = "its signature is not written into the scales that its layers answer with"

    wrong: list[float] = field(default_factory=lambda: [0.0, 0.1, 0.3, 0.5, 1.0])  # shares of the bits that are wrong

    @classmethod
    def applies_to(cls, scheme: type[Scheme]) -> bool:
        """See `Applicable.applies_to`: an accessory stands between the signature and the scales."""
        kind = scheme.claim_kind
        return super().applies_to(scheme) and not (kind is not None and kind.of_accessory)

    def run(self, victim: Victim, data: ImageData, fit: Fit, seed: int) -> Iterator[Attacked]:
        """See `Attack.run`."""
        owner = victim.passport_claim
        genuine, claims = owner.affines(victim.suspect), {}
        layers = find_layers(victim.suspect, example_of(data, victim.suspect), owner.layers)
        turned = public_signs(victim.suspect, layers)
        for wrong in self.wrong:
            bits = with_wrong_bytes(owner.signature, wrong, generator(seed, f"{wrong} of the signature"))
            if owner.relative:  # as the genuine scales spell them; what is claimed is read as it is
                bits = relative_to(turned, bits)
            scales = {
                name: torch.cat([_with_signs(gamma, bits[name]), beta]) for name, (gamma, beta) in genuine.items()
            }
            claims[f"wrong={wrong:g}"] = owner.with_scales(scales, signature=bits)
        yield Attacked(victim.suspect, claims)
