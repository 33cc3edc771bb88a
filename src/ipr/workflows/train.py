"""From a request to a finished run: find it, or train, judge and record it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import cache, partial

import torch
import yaml
from rich.progress import Progress
from torch import nn

from ipr.claims.base import Claim, Thresholds
from ipr.config.schema import FrontierStitchingConfig, PassportSchemeConfig, PassportV2Config, SchemeConfig, TrainConfig
from ipr.data.images import ImageData, LabelledImages
from ipr.errors import InputError
from ipr.files import write_atomically
from ipr.judging.claim_kinds import load_claim
from ipr.judging.fidelity import BATCH, accuracy, largest_class
from ipr.judging.verdict import Verdict, judge
from ipr.machine.clock import now
from ipr.machine.device import device_for, training_device
from ipr.passport.claim import PassportClaim
from ipr.store.find_or_make import once
from ipr.store.folder import RunFolder
from ipr.store.lease import Lease
from ipr.store.record import Record, commit, hardware, load_record, versions
from ipr.store.tags import joined, parted
from ipr.terminal.console import Console
from ipr.tracking.loggers import check_installed
from ipr.tracking.wandb_run import tracking
from ipr.training.fit import check_limit, fit
from ipr.training.guards import KeepLease
from ipr.training.metrics import curve, read_metrics
from ipr.training.numerics import layout
from ipr.training.validation import validation_of
from ipr.workflows.build import build_scheme, load_suspect, open_images, plain_network, save_weights
from ipr.workflows.draw_claim import make_claim
from ipr.workflows.embedding_checks import Check, embedding_of, failed, trigger_reading
from ipr.workflows.rehearsal import rehearsal
from ipr.workflows.request import check, folder_of, has_text, processes_of, with_limit, without_secrets
from ipr.world import own_world

READABLE = "a signature's text can be read from the weights: do not use it as a secret"


@dataclass(frozen=True)
class Run:
    """A finished run.

    Attributes:
        folder: where it is.
        record: its row.
        found: whether it was there already.
        verdict: what the judge found, where it was judged just now and has a claim.
        checks: whether the embedding succeeded; see `workflows.embedding_checks`.
    """

    folder: RunFolder
    record: Record
    found: bool
    verdict: Verdict | None
    checks: tuple[Check, ...] = ()

    @property
    def failed(self) -> list[str]:
        """The names of the checks that failed; [] for an embedding that succeeded."""
        return failed(self.checks)


@own_world()
def train(config: TrainConfig) -> Run:
    """The run that a configuration asks for: found in the store, resumed, or trained, judged and recorded.

    With `trainer.fast_dev_run` it is tried in a folder that is gone when this returns.

    Raises:
        InputError: the configuration asks for something that cannot be.
    """
    check(config)
    check_installed(config.logger)
    if config.trainer.fast_dev_run:
        with rehearsal(config) as short:
            return train(short)
    config, data = with_limit(config), open_images(config.dataset, config.paths)
    check_limit(config.trainer, data.trained_on.numel() // config.optimizer.batch_size)
    folder = folder_of(config, data)

    def find() -> Run | None:
        record = _found(folder, config)
        tagged = record is not None and {*config.tags} <= {*parted(record.tags)}
        return found(record) if record is not None and tagged else None

    def found(record: Record) -> Run:
        claim = load_claim(folder.claim) if record.trigger_accuracy is not None and folder.claim.exists() else None
        return Run(folder, record, found=True, verdict=None, checks=_checks(config, data, record, claim))

    def make(lease: Lease) -> Run:
        if (record := _found(folder, config)) is None:
            return _make(config, data, folder, lease)
        record = replace(record, tags=joined([*parted(record.tags), *config.tags]))
        record.save(folder.record)
        return found(record)

    return once(folder, config.tags, training_device(config.trainer.accelerator), find, make)


def _found(folder: RunFolder, config: TrainConfig) -> Record | None:
    if not folder.record.exists():
        return None
    record = load_record(folder.record)
    return record if _judged_as_asked(record, config) else None


def _judged_as_asked(record: Record, config: TrainConfig) -> bool:
    asked = config.verification
    limits = (record.fidelity_threshold, record.p_value_threshold) == (asked.fidelity_threshold, asked.p_value)
    return record.scheme == "baseline" or (limits and record.forged in (None, asked.forged))


def _make(config: TrainConfig, data: ImageData, folder: RunFolder, lease: Lease) -> Run:
    shown = without_secrets(config)
    baseline = cache(lambda: _trained_baseline(config, data))

    def trained() -> nn.Module:
        return load_suspect(config.model, data, baseline().folder.weights)

    # Before tracking begins: the plain network that secrets are made with is tracked on its own.
    if not folder.claim.exists() and (drawn := make_claim(config, data, trained)) is not None:
        if config.trigger_set.name == "folder" and folder_of(config, data).key != folder.key:
            problem = "was changed since the run was named after what it holds"
            raise InputError("trigger_set.root", config.trigger_set.root, problem, "give the command again")
        drawn.save(folder.claim)
    # Also what was drawn just now is read back: products of matrices round by how these lie in memory, and a training
    # that goes on in another process must compute as it began.
    claim = load_claim(folder.claim) if folder.claim.exists() else None
    stitched = isinstance(config.scheme, FrontierStitchingConfig)
    # tuned, not trained anew: what the plain network took is part of what it took
    seconds_before = baseline().record.train_seconds if stitched else 0.0
    scheme, epochs = (None, 0) if folder.weights.exists() else build_scheme(config, data, claim, trained)
    told = shown | {"images": data.fingerprint}  # what lies at dataset.root may change
    write_atomically(folder.config, yaml.safe_dump(told, sort_keys=False))
    if scheme is not None and has_text(config.scheme):
        Console(stderr=True).print(f"ipr: warning: {READABLE}", highlight=False, soft_wrap=True)
    facts = [config.scheme.name, config.model.name, config.model.norm, config.dataset.name]
    with tracking(
        config.logger,
        folder.path,
        key=folder.key,
        group=folder.key,
        job_type="train",
        tags=[*facts, *config.tags],
        facts=shown,
    ) as tracker:
        if scheme is None:  # trained before; judged anew
            for row in read_metrics(folder.metrics):
                tracker.epoch(curve(row))
        else:
            fit(
                scheme,
                data,
                config,
                epochs=epochs,
                clip_norm=config.optimizer.clip_norm,
                seed=config.seed,
                checkpoint=folder.checkpoint,
                metrics=folder.metrics,
                tell=tracker.epoch,
                validate=validation_of(config, data, claim),
                callbacks=[KeepLease(lease)],
            )
            save_weights(scheme.network, folder.weights)
        where = device_for(config.trainer.accelerator)
        started = now(where)
        suspect = load_suspect(config.model, data, folder.weights).to(where)
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
        judged = now(where) - started
        lease.check()
        record = _record(config, data, folder, suspect, plain_accuracy, verdict, seconds_before, judged)
        checks = _checks(config, data, record, claim)
        if claim is not None:
            record = replace(record, consistent=not failed(checks))
        record.save(folder.record)
        tracker.summary(asdict(record) | {check.name.replace(" ", "_"): check.holds for check in checks})
    return Run(folder, record, found=False, verdict=verdict, checks=checks)


def _checks(config: TrainConfig, data: ImageData, record: Record, claim: Claim | None) -> tuple[Check, ...]:
    """The checks of a run, beside its baseline where that is in the store already."""
    chance = largest_class(LabelledImages(data.test_pixels, data.test_labels, data.mean, data.std))
    triggers, baseline = trigger_reading(record, claim), None
    if record.scheme != "baseline":
        plain = folder_of(_baseline_of(config), data).record
        with suppress(InputError):  # a record that cannot be read says nothing here
            baseline = load_record(plain).accuracy_without
    return embedding_of(record, chance=chance, triggers=triggers, baseline=baseline)


def _baseline_of(config: TrainConfig) -> TrainConfig:
    return replace(config, scheme=SchemeConfig("baseline", config.model.norm))


def _trained_baseline(config: TrainConfig, data: ImageData) -> Run:
    wanted = _baseline_of(config)
    folder = folder_of(wanted, data)
    if isinstance(config.scheme, PassportSchemeConfig) and not folder.record.exists():
        rehearse(config, data)
    what = f"{config.scheme.name} begins with a trained plain network: finding or training {folder.key}"
    Console(stderr=True).print(what, highlight=False, soft_wrap=True)
    return train(wanted)


def rehearse(config: TrainConfig, data: ImageData) -> None:
    """Builds what a passport scheme trains, with a random passport: what would be refused after the training of a
    plain network is refused before it.

    Raises:
        InputError: a setting does not fit.
    """
    drawn = replace(config, passport=replace(config.passport, name="random"))
    untrained = partial(plain_network, config.model, data, config.seed)
    build_scheme(drawn, data, make_claim(drawn, data, untrained), untrained)


def judge_with_progress(suspect: nn.Module, claim: Claim, images: LabelledImages, forged: int, seed: int) -> Verdict:
    """`judge`, with a progress bar on a terminal."""
    what = f"judging {forged} forged passports" if isinstance(claim, PassportClaim) else "judging"
    with judging(images, what) as progress:
        return judge(suspect, claim, images, forged=forged, seed=seed, progress=progress)


@contextmanager
def judging(images: LabelledImages, what: str) -> Iterator[Iterable[None]]:
    """A progress bar on a terminal, for `judge` and `judge_claims`: one step a batch. Nothing elsewhere: in a notebook
    rich would warn that it wants a package of its own.
    """
    with Progress(transient=True, disable=not Console().is_terminal) as bar:
        yield (None for _ in bar.track(range(-(-images.labels.numel() // BATCH)), description=what))


def _record(
    config: TrainConfig,
    data: ImageData,
    folder: RunFolder,
    suspect: nn.Module,
    plain_accuracy: float,
    verdict: Verdict | None,
    seconds_before: float,
    judge_seconds: float,
) -> Record:
    scheme = config.scheme
    passported = isinstance(scheme, PassportSchemeConfig)
    forged = verdict.accuracy_forged if verdict else ()
    bits = verdict.reading if verdict and not verdict.reading.images else None
    return Record(
        key=folder.key,
        kind="train",
        scheme=scheme.name,
        model=config.model.name,
        norm=config.model.norm,
        width=config.model.width,
        dataset=config.dataset.name,
        train_images=data.trained_on.numel(),
        test_images=data.test_labels.numel(),
        optimizer=config.optimizer.name,
        epochs=config.trainer.max_epochs,
        precision=config.trainer.precision,
        memory_format=layout(config.trainer.memory_format, suspect, training_device(config.trainer.accelerator)),
        compile=config.trainer.compile,
        deterministic=config.trainer.deterministic,
        tf32=config.trainer.tf32,
        autotune=config.trainer.autotune,
        capture=config.trainer.capture,
        seed=config.seed,
        passport=config.passport.name if passported else None,
        energy=config.passport.energy if passported else None,
        alternation=scheme.alternation if isinstance(scheme, PassportV2Config) else None,
        tags=joined(config.tags),
        parameters=sum(p.numel() for p in suspect.parameters()),
        accuracy_without=plain_accuracy,
        accuracy_genuine=verdict.fidelity.accuracy if verdict and passported else None,
        accuracy_forged_mean=verdict.forged_mean if forged and verdict else None,
        accuracy_forged_std=verdict.forged_std if len(forged) > 1 and verdict else None,
        accuracy_forged_max=max(forged) if forged else None,
        forged=len(forged) if verdict and passported else None,
        forged_passing=verdict.forged_passing if verdict and passported else None,
        fidelity_holds=verdict.fidelity.holds if verdict else None,
        fidelity_threshold=verdict.fidelity.threshold if verdict else None,
        bits_total=sum(bits.total.values()) if bits else None,
        bits_agreeing=sum(bits.agreeing.values()) if bits else None,
        correlation=verdict.reading.correlation if verdict else None,
        p_value=verdict.reading.p_value if verdict else None,
        p_value_log10=verdict.reading.p_value_log10 if verdict else None,
        p_value_threshold=verdict.p_value_threshold if verdict else None,
        trigger_accuracy=verdict.trigger_accuracy if verdict else None,
        trigger_accuracy_passport=verdict.trigger_accuracy_passport if verdict else None,
        mark_read=verdict.mark_read if verdict else None,
        consistent=None,  # said by the checks
        train_seconds=round(seconds_before + sum(float(row["seconds"]) for row in read_metrics(folder.metrics)), 3),
        judge_seconds=round(judge_seconds, 3),
        hardware=hardware(training_device(config.trainer.accelerator), processes_of(config.trainer)),
        threads=torch.get_num_threads(),
        versions=versions(),
        commit=commit(),
        finished=datetime.now(UTC).isoformat(timespec="seconds"),
    )
