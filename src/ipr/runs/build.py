"""From a request to the things that a run is made of: images, networks, claims, schemes, and weights files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from ipr.claim import Claim, Thresholds
from ipr.data.cache import load_images
from ipr.data.images import ImageData, normalise
from ipr.data.trigger_sets import TriggerSet, abstract_trigger_set, folder_trigger_set
from ipr.errors import InputError
from ipr.models import build_model
from ipr.passport.claim import PassportClaim
from ipr.passport.generate import image_passport, random_passport, shuffled_passport, with_energy
from ipr.passport.surgery import ConvNorm, Passport, find_layers, protect
from ipr.randomness import derive_seed, generator
from ipr.runs.config import (
    DatasetConfig,
    ModelConfig,
    PassportSchemeConfig,
    PassportV1Config,
    PassportV2Config,
    PassportV3Config,
    PathsConfig,
    TrainConfig,
)
from ipr.runs.request import has_triggers
from ipr.schemes.base import Scheme
from ipr.schemes.baseline import Baseline
from ipr.schemes.passport import PassportV1, PassportV2, PassportV3, SignatureLoss
from ipr.schemes.recipe import Recipe
from ipr.schemes.triggers import TriggerSamples
from ipr.signature import draw_signature


def open_images(dataset: DatasetConfig, paths: PathsConfig) -> ImageData:
    """The images that a configuration names."""
    data = load_images(
        dataset.name,
        root=dataset.root,
        image_size=dataset.image_size,
        download=dataset.download,
        data_folder=Path(paths.data),
        cache_folder=Path(paths.cache).expanduser(),
    )
    return data.limited(dataset.limit_train, dataset.limit_test)


def plain_network(model: ModelConfig, data: ImageData, seed: int) -> nn.Module:
    """The plain network at its start: the same weights for every scheme of a seed."""
    with torch.random.fork_rng():
        torch.manual_seed(derive_seed(seed, "initialisation"))
        network = build_model(
            model.name,
            norm=model.norm,
            width=model.width,
            channels_in=data.channels,
            image_size=data.image_size,
            num_classes=len(data.classes),
        )
    return network.to(memory_format=torch.channels_last)  # as the images are: convolutions run faster


def _example(data: ImageData) -> torch.Tensor:
    return normalise(data.train_pixels[:1], data.mean, data.std)


def make_claim(
    config: TrainConfig, scheme: PassportSchemeConfig, data: ImageData, trained: Callable[[], nn.Module]
) -> Claim:
    """Passport, signature and trigger set for a new run.

    Args:
        config: the request.
        scheme: its scheme.
        data: its images.
        trained: finds or trains the plain network of the same architecture; called for feature-map passports only.
    """
    seed, key = config.seed, config.passport.key
    network = plain_network(config.model, data, seed)
    layers = find_layers(network, _example(data), scheme.layers)
    signature = draw_signature(
        {layer.conv: layer.channels for layer in layers}, scheme.signature, generator(seed, "signature", key)
    )
    triggers = make_trigger_set(config, data) if has_triggers(scheme) else None
    passport = with_energy(make_passport(config, data, layers, trained), network, config.passport.energy)
    return PassportClaim(
        passport=passport,
        signature=signature,
        thresholds=Thresholds(None, config.verification.fidelity_threshold, config.verification.p_value),
        text_bytes=len((scheme.signature or "").encode()),
        trigger_pixels=triggers.pixels if triggers else None,
        trigger_labels=triggers.labels if triggers else None,
        architecture={
            "model": asdict(config.model),
            "channels_in": data.channels,
            "image_size": data.image_size,
            "num_classes": len(data.classes),
        },
    )


def make_passport(
    config: TrainConfig, data: ImageData, layers: list[ConvNorm], trained: Callable[[], nn.Module]
) -> Passport:
    """A passport of the kind asked for (Section III-B), as published: not yet scaled."""
    kind, seed, key = config.passport.name, config.seed, config.passport.key
    source = generator(seed, f"{kind} passport", key)
    if kind == "random":
        return random_passport(layers, source)
    if kind not in ("image", "shuffled"):
        raise InputError("passport.name", kind, "is unknown", "choose random, image or shuffled")
    count = 2 * (1 if kind == "image" else config.passport.images)
    if count > data.train_labels.numel():
        raise InputError(
            "passport.images",
            config.passport.images,
            f"needs {count} training images",
            f"give at most {data.train_labels.numel() // 2}",
        )
    network = trained()
    chosen = torch.randperm(data.train_labels.numel(), generator=source)[:count]
    images = normalise(data.train_pixels[chosen], data.mean, data.std)
    if kind == "image":
        return image_passport(network, layers, images)
    return shuffled_passport(network, layers, images, source)


def make_trigger_set(config: TrainConfig, data: ImageData) -> TriggerSet:
    """The trigger set asked for."""
    wanted = config.trigger_set
    if wanted.name == "folder":
        return folder_trigger_set(wanted.root, data.image_size, data.channels, len(data.classes))
    if wanted.name != "abstract":
        raise InputError("trigger_set.name", wanted.name, "is unknown", "choose abstract or folder")
    source = generator(config.seed, "trigger set", config.passport.key)
    return abstract_trigger_set(wanted.size, data.image_size, data.channels, len(data.classes), source)


def build_scheme(config: TrainConfig, data: ImageData, claim: Claim | None) -> Scheme:
    """The LightningModule that trains a run, with its network at the start."""
    asked = config.optimizer
    recipe = Recipe(asked.lr, asked.momentum, asked.weight_decay, asked.schedule, asked.warmup, asked.clip_norm)
    network, classes = plain_network(config.model, data, config.seed), len(data.classes)
    if claim is None:
        return Baseline(network, recipe, classes)
    scheme = config.scheme
    assert isinstance(scheme, PassportSchemeConfig)
    assert isinstance(claim, PassportClaim)
    loss = SignatureLoss(scheme.sign_loss_weight, scheme.gamma_0, scheme.gamma_regulariser)
    triggers = None
    if claim.trigger_pixels is not None and claim.trigger_labels is not None:
        secret = TriggerSet(claim.trigger_pixels, claim.trigger_labels)
        triggers = TriggerSamples(secret, config.trigger_set.per_step, data, config.seed)
    v1 = isinstance(scheme, PassportV1Config)
    protected = protect(network, claim.passport, _example(data), public_affine=not v1)
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
        triggers=triggers,
        alternation=scheme.alternation,
    )


def save_weights(network: nn.Module, path: Path) -> None:
    """Writes a network's public `state_dict` as safetensors, whole or not at all."""
    aside = path.with_suffix(".part")
    save_file({name: tensor.cpu().contiguous() for name, tensor in network.state_dict().items()}, aside)
    aside.replace(path)


