"""The plain network at its start and from a run's weights file, and what a new claim says of it."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ipr.claims.base import Thresholds
from ipr.config.schema import ModelConfig, TrainConfig
from ipr.data.images import ImageData, normalise
from ipr.errors import InputError
from ipr.models import build_model
from ipr.models.claimed import PARAMETER_LIMIT
from ipr.randomness import derive_seed, drawing
from ipr.suspects.suspect import open_suspect


def plain_network(model: ModelConfig, data: ImageData, seed: int) -> nn.Module:
    """The plain network at its start: the same weights for every scheme of a seed."""
    with drawing(derive_seed(seed, "initialisation")):
        network = build_model(
            model.name,
            norm=model.norm,
            width=model.width,
            channels_in=data.channels,
            image_size=data.image_size,
            num_classes=len(data.classes),
        )
    if (size := sum(parameter.numel() for parameter in network.parameters())) > PARAMETER_LIMIT:
        problem = f"{model.name} would have {size} parameters, more than the {PARAMETER_LIMIT} that a judge opens"
        raise InputError("model.width", model.width, problem, "choose a smaller one, or another model")
    return network.to(memory_format=torch.channels_last)  # as the images are: convolutions run faster


def example_image(data: ImageData) -> torch.Tensor:
    """One normalised training image, (1, channels, H, W)."""
    return normalise(data.train_pixels[:1], data.mean, data.std)


def architecture_of(model: ModelConfig, data: ImageData) -> dict[str, Any]:
    """What builds the plain network, as `Claim.architecture` holds it."""
    sizes = {"channels_in": data.channels, "image_size": data.image_size, "num_classes": len(data.classes)}
    return {"model": asdict(model), **sizes}


def claim_parts(config: TrainConfig, data: ImageData) -> dict[str, Any]:
    """What a new claim says besides its secrets: owner, thresholds, and what builds the plain network."""
    limits = Thresholds(None, config.verification.fidelity_threshold, config.verification.p_value)
    return {"owner": config.owner, "thresholds": limits, "architecture": architecture_of(config.model, data)}


def load_suspect(model: ModelConfig, data: ImageData, path: Path) -> nn.Module:
    """A plain network with the weights of a run's file, opened as a stranger's is (`open_suspect`).

    Raises:
        InputError: the file is missing, damaged, or for another architecture.
    """
    return open_suspect(path, architecture_of(model, data)).network
