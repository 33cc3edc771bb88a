"""Adapters that are solved for: any weights hold any passport, and work with any second one as well."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from ipr.attacks.base import Attack, Attacked, Fit, Victim
from ipr.config.registry import register
from ipr.data.images import ImageData
from ipr.randomness import generator
from ipr.watermarks.adapters import SealClaim, drawn_passports

QUIET = 1e3
"""B C A is the weights' own strongest part divided by this: so B (C_p - C) A is next to nothing."""

LOUD = 1e6
"""And any other passport moves the weights by up to this many times as much."""


def invariant_basis(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """E, (r, r), with E^-1 K E in blocks of one or two rows, and the block of each of its columns, (r,): eigenvectors,
    of a pair of conjugate ones the real and the imaginary part.

    Args:
        matrix: K, (r, r), that can be brought to its eigenvalues, float64.
    """
    values, vectors = torch.linalg.eig(matrix)
    columns, blocks = [], []
    for number, (value, vector) in enumerate(zip(values, vectors.T, strict=True)):
        if float(value.imag) < 0:
            continue  # its conjugate has both parts
        own = [vector.real] if float(value.imag) == 0 else [vector.real, vector.imag]
        columns += own
        blocks += [number] * len(own)
    return torch.stack(columns, 1), torch.tensor(blocks)


def factorised(weight: Tensor, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """B (C, r) and A (r, n) between which a passport is in the weights, and another one does no harm.

    Of W the r strongest singular directions are taken, U S V. With B = U S H^-1 C^-1 / `QUIET` and A = H V, whatever
    H, B C A is their part of W by 1 / `QUIET`, and C is read in B^+ W A^+, `QUIET` times as large, both exactly. And
    B (C_p - C) A is U S H^-1 (C^-1 C_p - 1) H V / `QUIET`. H is a basis in which C^-1 C_p is made of blocks, each
    scaled by a factor of its own. This leaves the blocks as they are, and makes what stands between them, as with any
    other passport, up to `LOUD` times as large.

    Args:
        weight: W, (C, n), float64.
        first: C, (r, r), invertible, float64.
        second: C_p, likewise.
    """
    rank = first.shape[0]
    left, strength, right = (part[..., :rank] for part in _svd(weight))
    inverse = torch.linalg.inv(first)
    basis, blocks = invariant_basis(inverse @ second)
    levels = blocks.unique(return_inverse=True)[1].double()
    basis = basis * LOUD ** (levels / levels.max().clamp(min=1))
    up = left * strength / QUIET @ torch.linalg.inv(basis) @ inverse
    return up, basis @ right.T


def _svd(weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    left, strength, right = torch.linalg.svd(weight, full_matrices=False)
    return left, strength, right.T


@register("factorise")
@dataclass
class Factorise(Attack):
    """Two passports that the forger drew, and adapters that he solves for in closed form: a singular value
    decomposition a layer, no image.

    His first passport is read in the very weights, with the second the network is as good as it was, and with random
    ones it is not: all that the owner's claim shows. Any invertible C is a factor of any product, and C_p alone has to
    do no harm. So it is of no use to ask that passports be drawn. What he cannot have is a date before the release.
    """

    kind = "ambiguity"
    section = "none (this project)"
    attacker_has = "the weights and the names of the adapted layers"
    families = ("adapter",)
    claims = SealClaim
    needs = "no passport stands between adapters in its weights"

    def run(self, victim: Victim, data: ImageData, fit: Fit, seed: int) -> Iterator[Attacked]:
        """See `Attack.run`."""
        owner, source = victim.claim, generator(seed, "factorised weights")
        assert isinstance(owner, SealClaim)
        passports = drawn_passports(len(owner.named), owner.rank, source)
        forged = replace(owner, owner="", origin=None, passports=passports)
        weights = [weight for _, weight, _, _ in owner.adapted(victim.suspect)]
        made = [factorised(*one) for one in zip(weights, *forged.secrets(), strict=True)]
        up, down = (torch.cat(parts, side) for side, parts in enumerate(zip(*made, strict=True)))
        yield Attacked(victim.suspect, {"": replace(forged, up=up, down=down)})
