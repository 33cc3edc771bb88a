"""From a request to a finished run: find it, or train, judge and record it."""

from __future__ import annotations

import csv
import logging
import pickle
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import lightning as L
import torch
import yaml
from lightning.pytorch.callbacks import ModelCheckpoint
from rich.progress import Progress
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from ipr.data.cache import load_images
from ipr.data.images import ImageData, normalise
from ipr.data.module import ImageDataModule
from ipr.data.trigger_sets import TriggerSet, abstract_trigger_set, folder_trigger_set
from ipr.errors import InputError
from ipr.models import build_model
from ipr.passport.claim import Claim, Thresholds, load_claim
from ipr.passport.generate import image_passport, random_passport, shuffled_passport, with_energy
from ipr.passport.surgery import ConvNorm, Passport, find_layers, protect
from ipr.randomness import derive_seed, generator
from ipr.runs.config import (
    SECRETS,
    DatasetConfig,
    ModelConfig,
    PassportSchemeConfig,
    PassportV1Config,
    PassportV2Config,
    PassportV3Config,
    PathsConfig,
    SchemeConfig,
    TrainConfig,
)
from ipr.runs.logging import MetricsFile, dashboard, show_record
from ipr.runs.record import Record, commit, hardware, load_record, versions
from ipr.runs.store import RunFolder, run_key, secret_digest, write_atomically
from ipr.schemes.base import Scheme
from ipr.schemes.baseline import Baseline
from ipr.schemes.passport import PassportV1, PassportV2, PassportV3, SignatureLoss, TriggerSamples
from ipr.schemes.recipe import Recipe
from ipr.signature import draw_signature
from ipr.verification.fidelity import LabelledImages, accuracy
from ipr.verification.verdict import Verdict, judge


@dataclass(frozen=True)
class Run:
    """A finished run.

    Attributes:
        folder: where it is.
        record: its row.
        found: whether it was there already.
        verdict: what the judge found, where it was judged just now and has a claim.
    """

    folder: RunFolder
    record: Record
    found: bool
    verdict: Verdict | None


def train(config: TrainConfig) -> Run:
    """The run that a configuration asks for: found in the store, resumed, or trained, judged and recorded.

    Raises:
        InputError: the configuration asks for something that cannot be.
    """
    check(config)
    data = open_images(config.dataset, config.paths)
    folder = RunFolder(Path(config.paths.runs) / "train" / _key(config, data))
    with folder.locked():
        if folder.record.exists() and _judged_as_asked(record := load_record(folder.record), config):
            tags = sorted({*record.tags.split(), *config.tags})
            if " ".join(tags) != record.tags:
                record = replace(record, tags=" ".join(tags))
                record.save(folder.record)
            return Run(folder, record, found=True, verdict=None)
        return _make(config, data, folder)


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
    Thresholds(None, config.verification.fidelity_threshold, config.verification.p_value)


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


def _identity(config: TrainConfig, data: ImageData) -> dict[str, Any]:
    """Everything that determines the result, and nothing else; secrets by a one-way stand-in."""
    dataset = asdict(config.dataset)
    for location in ("root", "download"):
        del dataset[location]
    identity: dict[str, Any] = {
        "dataset": dataset | {"fingerprint": data.fingerprint},
        "model": {"name": config.model.name, "norm": config.model.norm, "width": config.model.width},
        "scheme": asdict(config.scheme),
        "optimizer": asdict(config.optimizer),
        "trainer": {"max_epochs": config.trainer.max_epochs, "precision": config.trainer.precision},
        "seed": config.seed,
    }
    del identity["scheme"]["norm"], identity["optimizer"]["name"]
    if isinstance(config.scheme, PassportSchemeConfig):
        identity["scheme"]["signature"] = secret_digest(config.scheme.signature)
        identity["passport"] = asdict(config.passport) | {"key": secret_digest(config.passport.key)}
        if _has_triggers(config.scheme):
            identity["trigger_set"] = asdict(config.trigger_set)
    return identity


def _key(config: TrainConfig, data: ImageData) -> str:
    prefix = f"{config.scheme.name}-{config.model.name}-{config.model.norm}-{config.dataset.name}"
    return run_key(prefix, _identity(config, data))


def _judged_as_asked(record: Record, config: TrainConfig) -> bool:
    asked = config.verification
    return record.scheme == "baseline" or (record.forged, record.fidelity_threshold, record.p_value_threshold) == (
        asked.forged,
        asked.fidelity_threshold,
        asked.p_value,
    )


def without_secrets(config: TrainConfig) -> dict[str, Any]:
    """The configuration as plain values, fit to be shown: each secret that is set reads `<secret>`."""
    shown = asdict(config)
    for group, name in SECRETS:
        if shown[group].get(name) is not None:
            shown[group][name] = "<secret>"
    return shown