def load_suspect(model: ModelConfig, data: ImageData, path: Path) -> nn.Module:
    """A plain network with the weights of a public file; norms without an affine (scheme V1) get 1 and 0.

    Raises:
        InputError: the file is missing, damaged, or for another architecture.
    """
    network = plain_network(model, data, 0)
    try:
        weights = load_file(path)
    except (OSError, SafetensorError) as error:
        raise InputError("suspect", path, f"cannot be read ({error})", "give a public.safetensors") from error
    problem = _misfit(network.state_dict(), weights)
    if problem:
        raise InputError(
            "suspect",
            path,
            f"does not fit {model.name} ({problem})",
            "give model, model.norm, model.width and dataset as it was trained",
        )
    network.load_state_dict(weights, strict=False)
    return network


def _misfit(wanted: Mapping[str, torch.Tensor], given: Mapping[str, torch.Tensor]) -> str | None:
    if extra := given.keys() - wanted.keys():
        return f"{min(extra)} has no place"
    affine = {name for name in wanted if wanted[name].dim() == 1 and name.rpartition(".")[2] in ("weight", "bias")}
    if missing := wanted.keys() - given.keys() - affine:
        return f"{min(missing)} is missing"
    return next((f"{n}: {tuple(t.shape)}" for n, t in given.items() if t.shape != wanted[n].shape), None)
