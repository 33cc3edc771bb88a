"""Claims that say nothing, or one thing many times: what each kind's `Claim.check_structure` refuses.

The p-value takes every bit, and every key image, as a guess of its own. These are shapes of claims whose marks cannot
be that, whatever network is read. They are what a clumsy forger tries: a careful one stays just beyond each limit, and
is met by dates, by secrets that the judge draws again (`Claim.redraw`) and by calibration.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ipr.data.trigger_sets import TriggerSet
from ipr.errors import InputError

SAME_DIRECTION = 0.999
"""|cosine| of two rows of a projection above which they count as one."""

ORTHONORMAL = 1e-3
"""How far a basis may be from orthonormal, by element of B^T B."""

NEVER_DRAWN = 2.0**-40
"""A chance that no honest draw meets: bits that are all equal, labels of one class, rows of one sign."""

COLUMNS = 8
"""Columns of a projection from which two drawn rows are never that near to each other."""

ROWS_LIMIT = 2**13
"""Rows of a projection at most: each is compared with each."""

REMEDY = "bring the claim that was drawn for the network"


def check_bits_differ(bits: Tensor) -> None:
    """Refuses bits, (N,), that are all equal.

    Raises:
        InputError: saying so.
    """
    if bits.numel() > -math.log2(NEVER_DRAWN) and bool((bits == bits[0]).all()):
        raise InputError("claim", f"{bits.numel()} bits", "are all equal: a signature says something", REMEDY)


def check_labels_differ(labels: Tensor, classes: int) -> None:
    """Refuses labels, (N,), that were to be drawn among so many classes and are all of one.

    Raises:
        InputError: saying so.
    """
    chance = float(classes) ** (1 - labels.numel()) if labels.numel() < 1000 else 0.0
    if chance < NEVER_DRAWN and bool((labels == labels[0]).all()):
        raise InputError("claim", f"{labels.numel()} labels", "are all of one class: they are to be drawn", REMEDY)


def check_rows(projection: Tensor) -> None:
    """Refuses a projection, (T, M), with rows that are 0, of one sign, or equal up to sign.

    Raises:
        InputError: saying so, or that there are too many rows to compare.
    """
    count, columns = projection.shape
    if count > ROWS_LIMIT:
        raise InputError("claim", f"a projection of {count} rows", f"has more than {ROWS_LIMIT}", "write fewer bits")
    largest = projection.abs().amax(1, keepdim=True).double()
    if not bool((largest > torch.finfo(torch.float32).tiny).all()):
        raise InputError("claim", "projection", "has a row of 0, which reads nothing", REMEDY)
    rows = projection.double() / largest  # no overflow, whatever their size
    if columns > -math.log2(NEVER_DRAWN) and bool(((rows >= 0).all(1) | (rows <= 0).all(1)).any()):
        raise InputError("claim", "projection", "has a row of one sign, which reads the same everywhere", REMEDY)
    rows = (rows / rows.norm(dim=1, keepdim=True)).float()
    for first in range(0, count, 1024):
        cosines = (rows[first : first + 1024] @ rows.T).abs()
        cosines[torch.arange(cosines.shape[0]), torch.arange(first, first + cosines.shape[0])] = 0
        if columns >= COLUMNS and bool((cosines > SAME_DIRECTION).any()):
            raise InputError("claim", "projection", "has rows that are equal up to sign: one bit each", REMEDY)


def check_basis(basis: Tensor) -> None:
    """Refuses a basis, (v, v), whose columns are not orthonormal.

    Raises:
        InputError: saying so.
    """
    unit = torch.eye(basis.shape[0], dtype=torch.float64)
    product = basis.double().T @ basis.double()
    if not bool(((product - unit).abs() < ORTHONORMAL).all()):
        raise InputError("claim", "basis", "is not orthonormal", REMEDY)


def check_one_class_each(keys: TriggerSet) -> None:
    """Refuses key images of which one stands for two classes.

    Raises:
        InputError: saying so.
    """
    if keys.pixels.flatten(1).unique(dim=0).shape[0] < keys.distinct().labels.numel():
        raise InputError("claim", "key images", "hold an image that stands for two classes", REMEDY)
