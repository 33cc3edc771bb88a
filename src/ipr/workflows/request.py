"""What a request must satisfy, what identifies it, and how it may be shown."""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, TypeVar

import torch

from ipr.claims.base import Thresholds, check_owner
from ipr.config.ranges import check_numbers
from ipr.config.registry import load
from ipr.config.rounding import named_format, rounding_of
from ipr.config.schema import HIDDEN, SchemeConfig, TrainConfig, TrainerConfig
from ipr.data.images import ImageData
from ipr.data.share import check_divisible
from ipr.errors import InputError
from ipr.machine.device import check_accelerator, device_for, training_device
from ipr.models.published import published_name
from ipr.schemes.base import Scheme
from ipr.schemes.passport import is_bound
from ipr.schemes.start import TRAINED, start_digest
from ipr.store.folder import RunFolder, folder_named, run_key, secret_digest
from ipr.store.record import provenance
from ipr.store.tags import check_tags, joined
from ipr.texts import refuse_retyped
from ipr.tracking.loggers import check_installed, check_logger
from ipr.training.numerics import check_numerics

Asked = TypeVar("Asked", bound=TrainConfig)

BOUND = "bound"
"""Stands for the signature in the identity of a run whose signature is bound; a text stands there by its digest."""


def check(config: TrainConfig) -> None:
    """Numbers in their ranges, and what no single field can tell.

    Raises:
        InputError: naming the field that does not fit.
    """
    refuse_retyped(TrainConfig, asdict(config), "")  # what was built in Python no schema has seen
    check_numbers(config)
    _check_processes(config)
    _check_batches(config.trainer)
    check_numerics(config.trainer)
    check_logger(config.logger)
    if config.model.norm not in ("bn", "gn"):
        raise InputError("model.norm", config.model.norm, "is unknown", "choose among: bn, gn")
    if is_bound(config.scheme) and has_text(config.scheme):
        remedy = "choose scheme.bound=false, or scheme.signature=null"
        raise InputError("scheme.bound", True, "leaves no bit for the text of scheme.signature", remedy)
    _check_start(config)
    check_accelerator("trainer.accelerator", config.trainer.accelerator)
    if config.trainer.compile:
        _check_compiler(training_device(config.trainer.accelerator))
    Thresholds(None, config.verification.fidelity_threshold, config.verification.p_value)
    check_owner(config.owner)
    check_tags(config.tags)


def _check_start(config: TrainConfig) -> None:
    """A run starts from one network."""
    weights = config.model.weights
    if weights is None:
        return
    if config.init not in (None, TRAINED):
        problem = "is not what the run starts from, as other weights are given"
        raise InputError("model.weights", weights, problem, "leave one of them out")
    published_name(config.model.name, weights)


def check_ready(config: TrainConfig) -> None:
    """`check`, and that the logger that is asked for is installed.

    Raises:
        InputError: naming the field that does not fit.
    """
    check(config)
    check_installed(config.logger)


def _check_compiler(device: torch.device) -> None:
    """torch.compile writes C++ for the CPU; for a GPU Triton builds its launchers from C."""
    if device.type == "cuda":
        kind, usual = "C", os.environ.get("CC") or ("gcc" if shutil.which("gcc") else "clang")
    else:
        kind, usual = "C++", os.environ.get("CXX", "clang++" if sys.platform == "darwin" else "g++")
    if shutil.which(usual) is None:
        told = "gcc or clang" if (kind, usual) == ("C", "clang") else usual
        remedy = f"install one, name one in {'CC' if kind == 'C' else 'CXX'}, or choose false"
        raise InputError("trainer.compile", True, f"needs a {kind} compiler, and there is no {told}", remedy)


def _check_batches(trainer: TrainerConfig) -> None:
    limit, tried = trainer.limit_train_batches, trainer.fast_dev_run
    if limit is not None and limit > 1 and limit != int(limit):
        problem = "is no number of batches and no fraction of them"
        remedy = "give a whole number, e.g. 10, or a fraction below 1, e.g. 0.1"
        raise InputError("trainer.limit_train_batches", limit, problem, remedy)
    if not isinstance(tried, int) or tried < 0:
        raise InputError("trainer.fast_dev_run", tried, "is no number of batches", "give true, or a number, e.g. 2")


def with_limit(config: Asked) -> Asked:
    """The same request, and a tag that tells that its epochs are cut short (`limited-10`), where they are.

    The tag stays with whatever comes of it, so that no table takes it for a whole training (`runs.record.cut_of`).
    """
    limit = config.trainer.limit_train_batches
    tag = None if limit is None else f"limited-{limit:g}"
    return config if tag is None or tag in config.tags else replace(config, tags=[*config.tags, tag])


def with_per_step(config: Asked, data: ImageData) -> Asked:
    """The same request with `trigger_set.per_step` as a number, where its scheme appends images to every batch.

    Raises:
        InputError: see `Scheme.per_step`.
    """
    scheme = scheme_of(config)
    if not scheme.appends_images(config.scheme):
        return config
    return replace(config, trigger_set=replace(config.trigger_set, per_step=scheme.per_step(config, data)))


