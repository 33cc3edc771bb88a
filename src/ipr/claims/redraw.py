"""A claim's secrets drawn again: what each kind's `Claim.redraw` finds, and how it compares."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from ipr.claims.origin import Origin
from ipr.randomness import started_at

TOLERANCE = 1e-5
"""Of floats, absolute and relative: the last bits of normal numbers differ between processors."""

ROUNDED = 0.01
"""Share of bytes of images that may be off by one: where a float lies between two bytes, its last bit rounds it."""

ALL_TEXT = "all text, which is chosen"
"""Of bits that are nothing else."""


@dataclass(frozen=True)
class Part:
    """One part of a claim's secrets.

    Attributes:
        name: `signature`, `trigger set`, or the tensors of a watermark.
        evidence: `signature` or `images`: what it would prove.
        holds: True where it was drawn, or is bound; False where the claim names a seed that does not give it; None
            where it cannot be drawn again, so that it may have been chosen.
        says: the finding in words; no secret.
    """

    name: str
    evidence: str
    holds: bool | None
    says: str


def source_of(origin: Origin | None, purpose: str) -> Generator | str:
    """A generator at the seed that a claim names for a purpose; where it names none, what to say of that."""
    if origin is None:
        return "nothing tells what was drawn"
    if purpose not in origin.seeds:
        return "no seed is named: of the claimant's choice"
    return started_at(origin.seeds[purpose])


def compared(
    name: str,
    evidence: str,
    mine: Mapping[str, Tensor],
    again: Mapping[str, Tensor],
    *,
    text: int = 0,
    total: int = 0,
    absolute: Mapping[str, float] | None = None,
) -> Part:
    """Whether what is claimed is what was drawn again.

    Args:
        name: see `Part`.
        evidence: see `Part`.
        mine: what is claimed, by name; without a text.
        again: what was drawn, by the same names.
        text: bits of a text, which were left out of `total` bits.
        total: see `text`.
        absolute: name -> how far its floats may be off, where that is more than `TOLERANCE`.
    """
    far = absolute or {}
    other = [n for n, t in mine.items() if not _same(t.cpu(), again[n].cpu(), far.get(n, TOLERANCE))]
    if other:
        says = f"the seed that is named gives other {', '.join(other)}"
    else:
        says = "drawn again from the seed that is named, and equal"
    if text:
        says += f", but for the {text} of {total} bits that spell a text"
    return Part(name, evidence, not other, says)


def _same(mine: Tensor, again: Tensor, absolute: float) -> bool:
    if mine.shape != again.shape or mine.dtype != again.dtype:
        return False
    if mine.is_floating_point():
        return torch.allclose(mine, again, rtol=TOLERANCE, atol=absolute)
    if mine.dtype == torch.uint8:
        apart = (mine.short() - again.short()).abs()
        return int(apart.max()) <= 1 and float(apart.float().mean()) <= ROUNDED
    return torch.equal(mine, again)
