"""Unbiased CKA: how alike two sets of vectors are, whatever basis each is in (Kornblith et al. 2019; Song et al. 2012).

HSIC of two Gram matrices is estimated without bias: their diagonals are set to 0, and they are centred so that the mean
over independent samples is 0 (U-centring, Székely and Rizzo 2014). So unrelated vectors give about 0 however few there
are, where the plain estimate grows with their length.
"""

from __future__ import annotations

import torch
from torch import Tensor

LEAST = 4
"""Rows at least: the estimate divides by n (n - 3)."""


def u_centred(gram: Tensor) -> Tensor:
    """A symmetric Gram matrix, (n, n), with a diagonal of 0 and rows that sum to 0; n at least 4."""
    n = gram.shape[0]
    off = gram - torch.diag(gram.diagonal())
    rows = off.sum(1)
    centred = off - (rows[:, None] + rows[None]) / (n - 2) + rows.sum() / ((n - 1) * (n - 2))
    return centred - torch.diag(centred.diagonal())


def unbiased_cka(one: Tensor, other: Tensor) -> float:
    """CKA of two sets of vectors, row i of one belonging to row i of the other.

    It does not change if either set is turned (multiplied by an orthogonal matrix), moved or scaled.

    Args:
        one: (n, p); n at least `LEAST`.
        other: (n, q).

    Returns:
        At most 1, which sets that are equal but for that have; about 0, or below, for unrelated ones. 0 where the rows
        of a set do not differ.

    Raises:
        ValueError: there are too few rows, or not as many.
    """
    if one.shape[0] != other.shape[0] or one.shape[0] < LEAST:
        raise ValueError(f"{one.shape[0]} and {other.shape[0]} rows: as many are wanted, from {LEAST} on")
    first, second = (u_centred(rows.double() @ rows.double().T) for rows in (one, other))
    lengths = float(first.norm() * second.norm())
    return float((first * second).sum()) / lengths if lengths > 0 else 0.0
