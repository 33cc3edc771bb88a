"""From a locked file and its claim to a file that works without a passport."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ipr.errors import InputError
from ipr.files import write_new
from ipr.models import build_model
from ipr.passport.claim import PassportClaim
from ipr.passport.unlock import unlock
from ipr.runs.weights import WRITERS, format_of, read_weights
from ipr.verification.claims import load_claim


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
    locked, owner = read_weights(weights), load_claim(claim)
    if not isinstance(owner, PassportClaim) or not owner.passport:
        raise InputError("claim", claim, "brings no passport", "give the claim of a run of passport_v1")
    network, example = network_of(owner.architecture)
    folded = WRITERS[format_of(weights)](unlock(network, locked, owner.passport, example))
    path = out or weights.with_name(f"{weights.stem.removesuffix('-locked')}-folded{weights.suffix}")
    write_new({path: folded}, 0o600)
    return path


def network_of(architecture: Mapping[str, Any]) -> tuple[nn.Module, torch.Tensor]:
    """The plain network that a claim or a card names, with fresh weights, and an example of its input.

    Raises:
        InputError: something is missing, or it is no network that can be built.
    """
    try:
        model, channels, size = (architecture[name] for name in ("model", "channels_in", "image_size"))
        sizes = {"channels_in": channels, "image_size": size, "num_classes": architecture["num_classes"]}
        network = build_model(model["name"], norm=model["norm"], width=model["width"], **sizes)
        return network, torch.zeros(1, channels, size, size)
    except (KeyError, TypeError) as error:
        remedy = "restore it from your copy"
        raise InputError("claim", "<architecture>", f"names no network (missing or wrong: {error})", remedy) from error
