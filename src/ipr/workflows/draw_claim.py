"""From a request to its secrets: passports and signatures, watermarks, trigger sets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from torch import nn

from ipr.claims.base import Claim, Thresholds
from ipr.claims.origin import NONCE, SIGNATURE, TRIGGER_SET, Origin, watermark_purpose
from ipr.config.schema import (
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
from ipr.data.images import ImageData
from ipr.data.trigger_sets import TriggerSet, abstract_trigger_set, folder_trigger_set
from ipr.errors import InputError
from ipr.judging.claim_kinds import KINDS, check_sound
from ipr.passport.bound import Binding, bound_signature
from ipr.passport.claim import PassportClaim
from ipr.passport.generate import draw_passport, with_energy
from ipr.passport.surgery import ConvNorm, Passport, find_layers
from ipr.randomness import derive_bytes, derive_seed, generator, started_at
from ipr.signature import draw_signature
from ipr.watermarks.base import WatermarkClaim
from ipr.watermarks.deepmarks import DeepMarksClaim, code_book
from ipr.watermarks.deepsigns import DeepSignsClaim
from ipr.watermarks.frontier_stitching import frontier_keys
from ipr.watermarks.key_images import KeyImageClaim
from ipr.watermarks.uchida import UchidaClaim
from ipr.workflows.build import architecture_of, example_image, plain_network
from ipr.workflows.request import has_triggers, is_bound, is_keyless


def make_claim(config: TrainConfig, data: ImageData, trained: Callable[[], nn.Module]) -> Claim | None:
    """The secrets of a new run, with what they were drawn from; None where nothing is embedded.

    Args:
        config: the request.
        data: its images.
        trained: finds or trains the plain network of the same architecture; called only where the secrets are made
            with it (feature-map passports, frontier stitching).

    Raises:
        InputError: a setting of the scheme does not fit the network or the images, or gives secrets that no judge
            would accept.
    """
    if not isinstance(config.scheme, PassportSchemeConfig | WatermarkSchemeConfig):
        return None
    try:
        claim = _drawn(config, config.scheme, data, trained)
        check_sound(claim)  # before a long training
    except InputError as error:
        if not error.field.startswith("claim"):
            raise
        problem = f"its claim would be none ({error.field} {error.value}: {error.problem})"
        remedy = "ask for more bits or other images (scheme.*, trigger_set.*, passport.*, dataset.*), or another seed"
        raise InputError("scheme", config.scheme.name, problem, remedy) from error
    return replace(claim, origin=origin_of(config, data))


def _drawn(
    config: TrainConfig,
    scheme: PassportSchemeConfig | WatermarkSchemeConfig,
    data: ImageData,
    trained: Callable[[], nn.Module],
) -> Claim:
    if isinstance(scheme, PassportSchemeConfig):
        return make_passport_claim(config, scheme, data, trained)
    return replace(make_watermark(config, scheme, data, trained), owner=config.owner)


def origin_of(config: TrainConfig, data: ImageData) -> Origin:
    """What the secrets of a run are drawn from: its seeds, where they are not chosen."""
    return Origin(
        seeds_of(config), is_keyless(config), data.fingerprint, data.train_labels.numel(), config.dataset.part
    )


def seeds_of(config: TrainConfig) -> dict[str, int]:
    """Purpose -> the seed that a run's random secrets are drawn from: signature, trigger set, watermark."""
    scheme, seed, key = config.scheme, config.seed, config.passport.key
    purposes = {}
    if isinstance(scheme, PassportSchemeConfig) and not is_bound(scheme):
        purposes[SIGNATURE] = SIGNATURE
    if (has_triggers(scheme) or scheme.name == "trigger_set") and config.trigger_set.name == "abstract":
        purposes[TRIGGER_SET] = TRIGGER_SET
    if isinstance(scheme, WatermarkSchemeConfig) and scheme.name != "trigger_set":
        purpose = watermark_purpose(scheme.name)
        message = scheme.signature if isinstance(scheme, GuoPotkonjakConfig) else None
        purposes[purpose] = f"{purpose} of {message}" if message else purpose
    return {purpose: derive_seed(seed, derived_for, key) for purpose, derived_for in purposes.items()}


def make_watermark(
    config: TrainConfig, scheme: WatermarkSchemeConfig, data: ImageData, trained: Callable[[], nn.Module]
) -> WatermarkClaim:
    """The secrets of a watermark."""
    network = plain_network(config.model, data, config.seed)
    owner: Any = {"thresholds": _thresholds(config), "architecture": architecture_of(config.model, data)}
    kind, count = KINDS[scheme.name], config.trigger_set.size
    if scheme.name == "trigger_set":
        assert issubclass(kind, KeyImageClaim)
        return _of_keys(kind, make_trigger_set(config, data), data, owner)
    source = started_at(seeds_of(config)[watermark_purpose(scheme.name)])
    if isinstance(scheme, UchidaConfig):
        return UchidaClaim.drawn(network, scheme.layer, scheme.bits, source, text=scheme.signature, **owner)
    if isinstance(scheme, DeepMarksConfig):
        return DeepMarksClaim.drawn(network, scheme.layer, code_book(scheme.order), source, **owner)
    if isinstance(scheme, DeepSignsConfig):
        sizes: dict[str, Any] = {"classes": scheme.classes, "bits": scheme.bits, "images": scheme.images}
        return DeepSignsClaim.drawn(network, data, source, **sizes, **owner)
    assert issubclass(kind, KeyImageClaim)
    if isinstance(scheme, FrontierStitchingConfig):
        return _of_keys(kind, frontier_keys(trained(), data, count, source, scheme.epsilon), data, owner)
    return _of_keys(kind, kind.keys(network, data, count, source), data, owner)


def _of_keys(kind: type[KeyImageClaim], keys: TriggerSet, data: ImageData, owner: dict[str, Any]) -> KeyImageClaim:
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
        nonce = derive_bytes(seed, NONCE, key)
        binding = Binding(nonce, relative=not isinstance(scheme, PassportV1Config))
    text = None if binding else scheme.signature
    signature = draw_signature(capacities, text, generator(seed, SIGNATURE, key))  # refused before a long training
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
        triggers=triggers,
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
    source = generator(config.seed, TRIGGER_SET, config.passport.key)
    return abstract_trigger_set(wanted.size, data.image_size, data.channels, len(data.classes), source)