def _make(config: TrainConfig, data: ImageData, folder: RunFolder) -> Run:
    shown = without_secrets(config)
    write_atomically(folder.config, yaml.safe_dump(shown, sort_keys=False))
    claim = None
    if isinstance(config.scheme, PassportSchemeConfig):
        # Before the dashboard is opened: the plain network that the passport comes from has one of its own.
        claim = load_claim(folder.claim) if folder.claim.exists() else make_claim(config, config.scheme, data)
        claim.save(folder.claim)
    facts = [config.scheme.name, config.model.name, config.model.norm, config.dataset.name]
    with dashboard(
        config.logger, folder.path, key=folder.key, job_type="train", tags=[*facts, *config.tags], facts=shown
    ) as logger:
        if not folder.weights.exists():
            scheme = build_scheme(config, data, claim)
            _fit(config, data, folder, scheme, logger)
            _save_weights(scheme.network, folder.weights)
        started = time.perf_counter()
        suspect = load_suspect(config.model, data, folder.weights).to(device(config))
        images = LabelledImages(data.test_pixels, data.test_labels, data.mean, data.std)
        verdict = None
        if claim is None:
            plain_accuracy = accuracy(suspect, images)
        else:
            limits = Thresholds(None, config.verification.fidelity_threshold, config.verification.p_value)
            claim = replace(claim, thresholds=limits)
            verdict = judge_with_progress(suspect, claim, images, config.verification.forged, config.seed)
            plain_accuracy = verdict.accuracy_without
            replace(claim, thresholds=replace(limits, target_accuracy=verdict.fidelity.accuracy)).save(folder.claim)
        judged = time.perf_counter() - started
        record = _record(config, data, folder, suspect, plain_accuracy, verdict, judged)
        show_record(logger, record)
        record.save(folder.record)
    return Run(folder, record, found=False, verdict=verdict)


def device(config: TrainConfig) -> torch.device:
    """Where a run is judged: where it is trained."""
    on_gpu = config.trainer.accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available()
    return torch.device("cuda" if on_gpu else "cpu")


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


