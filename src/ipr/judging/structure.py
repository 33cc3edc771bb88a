"""Claims that say nothing, or one thing many times: refused before they are judged.

The p-value takes every bit, and every key image, as a guess of its own. These are shapes of claims whose marks cannot
be that, whatever network is read. They are what a clumsy forger tries: a careful one stays just beyond each limit, and
is met by dates, by secrets that the judge draws again (`redraw.py`) and by calibration.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from ipr.claims.base import Claim
from ipr.errors import InputError
from ipr.judging.black_box import distinct
from ipr.passport.claim import PassportClaim
from ipr.passport.generate import energies
from ipr.passport.layer import Affine
from ipr.schemes.deepmarks import DeepMarksClaim
from ipr.schemes.deepsigns import DeepSignsClaim
from ipr.schemes.trigger_set import TriggerSetClaim
from ipr.schemes.uchida import UchidaClaim
from ipr.schemes.zhang import ZhangUnrelatedClaim

NOISE = 1e-6
"""A mean patch is noise where it is so small beside that of the passport's absolute values: it cancels to rounding."""

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


def check_structure(claim: Claim) -> None:
    """Refuses a claim whose marks are not so many pieces of evidence; needs no network.

    Raises:
        InputError: equal bits only, labels of one class where they are drawn, rows of a projection that are 0, of one
            sign or equal up to sign, a basis that is none, a class named twice, an image that stands for two classes.
    """
    if isinstance(claim, PassportClaim | UchidaClaim | DeepSignsClaim):
        _check_bits(claim.marks().flatten())
    if isinstance(claim, PassportClaim) and claim.trigger_labels is not None:
        _check_labels(claim.trigger_labels, claim.architecture.get("num_classes", 2))
    if isinstance(claim, TriggerSetClaim | ZhangUnrelatedClaim):
        _check_labels(claim.labels, claim.choices)
    if isinstance(claim, UchidaClaim | DeepMarksClaim | DeepSignsClaim):
        _check_rows(claim.projection)
    if isinstance(claim, DeepMarksClaim):
        _check_basis(claim.basis)
    if isinstance(claim, DeepSignsClaim):
        _check_classes(claim)


def check_signal(network: nn.Module, claim: PassportClaim) -> None:
    """Refuses a passport that says nothing at a layer: its scales would be 0, or rounding.

    Args:
        network: a plain or protected network that the claim fits.
        claim: with a passport; bare scales are left alone.

    Raises:
        InputError: the mean patch of P_gamma or of P_beta is 0, or no more than what rounding leaves.
    """
    there = energies(claim.passport, network)
    most = energies({name: maps.double().abs() for name, maps in claim.passport.items()}, network)
    for name, energy in there.items():
        heard = (energy > NOISE * most[name]) & (energy > torch.finfo(torch.float32).tiny)
        for half, sounds in zip(("P_gamma", "P_beta"), heard.tolist(), strict=True):
            if not sounds:
                raise InputError("claim", f"{half} of {name}", "has a mean patch of 0, so it says nothing", REMEDY)


def check_scales(affines: Mapping[str, Affine]) -> None:
    """Refuses scales and shifts that are not finite: products that are too large for a float.

    Args:
        affines: layer -> scale and shift that a claim gives it, each (1, C).

    Raises:
        InputError: naming the layer.
    """
    for name, pair in affines.items():
        if not all(bool(values.float().isfinite().all()) for values in pair):
            raise InputError("claim", f"scales of {name}", "are not finite", REMEDY)


def _check_bits(bits: Tensor) -> None:
    if bits.numel() > -math.log2(NEVER_DRAWN) and bool((bits == bits[0]).all()):
        raise InputError("claim", f"{bits.numel()} bits", "are all equal: a signature says something", REMEDY)


def _check_labels(labels: Tensor, classes: int) -> None:
    chance = float(classes) ** (1 - labels.numel()) if labels.numel() < 1000 else 0.0
    if chance < NEVER_DRAWN and bool((labels == labels[0]).all()):
        raise InputError("claim", f"{labels.numel()} labels", "are all of one class: they are to be drawn", REMEDY)


def _check_rows(projection: Tensor) -> None:
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


def _check_basis(basis: Tensor) -> None:
    unit = torch.eye(basis.shape[0], dtype=torch.float64)
    product = basis.double().T @ basis.double()
    if not bool(((product - unit).abs() < ORTHONORMAL).all()):
        raise InputError("claim", "basis", "is not orthonormal", REMEDY)


def _check_classes(claim: DeepSignsClaim) -> None:
    if claim.chosen.unique().numel() < claim.chosen.numel():
        raise InputError("claim", "chosen", "names a class twice", REMEDY)
    images = claim.pixels.flatten(1).unique(dim=0).shape[0]
    if images < distinct(claim.pixels, claim.labels)[1].numel():
        raise InputError("claim", "key images", "hold an image that stands for two classes", REMEDY)
