"""From a request to its secrets: passports and signatures, watermarks, trigger sets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from torch import nn

from ipr.claim import Claim, Thresholds
from ipr.data.images import ImageData
from ipr.data.trigger_sets import TriggerSet, abstract_trigger_set, folder_trigger_set
from ipr.errors import InputError
from ipr.passport.bound import Binding, bound_signature
from ipr.passport.claim import PassportClaim
from ipr.passport.generate import draw_passport, with_energy
from ipr.passport.surgery import ConvNorm, Passport, find_layers
from ipr.randomness import derive_bytes, generator
from ipr.runs.build import architecture_of, example_image, plain_network
from ipr.runs.config import (
    DeepMarksConfig,
    DeepSignsConfig,
    FrontierStitchingConfig,
    GuoPotkonjakConfig,
    PassportSchemeConfig,
    PassportV1Config,
    TrainConfig,
    UchidaConfig,
    WatermarkSchemeConfig,
)
from ipr.runs.request import has_triggers, is_bound
from ipr.signature import draw_signature
from ipr.verification.claims import KINDS
from ipr.watermarks.claim import WatermarkClaim
from ipr.watermarks.deepmarks import DeepMarksClaim, code_book
from ipr.watermarks.deepsigns import DeepSignsClaim
from ipr.watermarks.frontier_stitching import frontier_keys
from ipr.watermarks.key_images import KeyImageClaim
from ipr.watermarks.uchida import UchidaClaim


def make_claim(config: TrainConfig, data: ImageData, trained: Callable[[], nn.Module]) -> Claim | None:
    """The secrets of a new run; None where nothing is embedded.

    Args:
        config: the request.
        data: its images.
        trained: finds or trains the plain network of the same architecture; called only where the secrets are made
            with it (feature-map passports, frontier stitching).

    Raises:
        InputError: a setting of the scheme does not fit the network or the images.
    """
    if isinstance(config.scheme, PassportSchemeConfig):
        return make_passport_claim(config, config.scheme, data, trained)
    if isinstance(config.scheme, WatermarkSchemeConfig):
        return replace(make_watermark(config, config.scheme, data, trained), owner=config.owner)
    return None


def make_watermark(
    config: TrainConfig, scheme: WatermarkSchemeConfig, data: ImageData, trained: Callable[[], nn.Module]
) -> WatermarkClaim:
    """The secrets of a watermark."""
    network = plain_network(config.model, data, config.seed)
    key = config.passport.key
    source = generator(config.seed, f"{scheme.name} watermark", key)
    owner: Any = {"thresholds": _thresholds(config), "architecture": architecture_of(config.model, data)}
    if isinstance(scheme, UchidaConfig):
        return UchidaClaim.drawn(network, scheme.layer, scheme.bits, source, text=scheme.signature, **owner)
    if isinstance(scheme, DeepMarksConfig):
        return DeepMarksClaim.drawn(network, scheme.layer, code_book(scheme.order), source, **owner)
    if isinstance(scheme, DeepSignsConfig):
        sizes: dict[str, Any] = {"classes": scheme.classes, "bits": scheme.bits, "images": scheme.images}
        return DeepSignsClaim.drawn(network, data, source, **sizes, **owner)
    kind, count = KINDS[scheme.name], config.trigger_set.size
    assert issubclass(kind, KeyImageClaim)
    if isinstance(scheme, FrontierStitchingConfig):
        keys = frontier_keys(trained(), data, count, source, scheme.epsilon)
    elif scheme.name == "trigger_set":
        keys = make_trigger_set(config, data)
    else:
        if isinstance(scheme, GuoPotkonjakConfig) and scheme.signature:
            source = generator(config.seed, f"{scheme.name} watermark of {scheme.signature}", key)
        keys = kind.keys(network, data, count, source)
    return kind(pixels=keys.pixels, labels=keys.labels, choices=kind.choices_among(len(data.classes)), **owner)


def _thresholds(config: TrainConfig) -> Thresholds:
    return Thresholds(None, config.verification.fidelity_threshold, config.verification.p_value)


def make_passport_claim(
    config: TrainConfig, scheme: PassportSchemeConfig, data: ImageData, trained: Callable[[], nn.Module]
) -> PassportClaim:
    """Passport, signature and trigger set; `trained` is called for feature-map passports only."""
    seed, key = config.seed, config.passport.key
    network = plain_network(config.model, data, seed)
    layers = find_layers(network, example_image(data), scheme.layers)
    capacities = {layer.conv: layer.channels for layer in layers}
    binding = None
    if is_bound(scheme):  # the scales of V1 are the public ones
        nonce = derive_bytes(seed, "nonce of the signature", key)
        binding = Binding(nonce, relative=not isinstance(scheme, PassportV1Config))
    text = None if binding else scheme.signature
    signature = draw_signature(capacities, text, generator(seed, "signature", key))  # refused before a long training
    triggers = make_trigger_set(config, data) if has_triggers(scheme) else None
    passport = with_energy(make_passport(config, data, layers, trained), network, config.passport.energy)
    if binding:
        signature = bound_signature(passport, capacities, config.owner, binding)
    return PassportClaim(
        passport=passport,
        signature=signature,
        owner=config.owner,
        binding=str(binding) if binding else None,
        thresholds=_thresholds(config),
        text_bytes=len((text or "").encode()),
        trigger_pixels=triggers.pixels if triggers else None,
        trigger_labels=triggers.labels if triggers else None,
        architecture=architecture_of(config.model, data),
    )


def make_passport(
    config: TrainConfig, data: ImageData, layers: list[ConvNorm], trained: Callable[[], nn.Module]
) -> Passport:
    """A passport of the kind asked for (Section III-B), as published: not yet scaled."""
    asked = config.passport
    source = generator(config.seed, f"{asked.name} passport", asked.key)
    return draw_passport(asked.name, layers, data, asked.images, trained, source)[0]


def make_trigger_set(config: TrainConfig, data: ImageData) -> TriggerSet:
    """The trigger set asked for."""
    wanted = config.trigger_set
    if wanted.name == "folder":
        return folder_trigger_set(wanted.root, data.image_size, data.channels, len(data.classes))
    if wanted.name != "abstract":
        raise InputError("trigger_set.name", wanted.name, "is unknown", "choose abstract or folder")
    source = generator(config.seed, "trigger set", config.passport.key)
    return abstract_trigger_set(wanted.size, data.image_size, data.channels, len(data.classes), source)
