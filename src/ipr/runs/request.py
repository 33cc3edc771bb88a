"""What a request must satisfy, what identifies it, and how it may be shown."""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from ipr.claim import Thresholds, check_owner
from ipr.data.images import ImageData
from ipr.data.share import check_divisible
from ipr.errors import InputError
from ipr.runs.config import (
    BOUND,
    HIDDEN,
    FrontierStitchingConfig,
    KeyImagesConfig,
    PassportSchemeConfig,
    PassportV1Config,
    PassportV3Config,
    SchemeConfig,
    TrainConfig,
    TrainerConfig,
    WatermarkSchemeConfig,
)
from ipr.runs.store import RunFolder, folder_named, run_key, secret_digest

PRECISIONS = ("32-true", "64-true", "bf16-mixed", "16-mixed")
MEMORY_FORMATS = {"channels_last": torch.channels_last, "contiguous": torch.contiguous_format}
ACCELERATORS = ("auto", "cpu", "gpu", "cuda", "mps")


def check(config: TrainConfig) -> None:
    """What no single field can tell.

    Raises:
        InputError: naming the field that does not fit.
    """
    if config.trainer.max_epochs < 1:
        raise InputError("trainer.max_epochs", config.trainer.max_epochs, "must be at least 1", "give e.g. 20")
    if config.optimizer.batch_size < 1:
        raise InputError("optimizer.batch_size", config.optimizer.batch_size, "must be at least 1", "give e.g. 64")
    if config.dataset.crop_padding < 0:
        raise InputError(
            "dataset.crop_padding", config.dataset.crop_padding, "must not be negative", "give e.g. 4, or 0"
        )
    if config.verification.forged < 0:
        raise InputError("verification.forged", config.verification.forged, "must not be negative", "give e.g. 50")
    if config.passport.images < 1:
        raise InputError("passport.images", config.passport.images, "must be at least 1", "give e.g. 20")
    if config.passport.energy is not None and not config.passport.energy > 0:
        raise InputError(
            "passport.energy", config.passport.energy, "must be above 0", "give e.g. 3, or null for as published"
        )
    _check_processes(config)
    if isinstance(config.scheme, FrontierStitchingConfig):
        if config.scheme.epochs < 1:
            raise InputError("scheme.epochs", config.scheme.epochs, "must be at least 1", "give e.g. 10")
        if not 0 < config.scheme.epsilon <= 1:
            raise InputError("scheme.epsilon", config.scheme.epsilon, "must be above 0 and at most 1", "give e.g. 0.03")
        if not config.scheme.lr > 0:
            raise InputError("scheme.lr", config.scheme.lr, "must be above 0", "give e.g. 0.01")
    for field, value, known in (
        ("trainer.precision", config.trainer.precision, PRECISIONS),
        ("trainer.memory_format", config.trainer.memory_format, tuple(MEMORY_FORMATS)),
        ("trainer.accelerator", config.trainer.accelerator, ACCELERATORS),
        ("model.norm", config.model.norm, ("bn", "gn")),
    ):
        if value not in known:
            raise InputError(field, value, "is unknown", f"choose among: {', '.join(known)}")
    if config.trainer.accelerator in ("gpu", "cuda") and not torch.cuda.is_available():
        raise InputError("trainer.accelerator", config.trainer.accelerator, "no GPU is at hand", "choose auto or cpu")
    if config.trainer.precision == "16-mixed" and not torch.cuda.is_available():
        raise InputError("trainer.precision", config.trainer.precision, "needs a GPU", "choose bf16-mixed or 32-true")
    compiler = os.environ.get("CXX", "clang++" if sys.platform == "darwin" else "g++")
    if config.trainer.compile and not torch.cuda.is_available() and shutil.which(compiler) is None:
        raise InputError(
            "trainer.compile", True, f"needs a C++ compiler, and there is no {compiler}", "install one, or choose false"
        )
    Thresholds(None, config.verification.fidelity_threshold, config.verification.p_value)
    check_owner(config.owner)