def make_claim(config: TrainConfig, scheme: PassportSchemeConfig, data: ImageData) -> Claim:
    """Passport, signature and trigger set for a new run; for feature-map passports the plain network is found first."""
    seed, key = config.seed, config.passport.key
    network = plain_network(config.model, data, seed)
    layers = find_layers(network, _example(data), scheme.layers)
    signature = draw_signature(
        {layer.conv: layer.channels for layer in layers}, scheme.signature, generator(seed, "signature", key)
    )
    triggers = make_trigger_set(config, data) if _has_triggers(scheme) else None
    passport = with_energy(make_passport(config, data, layers), network, config.passport.energy)
    return Claim(
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


def make_passport(config: TrainConfig, data: ImageData, layers: list[ConvNorm]) -> Passport:
    """A passport of the kind asked for (Section III-B), as published: not yet scaled."""
    kind, seed, key = config.passport.name, config.seed, config.passport.key
    source = generator(seed, f"{kind} passport", key)
    if kind == "random":
        return random_passport(layers, source)
    if kind not in ("image", "shuffled"):
        raise InputError("passport.name", kind, "is unknown", "choose random, image or shuffled")
    baseline = train(replace(config, scheme=SchemeConfig("baseline", config.model.norm)))
    network = load_suspect(config.model, data, baseline.folder.weights)
    count = 2 * (1 if kind == "image" else config.passport.images)
    if count > data.train_labels.numel():
        raise InputError(
            "passport.images",
            config.passport.images,
            f"needs {count} training images",
            f"give at most {data.train_labels.numel() // 2}",
        )
    chosen = torch.randperm(data.train_labels.numel(), generator=source)[:count]
    images = normalise(data.train_pixels[chosen], data.mean, data.std)
    if kind == "image":
        return image_passport(network, layers, images)
    return shuffled_passport(network, layers, images, source)


def _has_triggers(scheme: SchemeConfig) -> bool:
    return isinstance(scheme, PassportV3Config) or (isinstance(scheme, PassportV1Config) and scheme.embed_trigger_set)


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


def _fit(config: TrainConfig, data: ImageData, folder: RunFolder, scheme: Scheme, logger: Any) -> None:
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    checkpoint = ModelCheckpoint(
        folder.checkpoint.parent, folder.checkpoint.stem, save_on_train_epoch_end=True, enable_version_counter=False
    )
    trainer = L.Trainer(
        accelerator=config.trainer.accelerator,
        devices=1,
        precision=config.trainer.precision,  # type: ignore[arg-type]
        max_epochs=config.trainer.max_epochs,
        logger=logger,
        callbacks=[checkpoint, MetricsFile(folder.metrics)],
        enable_progress_bar=config.trainer.progress_bar,
        enable_model_summary=False,
        deterministic=config.trainer.deterministic,
        gradient_clip_val=config.optimizer.clip_norm,
        reload_dataloaders_every_n_epochs=1,
        num_sanity_val_steps=0,
    )
    batches = ImageDataModule(
        data,
        batch_size=config.optimizer.batch_size,
        crop_padding=config.dataset.crop_padding,
        flip=config.dataset.flip,
        seed=config.seed,
    )
    resumed = folder.checkpoint if folder.checkpoint.exists() else None
    if resumed is not None:
        check_checkpoint(resumed)
    trainer.fit(scheme, datamodule=batches, ckpt_path=resumed, weights_only=True)


def check_checkpoint(path: Path) -> None:
    """Reads a checkpoint without executing anything in it.

    Raises:
        InputError: it is damaged.
    """
    try:
        torch.load(path, map_location="cpu", weights_only=True)["state_dict"]
    except (RuntimeError, pickle.UnpicklingError, KeyError, TypeError, EOFError, OSError) as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise InputError(
            "checkpoint", path, f"cannot be resumed from ({first})", "delete it to train this run anew"
        ) from error


def _save_weights(network: nn.Module, path: Path) -> None:
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
            f"is not a {model.name} of this shape ({problem})",
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


def judge_with_progress(suspect: nn.Module, claim: Claim, images: LabelledImages, forged: int, seed: int) -> Verdict:
    """`judge`, with a progress bar on a terminal."""
    with Progress(transient=True) as bar:
        steps = range(-(-images.labels.numel() // 64))
        ticks = bar.track(steps, description=f"judging {forged} forged passports")
        return judge(suspect, claim, images, forged=forged, seed=seed, progress=(None for _ in ticks))


def _record(
    config: TrainConfig,
    data: ImageData,
    folder: RunFolder,
    suspect: nn.Module,
    plain_accuracy: float,
    verdict: Verdict | None,
    judge_seconds: float,
) -> Record:
    scheme = config.scheme
    passported = isinstance(scheme, PassportSchemeConfig)
    with folder.metrics.open(newline="") as file:
        train_seconds = sum(float(row["seconds"]) for row in csv.DictReader(file))
    forged = verdict.accuracy_forged if verdict else ()
    return Record(
        key=folder.key,
        kind="train",
        scheme=scheme.name,
        model=config.model.name,
        norm=config.model.norm,
        width=config.model.width,
        dataset=config.dataset.name,
        train_images=data.train_labels.numel(),
        test_images=data.test_labels.numel(),
        optimizer=config.optimizer.name,
        epochs=config.trainer.max_epochs,
        precision=config.trainer.precision,
        seed=config.seed,
        passport=config.passport.name if passported else None,
        energy=config.passport.energy if passported else None,
        alternation=scheme.alternation if isinstance(scheme, PassportV2Config) else None,
        tags=" ".join(sorted(config.tags)),
        parameters=sum(p.numel() for p in suspect.parameters()),
        accuracy_without=plain_accuracy,
        accuracy_genuine=verdict.fidelity.accuracy if verdict else None,
        accuracy_forged_mean=verdict.forged_mean if forged and verdict else None,
        accuracy_forged_std=verdict.forged_std if len(forged) > 1 and verdict else None,
        accuracy_forged_max=max(forged) if forged else None,
        forged=len(forged) if verdict else None,
        forged_passing=verdict.forged_passing if verdict else None,
        fidelity_holds=verdict.fidelity.holds if verdict else None,
        fidelity_threshold=verdict.fidelity.threshold if verdict else None,
        bits_total=sum(verdict.reading.total.values()) if verdict else None,
        bits_agreeing=sum(verdict.reading.agreeing.values()) if verdict else None,
        p_value=verdict.reading.p_value if verdict else None,
        p_value_log10=verdict.reading.p_value_log10 if verdict else None,
        p_value_threshold=verdict.p_value_threshold if verdict else None,
        trigger_accuracy=verdict.trigger_accuracy if verdict else None,
        trigger_accuracy_passport=verdict.trigger_accuracy_passport if verdict else None,
        verified=verdict.verified if verdict else None,
        train_seconds=round(train_seconds, 3),
        judge_seconds=round(judge_seconds, 3),
        hardware=hardware(),
        threads=torch.get_num_threads(),
        versions=versions(),
        commit=commit(),
        finished=datetime.now(UTC).isoformat(timespec="seconds"),
    )