def _check_processes(config: TrainConfig) -> None:
    trainer, processes = config.trainer, config.trainer.processes
    if processes == 1:
        return
    check_divisible("optimizer.batch_size", config.optimizer.batch_size, processes)
    per_step = config.trigger_set.per_step
    if per_step is not None and scheme_of(config).appends_images(config.scheme):
        check_divisible("trigger_set.per_step", per_step, processes)
    if trainer.accelerator == "mps":
        raise InputError("trainer.devices", trainer.devices, "there is one GPU of this kind", "choose 1")
    if device_for(trainer.accelerator).type == "cuda" and trainer.devices > (seen := torch.cuda.device_count()):
        remedy = f"choose at most {seen} on each machine, or trainer.accelerator=cpu"
        raise InputError("trainer.devices", trainer.devices, f"this process sees {seen} GPUs", remedy)


def scheme_of(config: TrainConfig) -> type[Scheme]:
    """The class of the scheme that is asked for.

    Raises:
        InputError: there is none of its name, or the settings are not of its class.
    """
    scheme: type[Scheme] = load("scheme", config.scheme.name)
    if not isinstance(config.scheme, scheme.Config):  # only Python can ask so: a group brings its own
        kinds = type(config.scheme).__name__, scheme.Config.__name__
        problem = f"is asked for with a {kinds[0]}, which says not all of it"
        raise InputError("scheme", config.scheme.name, problem, f"give a {kinds[1]}")
    return scheme


KEYLESS = "secrets follow from the seed: fit for research only; set {} for a release"
"""What is told of a run without a key; takes the name of what to set."""


def is_keyless(config: TrainConfig) -> bool:
    """Whether a run has no `passport.key`: its secrets follow from its seed, which anybody can try."""
    return not config.passport.key


def has_text(scheme: SchemeConfig) -> bool:
    """Whether a text is given, to be written into the weights."""
    return getattr(scheme, "signature", None) is not None


def identity_of(config: TrainConfig, data: ImageData) -> dict[str, Any]:
    """Everything that determines the result, and nothing else; secrets by a one-way stand-in, images by their content.

    Raises:
        InputError: a folder of trigger images cannot be used.
    """
    dataset = asdict(config.dataset)
    for location in ("root", "download"):
        del dataset[location]
    unsaid = dict.fromkeys(("part", "resize", "interpolation", "mean", "std", "recorded"))
    for name, usual in (unsaid | {"validation": 0.0}).items():
        if dataset[name] == usual:
            del dataset[name]  # runs that were made before there were these are found
    identity: dict[str, Any] = {
        "dataset": dataset | {"fingerprint": data.fingerprint},
        "model": {"name": config.model.name, "norm": config.model.norm, "width": config.model.width},
        "scheme": asdict(config.scheme),
        "optimizer": asdict(config.optimizer),
        "trainer": {
            "max_epochs": config.trainer.max_epochs,
            "precision": config.trainer.precision,
            "memory_format": named_format(config.trainer.memory_format),
            "compile": config.trainer.compile,
        }
        | rounding_of(config.trainer),
        "seed": config.seed,
    }
    if config.trainer.limit_train_batches is not None:
        identity["trainer"]["limit_train_batches"] = config.trainer.limit_train_batches
    if config.model.weights is not None:
        identity["model"]["weights"] = published_name(config.model.name, config.model.weights)
    del identity["scheme"]["norm"], identity["optimizer"]["name"]
    if "signature" in identity["scheme"]:
        identity["scheme"]["signature"] = secret_digest(identity["scheme"]["signature"])
    if identity["scheme"].get("bits", 0) is None:
        del identity["scheme"]["bits"]  # runs that were made before fewer channels could be signed are found
    if identity["scheme"].pop("bound", False):
        identity["scheme"]["signature"] = BOUND  # runs that were made when this was said so are found
    if (start := start_digest(config)) is not None:
        identity["init"] = start
    scheme = scheme_of(config)
    if config.owner and scheme.claim_kind is not None:
        identity["owner"] = config.owner  # a baseline has no claim to bear the name
    return identity | scheme.identity(config, data)


def key_of(config: TrainConfig, data: ImageData) -> str:
    """The name of the run folder that a request belongs to.

    Raises:
        InputError: see `identity_of`.
    """
    prefix = f"{config.scheme.name}-{config.model.name}-{config.model.norm}-{config.dataset.name}"
    return run_key(prefix, identity_of(config, data), width=config.model.width, seed=config.seed)


def folder_of(config: TrainConfig, data: ImageData) -> RunFolder:
    """The folder of the run that a request belongs to."""
    return folder_named(Path(config.paths.runs) / "train", key_of(config, data))


def facts_of(config: TrainConfig) -> dict[str, Any]:
    """What the rows of a training and of an attack say alike: of what setting they are, and what computed them."""
    return {
        "scheme": config.scheme.name,
        "model": config.model.name,
        "norm": config.model.norm,
        "width": config.model.width,
        "dataset": config.dataset.name,
        "seed": config.seed,
        "tags": joined(config.tags),
        **provenance(training_device(config.trainer.accelerator), config.trainer.processes),
    }


def without_secrets(config: TrainConfig) -> dict[str, Any]:
    """The configuration as plain values, fit to be shown: what is set and `HIDDEN` reads `<hidden>`."""
    shown = asdict(config)
    for group, name in HIDDEN:
        if shown[group].get(name) is not None:
            shown[group][name] = "<hidden>"
    return shown
