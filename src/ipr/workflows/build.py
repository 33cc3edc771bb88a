"""From a request to the things that a run is made of: images, networks, claims, schemes, and weights files."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import nn

from ipr.claims.base import Claim
from ipr.config.schema import (
    DatasetConfig,
    FrontierStitchingConfig,
    ModelConfig,
    PassportSchemeConfig,
    PassportV1Config,
    PassportV2Config,
    PassportV3Config,
    PathsConfig,
    TrainConfig,
)
from ipr.data.cache import load_images
from ipr.data.images import ImageData, normalise
from ipr.errors import InputError
from ipr.files import expanded, write_atomically
from ipr.models import build_model
from ipr.models.claimed import PARAMETER_LIMIT
from ipr.passport.claim import PassportClaim
from ipr.passport.surgery import protect
from ipr.randomness import derive_seed, drawing
from ipr.schemes.base import Scheme
from ipr.schemes.baseline import Baseline
from ipr.schemes.passport import PassportV1, PassportV2, PassportV3, SignatureLoss
from ipr.schemes.recipe import Recipe
from ipr.schemes.triggers import TriggerSamples
from ipr.schemes.watermark import embedding
from ipr.suspects.suspect import open_suspect
from ipr.watermarks.base import WatermarkClaim


def open_images(dataset: DatasetConfig, paths: PathsConfig, *, checked: bool = False, told: bool = True) -> ImageData:
    """The images that a configuration names.

    Args:
        dataset: which.
        paths: where they, and their cached file, lie.
        checked: whether a judge is to rely on them: their fingerprint is then computed, not read.
        told: whether to say on stderr what a folder was taken for.

    Raises:
        InputError: they cannot be read, the cached file was changed, or a class gets no training image.
    """
    data = load_images(
        dataset.name,
        root=dataset.root,
        image_size=dataset.image_size,
        download=dataset.download,
        data_folder=Path(paths.data),
        cache_folder=expanded(paths.cache, "paths.cache"),
        checked=checked,
        told=told,
    )
    data = data.part(dataset.part).limited(dataset.limit_train, dataset.limit_test)
    check_every_class(data, dataset)
    return data.holding_out(dataset.validation)


def check_every_class(data: ImageData, dataset: DatasetConfig) -> None:
    """Refuses classes that would be tested and not trained.

    Args:
        data: the images that are left.
        dataset: what was asked for.

    Raises:
        InputError: naming the setting that leaves a class without a training image.
    """
    missing = (data.train_labels.bincount(minlength=len(data.classes)) == 0).nonzero()[:, 0].tolist()
    if missing:
        limited = dataset.limit_train is not None
        field, value = ("limit_train", dataset.limit_train) if limited else ("part", dataset.part)
        problem = f"leaves {len(missing)} of {len(data.classes)} classes without a training image"
        remedy = f"give at least {len(data.classes)}" if limited else "give a larger part, or more images"
        raise InputError(f"dataset.{field}", value, problem, remedy)


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


def build_scheme(
    config: TrainConfig, data: ImageData, claim: Claim | None, trained: Callable[[], nn.Module]
) -> tuple[Scheme, int]:
    """The LightningModule that trains a run, with its network at the start, and for how many epochs.

    Args:
        config: the request.
        data: its images.
        claim: its secrets; None for the baseline.
        trained: finds or trains the plain network; called where the training starts from it (frontier stitching).
    """
    asked, scheme, classes = config.optimizer, config.scheme, len(data.classes)
    recipe = Recipe(asked.lr, asked.momentum, asked.weight_decay, asked.schedule, asked.warmup, asked.clip_norm)
    network, epochs = plain_network(config.model, data, config.seed), config.trainer.max_epochs
    if claim is None:
        return Baseline(network, recipe, classes), epochs
    if isinstance(claim, WatermarkClaim):
        weights = {name: getattr(scheme, name) for name in ("weight", "centre_weight") if hasattr(scheme, name)}
        if isinstance(scheme, FrontierStitchingConfig):
            network, epochs = trained(), scheme.epochs
            recipe = replace(recipe, lr=scheme.lr, schedule="constant", warmup=0.0)
        per_step, seed = config.trigger_set.per_step, config.seed
        return embedding(claim, network, recipe, data, per_step=per_step, seed=seed, **weights), epochs
    assert isinstance(claim, PassportClaim)
    assert isinstance(scheme, PassportSchemeConfig)
    return _passport_scheme(config, scheme, data, claim, network, recipe), epochs


def _passport_scheme(
    config: TrainConfig,
    scheme: PassportSchemeConfig,
    data: ImageData,
    claim: PassportClaim,
    network: nn.Module,
    recipe: Recipe,
) -> Scheme:
    classes = len(data.classes)
    loss = SignatureLoss(scheme.sign_loss_weight, scheme.gamma_0, scheme.gamma_regulariser)
    triggers = None
    if claim.triggers is not None:
        triggers = TriggerSamples(claim.triggers, config.trigger_set.per_step, data, config.seed)
    v1 = isinstance(scheme, PassportV1Config)
    example = example_image(data)
    protected = protect(network, claim.passport, example, public_affine=not v1)
    if v1:
        return PassportV1(protected, recipe, classes, signature=claim.signature, signature_loss=loss, triggers=triggers)
    assert isinstance(scheme, PassportV2Config)
    kind = PassportV3 if isinstance(scheme, PassportV3Config) else PassportV2
    return kind(
        protected,
        recipe,
        classes,
        signature=claim.signature,
        signature_loss=loss,
        example=example,
        triggers=triggers,
        alternation=scheme.alternation,
        relative=claim.relative,
    )


def save_weights(network: nn.Module, path: Path) -> None:
    """Writes a network's public `state_dict` as safetensors, whole or not at all."""
    write_atomically(path, save({name: tensor.cpu().contiguous() for name, tensor in network.state_dict().items()}))


def load_suspect(model: ModelConfig, data: ImageData, path: Path) -> nn.Module:
    """A plain network with the weights of a file (`open_suspect`).

    Raises:
        InputError: the file is missing, damaged, or for another architecture.
    """
    return open_suspect(path, architecture_of(model, data)).network


def architecture_of(model: ModelConfig, data: ImageData) -> dict[str, Any]:
    """What builds the plain network, as `Claim.architecture` holds it."""
    sizes = {"channels_in": data.channels, "image_size": data.image_size, "num_classes": len(data.classes)}
    return {"model": asdict(model), **sizes}
