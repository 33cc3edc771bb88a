"""The plain network at its start, random or trained, and what a new claim says of it."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ipr.claims.base import Thresholds
from ipr.claims.recorded_images import recorded_of
from ipr.config.schema import ModelConfig, TrainConfig
from ipr.data.images import ImageData, normalise
from ipr.data.opening import preprocessing_for
from ipr.errors import InputError
from ipr.models import build_model
from ipr.models.claimed import PARAMETER_LIMIT
from ipr.models.published import load_published, published_name
from ipr.randomness import derive_seed, drawing
from ipr.store.folder import RunFolder
from ipr.store.survey import find_run
from ipr.suspects.suspect import open_suspect
from ipr.suspects.weights import read_file

TRAINED = "baseline"
"""What `init` says for the plain network of the same request, which is trained first where it is not there."""


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


def start_network(config: TrainConfig, data: ImageData) -> nn.Module:
    """What a run starts from: the weights of `init`, or the `plain_network` of its seed where there are none, with the
    published weights that `model.weights` asks for.

    Raises:
        InputError: `init` is no weights of the network that is asked for, or those of a locked one (scheme V1); or
            published weights cannot be fetched.
    """
    if (path := start_file(config)) is None:
        network, asked = plain_network(config.model, data, config.seed), config.model.weights
        if asked is not None:
            sizes = {"channels_in": data.channels, "num_classes": len(data.classes)}
            load_published(network, config.model.name, asked, **sizes)
        return network
    begun = open_suspect(path, architecture_of(config.model, data), "init")
    if begun.absent:
        problem = f"does not hold {begun.absent[0]}, as a network that is locked (V1)"
        raise InputError("init", config.init, problem, "unlock it first (`ipr unlock`)")
    return begun.network


def starts_trained(config: TrainConfig) -> bool:
    """Whether a run starts from weights that were trained before."""
    return config.init is not None or config.model.weights is not None


def start_name(config: TrainConfig, digest: str | None) -> str | None:
    """What a record says of the weights that a run starts from; None for random ones.

    Args:
        config: the request.
        digest: see `start_digest`.
    """
    if digest is None and config.model.weights is not None:
        return published_name(config.model.name, config.model.weights)
    return None if digest is None else digest[:12]


def start_file(config: TrainConfig) -> Path | None:
    """The weights file that `init` names: itself, or that of a training; None where `init` does. `TRAINED` is not for
    here: whoever trains what it stands for puts a file in its place (`workflows.train.started`).

    Raises:
        InputError: there is none.
    """
    if config.init is None:
        return None
    path = Path(config.init).expanduser()
    if not path.is_file():
        try:
            path = RunFolder(find_run(str(path), Path(config.paths.runs))).weights
        except InputError as error:
            raise InputError("init", config.init, error.problem, error.remedy) from error
    if not path.is_file():
        remedy = f"give {TRAINED}, a weights file, or a training that `ipr list` shows"
        raise InputError("init", config.init, "is no weights file and no finished training", remedy)
    return path


def start_digest(config: TrainConfig) -> str | None:
    """SHA-256 of the weights file that a run starts from (`Suspect.digest`); None for random weights, and `TRAINED` as
    it is, since the request says what that is.

    Raises:
        InputError: see `start_file`; or it is no weights file.
    """
    if config.init == TRAINED:
        return TRAINED
    path = start_file(config)
    return None if path is None else read_file(path, "init").digest


def check_start(config: TrainConfig, named: str | None) -> None:
    """Refuses a weights file that has changed since a run was named after it, by the first digits of its SHA-256.

    Raises:
        InputError: saying so.
    """
    there = start_digest(config)
    if there is not None and there[: len(named or "")] != named:
        problem = "was changed since the run was named after what it holds"
        raise InputError("init", config.init, problem, "give the command again")


def example_image(data: ImageData) -> torch.Tensor:
    """One normalised training image, (1, channels, H, W)."""
    return normalise(data.train_pixels[:1], data.mean, data.std)


def architecture_of(model: ModelConfig, data: ImageData) -> dict[str, Any]:
    """What builds the plain network, as `Claim.architecture` holds it: no word of weights, which a judge brings."""
    sizes = {"channels_in": data.channels, "image_size": data.image_size, "num_classes": len(data.classes)}
    return {"model": without_weights(model), **sizes}


def without_weights(model: ModelConfig) -> dict[str, Any]:
    """The fields of a model, but for the published weights that a run began with."""
    return {name: value for name, value in asdict(model).items() if name != "weights"}


def claim_parts(config: TrainConfig, data: ImageData) -> dict[str, Any]:
    """What a new claim says besides its secrets: owner, thresholds, what builds the plain network, and how its images
    are read.
    """
    images = recorded_of(data, preprocessing_for(config.dataset))
    limits = Thresholds(None, config.verification.fidelity_threshold, config.verification.p_value)
    about = {"architecture": architecture_of(config.model, data), "images": images}
    return {"owner": config.owner, "thresholds": limits, **about}


def load_suspect(model: ModelConfig, data: ImageData, path: Path) -> nn.Module:
    """A plain network with the weights of a run's file, opened as a stranger's is (`open_suspect`).

    Raises:
        InputError: the file is missing, damaged, or for another architecture.
    """
    return open_suspect(path, architecture_of(model, data)).network
