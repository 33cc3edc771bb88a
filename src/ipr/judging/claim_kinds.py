"""Claims of every kind, read back from their folders."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ipr.claims.base import Claim, Thresholds
from ipr.claims.folder import REMEDY, read_parts
from ipr.claims.recorded_images import RecordedImages
from ipr.config.registry import entries, load
from ipr.errors import InputError
from ipr.models.claimed import check_architecture
from ipr.passport.claim import PassportClaim
from ipr.world import own_world

MARKS_LIMIT = 2**17
"""Bits and labels of a claim at most: its exact p-value is computed in whole numbers of as many digits."""


def kind_of(name: str) -> type[Claim]:
    """The class of the claims of a kind: of every passport scheme, or of the scheme of this name.

    Raises:
        TypeError: it is no text.
        InputError: nothing installed makes such claims, or it is of another package's scheme, which cannot be loaded.
    """
    if name == PassportClaim.kind:
        return PassportClaim
    kind: type[Claim] | None = load("scheme", name).claim_kind if name in entries("scheme") else None
    if kind is None or kind.kind != name:
        problem = "is a kind that nothing installed knows"
        raise InputError("claim kind", ascii(name), problem, "install the package that made the claim")
    return kind


@own_world()
def load_claim(folder: Path) -> Claim:
    """Reads a claim that `Claim.save` wrote.

    Raises:
        InputError: it is not there, cannot be read, holds what does not belong there, its parts do not fit together,
            or it is of a shape that says nothing (`Claim.check_structure`).
    """
    facts, tensors = read_parts(folder)
    try:
        thresholds = Thresholds(**{f.name: facts["thresholds"][f.name] for f in fields(Thresholds)})
        claim = kind_of(facts["kind"]).from_parts(facts, tensors, thresholds)
        if claim.images is None and "images" in facts:  # another package's class need not know of them
            claim = replace(claim, images=RecordedImages.read(facts["images"]))
    except InputError:
        raise
    except (KeyError, TypeError, AttributeError, ValueError, IndexError, RuntimeError) as error:
        raise InputError("claim", folder, f"is damaged (missing or wrong: {error})", REMEDY) from error
    _check_whole(folder, claim, facts, tensors)
    check_sound(claim, folder)
    return claim


def check_sound(claim: Claim, folder: Path | None = None) -> None:
    """Refuses a claim that no judge accepts: too many marks, another network's images, or a shape that says nothing.

    Args:
        claim: any.
        folder: where it is stored; None for one that is to be.

    Raises:
        InputError: naming what is wrong.
    """
    place = folder or claim.kind
    marks = sum(tensor.numel() for tensor in claim.tensors().values() if tensor.dtype in (torch.int8, torch.int64))
    if not (marks or claim.is_fingerprint) or marks > MARKS_LIMIT:
        raise InputError("claim", place, f"holds {marks} bits and labels, not 1 to {MARKS_LIMIT}", REMEDY)
    check_architecture(claim.architecture)
    if claim.images is not None:
        claim.images.check_fits(claim.architecture)
    _check_images(place, claim)
    claim.check_structure()


def _check_whole(folder: Path, claim: Claim, facts: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """Refuses what a claim does not hold although its folder does: it would be in no fingerprint."""
    mine, names = claim.facts(), claim.tensors().keys()
    foreign = sorted({*facts} - {*mine}) + sorted({*tensors} - {*names})
    if foreign:
        raise InputError("claim", folder, f"holds {foreign[0]!a}, which belongs to no such claim", REMEDY)
    wrong = [name for name in mine if json.dumps(facts[name], sort_keys=True) != json.dumps(mine[name], sort_keys=True)]
    if wrong:
        raise InputError("claim", folder, f"is damaged ({wrong[0]} is not what it should be)", REMEDY)


def _check_images(folder: Path | str, claim: Claim) -> None:
    """Refuses images, labels and chances that are not those of the architecture that the claim names."""
    named = {name.rpartition("/")[2]: tensor for name, tensor in claim.tensors().items()}
    classes, about = claim.architecture.get("num_classes"), claim.architecture
    labels, pixels = named.get("labels"), named.get("pixels")
    if labels is not None and classes is not None and int(labels.max()) >= classes:
        raise InputError("claim", folder, f"has labels beyond its {classes} classes", REMEDY)
    if pixels is not None and "image_size" in about and "channels_in" in about:
        wanted = (about["image_size"], about["image_size"], about["channels_in"])
        if tuple(pixels.shape[1:]) != wanted:
            problem = f"has images of shape {tuple(pixels.shape[1:])} for a network that takes {wanted}"
            raise InputError("claim", folder, problem, REMEDY)
