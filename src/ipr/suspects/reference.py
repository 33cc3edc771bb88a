"""`open_reference`: the network that a commitment was made to, from its owner's public weights."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from ipr.errors import InputError
from ipr.suspects.suspect import open_suspect


def open_reference(path: Path, architecture: Mapping[str, Any], weights_digest: str) -> nn.Module:
    """Opens the public weights to which an owner committed; they are read with as little trust as a suspect's.

    Args:
        path: the owner's weights file, in any format that `open_suspect` takes.
        architecture: `Claim.architecture`.
        weights_digest: `Commitment.weights`.

    Raises:
        InputError: the file cannot be used, does not fit the architecture, or holds other weights than those committed
            to.
    """
    try:
        found = open_suspect(path, architecture)
    except InputError as error:
        field = "reference" if error.field == "suspect" else error.field
        raise InputError(field, error.value, error.problem, error.remedy) from error
    if found.weights_digest != weights_digest:
        problem = "holds other weights than those that were committed to"
        raise InputError("reference", path, problem, "give the public weights that the commitment was made for")
    return found.network
