"""From a request to a finished run: find it, or train, judge and record it."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import cache, partial

import torch
import yaml
from rich.console import Console
from rich.progress import Progress
from torch import nn

from ipr.claim import Claim, Thresholds
from ipr.data.images import ImageData, LabelledImages
from ipr.files import write_atomically
from ipr.lease import Lease
from ipr.passport.claim import PassportClaim
from ipr.runs.build import build_scheme, load_suspect, open_images, plain_network, save_weights
from ipr.runs.claims import make_claim
from ipr.runs.config import FrontierStitchingConfig, PassportSchemeConfig, PassportV2Config, SchemeConfig, TrainConfig
from ipr.runs.fit import fit
from ipr.runs.guards import KeepLease
from ipr.runs.logging import curve, read_metrics
from ipr.runs.once import once
from ipr.runs.record import Record, commit, hardware, load_record, versions
from ipr.runs.request import check, folder_of, has_text, processes_of, without_secrets
from ipr.runs.store import RunFolder
from ipr.runs.tracking import tracking
from ipr.verification.claims import load_claim
from ipr.verification.fidelity import BATCH, accuracy
from ipr.verification.verdict import Verdict, judge

READABLE = "a signature's text can be read from the weights: do not use it as a secret"


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
    folder = folder_of(config, data)

    def find() -> Run | None:
        record = _found(folder, config)
        tagged = record is not None and {*config.tags} <= {*record.tags.split()}
        return Run(folder, record, found=True, verdict=None) if record is not None and tagged else None

    def make(lease: Lease) -> Run:
        if (record := _found(folder, config)) is None:
            return _make(config, data, folder, lease)
        record = replace(record, tags=" ".join(sorted({*record.tags.split(), *config.tags})))
        record.save(folder.record)
        return Run(folder, record, found=True, verdict=None)

    return once(folder, config.tags, find, make)


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
        drawn.save(folder.claim)
    # Also what was drawn just now is read back: products of matrices round by how these lie in memory, and a training
    # that goes on in another process must compute as it began.
    claim = load_claim(folder.claim) if folder.claim.exists() else None
    stitched = isinstance(config.scheme, FrontierStitchingConfig)
    # tuned, not trained anew: what the plain network took is part of what it took
    seconds_before = baseline().record.train_seconds if stitched else 0.0
    scheme, epochs = (None, 0) if folder.weights.exists() else build_scheme(config, data, claim, trained)
    write_atomically(folder.config, yaml.safe_dump(shown, sort_keys=False))
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
                callbacks=[KeepLease(lease)],
            )
            save_weights(scheme.network, folder.weights)
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
        lease.check()
        record = _record(config, data, folder, suspect, plain_accuracy, verdict, seconds_before, judged)
        record.save(folder.record)
        tracker.summary(asdict(record))
    return Run(folder, record, found=False, verdict=verdict)


def _trained_baseline(config: TrainConfig, data: ImageData) -> Run:
    wanted = replace(config, scheme=SchemeConfig("baseline", config.model.norm))
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


def device(config: TrainConfig) -> torch.device:
    """Where a run is judged: where it is trained."""
    on_gpu = config.trainer.accelerator in ("auto", "gpu", "cuda") and torch.cuda.is_available()
    return torch.device("cuda" if on_gpu else "cpu")


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
        train_images=data.train_labels.numel(),
        test_images=data.test_labels.numel(),
        optimizer=config.optimizer.name,
        epochs=config.trainer.max_epochs,
        precision=config.trainer.precision,
        memory_format=config.trainer.memory_format,
        compile=config.trainer.compile,
        seed=config.seed,
        passport=config.passport.name if passported else None,
        energy=config.passport.energy if passported else None,
        alternation=scheme.alternation if isinstance(scheme, PassportV2Config) else None,
        tags=" ".join(sorted(config.tags)),
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
        consistent=verdict.consistent if verdict else None,
        train_seconds=round(seconds_before + sum(float(row["seconds"]) for row in read_metrics(folder.metrics)), 3),
        judge_seconds=round(judge_seconds, 3),
        hardware=hardware(processes_of(config.trainer)),
        threads=torch.get_num_threads(),
        versions=versions(),
        commit=commit(),
        finished=datetime.now(UTC).isoformat(timespec="seconds"),
    )
