"""From a locked file and its claim to a file that works without a passport."""

from __future__ import annotations

from pathlib import Path

import torch

from ipr.errors import InputError
from ipr.files import write_new
from ipr.judging.claim_kinds import load_claim
from ipr.models.claimed import network_of
from ipr.passport.claim import PassportClaim
from ipr.passport.unlock import unlock
from ipr.store.weights import WRITERS
from ipr.suspects.weights import read_file
from ipr.world import own_world


@own_world()
def unlock_file(weights: Path, claim: Path, out: Path | None = None) -> Path:
    """Writes the weights with the passport's scales and shifts as constants, in the format that they came in.

    Args:
        weights: locked weights of scheme V1: safetensors, or what `torch.save` wrote.
        claim: the folder of the claim that they were trained with.
        out: the file; None for one beside the weights, whose name says `folded`.

    Returns:
        The file.

    Raises:
        InputError: the weights are not locked, the claim does not fit them, or another file is in the place.
    """
    locked, owner = read_file(weights, "weights"), load_claim(claim)
    if locked.format not in WRITERS:
        remedy = "give the locked weights as safetensors or torch, and export what comes out"
        raise InputError("weights", weights, f"is of the format {locked.format}", remedy)
    if not isinstance(owner, PassportClaim):
        raise InputError("claim", claim, "brings no passport", "give the claim of a run of passport_v1")
    network, about = network_of(owner.architecture), owner.architecture
    example = torch.zeros(1, about["channels_in"], about["image_size"], about["image_size"])
    folded = WRITERS[locked.format](unlock(network, locked.tensors, owner.passport, example))
    path = out or weights.with_name(f"{weights.stem.removesuffix('-locked')}-folded{weights.suffix}")
    write_new({path: folded}, 0o600)
    return path
