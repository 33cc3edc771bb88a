"""What a claim says of the network it is about, and whether images fit it."""

from __future__ import annotations

from ipr.claim import Claim
from ipr.data.images import ImageData
from ipr.errors import InputError
from ipr.runs.config import ModelConfig


def model_of(claim: Claim) -> ModelConfig:
    """The model that a claim is about.

    Raises:
        InputError: the claim names none.
    """
    try:
        return ModelConfig(**claim.architecture["model"])
    except (KeyError, TypeError) as error:
        raise InputError("claim", claim.kind, f"names no known architecture ({error})", "restore the claim") from error


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
