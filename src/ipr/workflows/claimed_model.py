"""What a claim says of the network it is about, and whether images fit it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from ipr.claims.base import Claim
from ipr.config.schema import ModelConfig
from ipr.data.images import ImageData
from ipr.errors import InputError
from ipr.files import read_regular
from ipr.schemes.start import without_weights


def model_of(claim: Claim) -> ModelConfig:
    """The model that a claim is about, with fresh weights: a claim has none fetched.

    Raises:
        InputError: the claim names none.
    """
    try:
        return replace(ModelConfig(**claim.architecture["model"]), weights=None)
    except (KeyError, TypeError) as error:
        raise InputError("claim", claim.kind, f"names no known architecture ({error})", "restore the claim") from error


def architecture_of_run(folder: Path, claim: Claim) -> dict[str, Any]:
    """What builds the network of a run folder, for the images that a claim's network takes.

    Raises:
        InputError: the folder holds no run, or its network takes other images.
    """
    remedy = "give a folder that ipr train wrote, or a weights file"
    try:
        shown = yaml.safe_load(read_regular(folder / "config.yaml", 2**20)[0].decode())
        model = without_weights(ModelConfig(**shown["model"]))
    except (OSError, KeyError, TypeError, ValueError, RecursionError, yaml.YAMLError) as error:
        reason = f"is no run folder ({type(error).__name__} in config.yaml)"
        raise InputError("independent", folder, reason, remedy) from error
    sizes = {name: claim.architecture.get(name) for name in ("channels_in", "image_size", "num_classes")}
    return {"model": model, **sizes}


def check_data(claim: Claim, data: ImageData) -> None:
    """Refuses images that a claim's network does not take.

    Raises:
        InputError: naming the setting that does not fit.
    """
    there = {"image_size": data.image_size, "channels_in": data.channels, "num_classes": len(data.classes)}
    remedies = {
        "image_size": ("dataset.image_size", "give dataset.image_size={}"),
        "channels_in": ("dataset", "give a data set of images with {} channels"),
        "num_classes": ("dataset", "give the data set of {} classes that it was trained on"),
    }
    for name, (field, remedy) in remedies.items():
        wanted = claim.architecture.get(name)
        if wanted != there[name]:
            problem = f"the claim is about a network with {name} {wanted}"
            raise InputError(field, there[name], problem, remedy.format(wanted))