def _check_processes(config: TrainConfig) -> None:
    trainer, processes = config.trainer, processes_of(config.trainer)
    for name, count in (("devices", trainer.devices), ("nodes", trainer.nodes)):
        if count < 1:
            raise InputError(f"trainer.{name}", count, "must be at least 1", "give e.g. 1")
    if processes == 1:
        return
    check_divisible("optimizer.batch_size", config.optimizer.batch_size, processes)
    if has_triggers(config.scheme) or isinstance(config.scheme, KeyImagesConfig):
        check_divisible("trigger_set.per_step", config.trigger_set.per_step, processes)
    if trainer.accelerator == "mps":
        raise InputError("trainer.devices", trainer.devices, "there is one GPU of this kind", "choose 1")
    if accelerator_of(trainer) == "cuda" and trainer.devices > torch.cuda.device_count():
        raise InputError(
            "trainer.devices",
            trainer.devices,
            f"this process sees {torch.cuda.device_count()} GPUs",
            f"choose at most {torch.cuda.device_count()} on each machine, or trainer.accelerator=cpu",
        )


def processes_of(trainer: TrainerConfig) -> int:
    """How many processes train together."""
    return trainer.devices * trainer.nodes


def accelerator_of(trainer: TrainerConfig) -> str:
    """What several processes train on: `cuda`, or `cpu` where there is no such GPU or none is asked for."""
    return "cuda" if trainer.accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available() else "cpu"


def has_triggers(scheme: SchemeConfig) -> bool:
    """Whether a scheme embeds a trigger set."""
    return isinstance(scheme, PassportV3Config) or (isinstance(scheme, PassportV1Config) and scheme.embed_trigger_set)


def is_bound(scheme: SchemeConfig) -> bool:
    """Whether the signature is to follow from the passport; to a watermark the word is a text like any other."""
    return isinstance(scheme, PassportSchemeConfig) and scheme.signature == BOUND


def is_keyless(config: TrainConfig) -> bool:
    """Whether a run has no `passport.key`: its secrets follow from its seed, which anybody can try."""
    return not config.passport.key


def has_text(scheme: SchemeConfig) -> bool:
    """Whether a text is given, to be written into the weights."""
    return getattr(scheme, "signature", None) is not None and not is_bound(scheme)


def identity_of(config: TrainConfig, data: ImageData) -> dict[str, Any]:
    """Everything that determines the result, and nothing else; secrets by a one-way stand-in."""
    dataset = asdict(config.dataset)
    for location in ("root", "download"):
        del dataset[location]
    if dataset["part"] is None:
        del dataset["part"]  # runs that were made before there were parts are found
    identity: dict[str, Any] = {
        "dataset": dataset | {"fingerprint": data.fingerprint},
        "model": {"name": config.model.name, "norm": config.model.norm, "width": config.model.width},
        "scheme": asdict(config.scheme),
        "optimizer": asdict(config.optimizer),
        "trainer": {
            name: getattr(config.trainer, name) for name in ("max_epochs", "precision", "memory_format", "compile")
        },
        "seed": config.seed,
    }
    del identity["scheme"]["norm"], identity["optimizer"]["name"]
    if "signature" in identity["scheme"] and not is_bound(config.scheme):
        identity["scheme"]["signature"] = secret_digest(identity["scheme"]["signature"])
    if config.owner and isinstance(config.scheme, PassportSchemeConfig | WatermarkSchemeConfig):
        identity["owner"] = config.owner  # a baseline has no claim to bear the name
    if isinstance(config.scheme, PassportSchemeConfig):
        identity["passport"] = asdict(config.passport) | {"key": secret_digest(config.passport.key)}
        if has_triggers(config.scheme):
            identity["trigger_set"] = asdict(config.trigger_set)
    if isinstance(config.scheme, WatermarkSchemeConfig):
        identity["key"] = secret_digest(config.passport.key)
        if isinstance(config.scheme, KeyImagesConfig):
            asked = asdict(config.trigger_set)
            own = config.scheme.name == "trigger_set"  # the others make their own images
            identity["trigger_set"] = asked if own else {name: asked[name] for name in ("size", "per_step")}
    return identity


def key_of(config: TrainConfig, data: ImageData) -> str:
    """The name of the run folder that a request belongs to."""
    prefix = f"{config.scheme.name}-{config.model.name}-{config.model.norm}-{config.dataset.name}"
    return run_key(prefix, identity_of(config, data), width=config.model.width, seed=config.seed)


def folder_of(config: TrainConfig, data: ImageData) -> RunFolder:
    """The folder of the run that a request belongs to."""
    return folder_named(Path(config.paths.runs) / "train", key_of(config, data))


def without_secrets(config: TrainConfig) -> dict[str, Any]:
    """The configuration as plain values, fit to be shown: what is set and `HIDDEN` reads `<hidden>`."""
    shown = asdict(config)
    for group, name in HIDDEN:
        public = name == "signature" and is_bound(config.scheme)
        if shown[group].get(name) is not None and not public:
            shown[group][name] = "<hidden>"
    return shown
