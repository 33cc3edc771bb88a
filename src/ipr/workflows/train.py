"""From a request to a finished run: find it, or train, judge and record it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from functools import cached_property, partial

import yaml
from rich.progress import Progress
from torch import nn

from ipr.claims.base import Claim, Thresholds
from ipr.config.schema import SchemeConfig, TrainConfig
from ipr.data.images import ImageData, LabelledImages
from ipr.data.opening import open_images
from ipr.errors import InputError
from ipr.files import write_atomically
from ipr.judging.claim_kinds import load_claim
from ipr.judging.evidence import trigger_reading
from ipr.judging.fidelity import BATCH, accuracy, largest_class
from ipr.judging.verdict import Verdict, judge
from ipr.machine.device import device_for, now, training_device
from ipr.schemes.base import Scheme
from ipr.schemes.start import TRAINED, check_start, load_suspect, start_digest, start_name, start_network
from ipr.store.find_or_make import making
from ipr.store.folder import RunFolder
from ipr.store.record import Record, load_record
from ipr.store.tags import joined, parted
from ipr.store.weights import as_safetensors
from ipr.terminal.console import Console
from ipr.tracking.loggers import tracking
from ipr.tracking.wandb_run import Tracker
from ipr.training.fit import fit
from ipr.training.guards import KeepLease
from ipr.training.metrics import curve, read_metrics
from ipr.training.validation import validation_of
from ipr.workflows.draw_claim import make_claim
from ipr.workflows.embedding_checks import Check, embedding_of, failed
from ipr.workflows.model_card import model_card
from ipr.workflows.rehearsal import rehearsal
from ipr.workflows.request import (
    BOUND,
    Asked,
    check_ready,
    folder_of,
    has_text,
    scheme_of,
    with_limit,
    with_per_step,
    without_secrets,
)
from ipr.workflows.shown_name import training_name
from ipr.workflows.train_record import record_of
from ipr.world import own_world

READABLE = "a signature's text can be read from the weights: do not use it as a secret"
BOUND_MEANT = "this one is the text `bound`, and scheme.bound=true asks for a bound signature"


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
def train(config: TrainConfig, data: ImageData | None = None) -> Run:
    """The run that a configuration asks for: found in the store, resumed, or trained, judged and recorded.

    With `trainer.fast_dev_run` it is tried in a folder that is gone when this returns.

    Args:
        config: the request.
        data: its images, where `open_images` has opened them already.

    Raises:
        InputError: the configuration asks for something that cannot be, or the images are those of another request.
    """
    check_ready(config)
    if config.trainer.fast_dev_run:
        with rehearsal(config) as short:
            return train(short)
    config, data, folder = _opened(config, data)
    if (there := _found(config, data, folder)) is not None and {*config.tags} <= {*parted(there.record.tags)}:
        return there
    with making(folder, config.tags, training_device(config.trainer.accelerator)) as lease:
        if (there := _found(config, data, folder)) is not None:  # made by whom this process has waited for, or tagged
            return _tagged(there, config.tags)
        baseline, start = _Baseline(config, data), start_digest(config)
        claim = _secrets(config, data, folder, baseline)
        scheme = None if folder.weights.exists() else _built(config, data, claim, baseline, start)
        _write_config(config, data, folder, begins=scheme is not None)
        with _tracked(config, folder) as tracker:
            if scheme is None:  # trained before; judged anew
                _tell_again(folder, tracker)
            else:
                if epochs := type(scheme).epochs(config):
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
                        validate=validation_of(config, data, claim, scheme.completed),
                        callbacks=[KeepLease(lease)],
                    )
                claim = _kept(scheme, claim, folder, trained=epochs > 0)
            run = _judged(config, data, folder, claim, baseline, start)
            lease.check()
            _record(run, config, data, tracker)
    return run


def _record(run: Run, config: TrainConfig, data: ImageData, tracker: Tracker) -> None:
    """The last that is written: its presence says that the run is finished. Then others are told."""
    run.record.save(run.folder.record)
    tracker.summary(asdict(run.record) | {one.name.replace(" ", "_"): one.holds for one in run.checks})
    if config.logger.artifacts:
        _give(run, config, data, tracker)


def _give(run: Run, config: TrainConfig, data: ImageData, tracker: Tracker) -> None:
    """Tells of the network as a model, with its public weights, unless its embedding failed: a claim to it is none."""
    if run.failed:
        Console(stderr=True).say(f"no model artifact of {run.folder.name}: failed were {', '.join(run.failed)}")
        return
    facts = {name: getattr(run.record, name) for name in ("scheme", "model", "norm", "width", "dataset")}
    facts |= {"accuracy": run.record.accuracy_without}
    tracker.model(run.folder.key, run.folder.weights, model_card(config, data, run.record, run.checks), facts)


def _opened(config: TrainConfig, data: ImageData | None) -> tuple[TrainConfig, ImageData, RunFolder]:
    """The request as it is carried out, its images, and the folder that it is named by."""
    config = with_limit(config)
    if data is None:
        data = open_images(config.dataset, config.paths)
    elif data.opened_for != config.dataset:  # the run would bear the name of one, and hold the other
        raise InputError("dataset", config.dataset.name, "other images are given", "leave `data` out")
    scheme_of(config).steps(config, data)  # a limit that leaves none is refused before there is a folder
    config = with_per_step(config, data)
    return config, data, folder_of(config, data)


def _tell_again(folder: RunFolder, tracker: Tracker) -> None:
    for row in read_metrics(folder.metrics):
        tracker.epoch(curve(row))


def _found(config: TrainConfig, data: ImageData, folder: RunFolder) -> Run | None:
    """The run that is there, where it was judged as is asked for."""
    if not folder.record.exists():
        return None
    record, asked = load_record(folder.record), config.verification
    limits = (record.fidelity_threshold, record.p_value_threshold) == (asked.fidelity_threshold, asked.p_value)
    if record.scheme != "baseline" and not (limits and record.forged in (None, asked.forged)):
        return None
    claim = load_claim(folder.claim) if record.trigger_accuracy is not None and folder.claim.exists() else None
    return Run(folder, record, found=True, verdict=None, checks=checks_of(config, data, record, claim))


def _tagged(run: Run, tags: list[str]) -> Run:
    record = replace(run.record, tags=joined([*parted(run.record.tags), *tags]))
    record.save(run.folder.record)
    return replace(run, record=record)


class _Baseline:
    """The trained plain network of a request's architecture, data and seed, when it is first asked for: what the
    request starts from, or a run that is found or trained.
    """

    def __init__(self, config: TrainConfig, data: ImageData) -> None:
        self.config, self.data = started(config, data), data

    @cached_property
    def run(self) -> Run:
        return _plain(self.config, self.data)

    def network(self) -> nn.Module:
        if self.config.init is not None:
            return start_network(self.config, self.data)
        return load_suspect(self.config.model, self.data, self.run.folder.weights)


def plain_run(config: TrainConfig) -> Run:
    """The plain network of a request, trained alike: found, or trained with a word about it on stderr.

    Raises:
        InputError: see `train`.
    """
    config, data, _ = _opened(config, None)
    wanted = _baseline_of(config)
    folder = folder_of(wanted, data)
    if not folder.record.exists():
        Console(stderr=True).say(f"compared with a plain network: finding or training {folder.key}")
    return train(wanted, data)


def started(config: Asked, data: ImageData) -> Asked:
    """The same request with a weights file for `init=baseline`: that of its plain network, found or trained."""
    if config.init != TRAINED:
        return config
    return replace(config, init=str(_plain(replace(config, init=None), data).folder.weights))


def _plain(config: TrainConfig, data: ImageData) -> Run:
    wanted = _baseline_of(config)
    folder = folder_of(wanted, data)
    if scheme_of(config).about.family == "passport" and not folder.record.exists():
        rehearse(config, data)
    what = f"{config.scheme.name} begins with a trained plain network: finding or training {folder.key}"
    Console(stderr=True).say(what)
    return train(wanted, data)


def _secrets(config: TrainConfig, data: ImageData, folder: RunFolder, baseline: _Baseline) -> Claim | None:
    """The claim of a run, drawn where it is not there yet; None where nothing is embedded.

    It is drawn before tracking begins: the plain network that secrets are made with is tracked on its own. What was
    drawn just now is read back, too: products of matrices round by how these lie in memory, and a training that goes on
    in another process must compute as it began.
    """
    if not folder.claim.exists() and (drawn := make_claim(baseline.config, data, baseline.network)) is not None:
        if config.trigger_set.name == "folder" and folder_of(config, data).key != folder.key:
            problem = "was changed since the run was named after what it holds"
            raise InputError("trigger_set.root", config.trigger_set.root, problem, "give the command again")
        drawn.save(folder.claim)
    return load_claim(folder.claim) if folder.claim.exists() else None


def _built(config: TrainConfig, data: ImageData, claim: Claim | None, baseline: _Baseline, start: str | None) -> Scheme:
    """What is trained; refused where its start has changed since the run was named after it."""
    scheme = scheme_of(config).build(baseline.config, data, claim, baseline.network)
    check_start(config, start)
    return scheme


def _kept(scheme: Scheme, claim: Claim | None, folder: RunFolder, *, trained: bool) -> Claim | None:
    """Keeps the weights, and before them the claim with what the training has made of it, which is returned.

    A claim that is completed is in its place before the weights are: without these the run goes on from its checkpoint,
    and comes to the same claim. A network that its scheme leaves as it begins has no epochs to tell of.
    """
    if not trained:
        write_atomically(folder.metrics, "epoch,step,seconds\n")
    completed = claim if claim is None or not trained else scheme.completed(claim)
    if completed is not None and completed is not claim:
        completed.complete(folder.claim)
    write_atomically(folder.weights, as_safetensors(scheme.network.state_dict()))
    return completed


def _write_config(config: TrainConfig, data: ImageData, folder: RunFolder, *, begins: bool) -> None:
    told = without_secrets(config) | {"images": data.fingerprint}  # what lies at dataset.root may change
    write_atomically(folder.config, yaml.safe_dump(told, sort_keys=False))
    if begins and has_text(config.scheme):
        meant = f"; {BOUND_MEANT}" if getattr(config.scheme, "signature", None) == BOUND else ""
        Console(stderr=True).say(f"ipr: warning: {READABLE}{meant}")


def _tracked(config: TrainConfig, folder: RunFolder) -> AbstractContextManager[Tracker]:
    tags = [config.scheme.name, config.model.name, config.model.norm, config.dataset.name, *config.tags]
    facts, name = without_secrets(config), training_name(config, folder.key)
    return tracking(config.logger, folder, name=name, group=folder.key, job_type="train", tags=tags, facts=facts)


def _judged(
    config: TrainConfig,
    data: ImageData,
    folder: RunFolder,
    claim: Claim | None,
    baseline: _Baseline,
    start: str | None,
) -> Run:
    """The run, from its weights file: what is judged is what is given away. What a plain network took that was tuned is
    part of what the run took; `start` is the digest of what it started from, which may be gone by now.
    """
    where = device_for(config.trainer.accelerator)
    started = now(where)
    suspect = load_suspect(config.model, data, folder.weights).to(where)
    images = data.test_images
    verdict = None
    if claim is None:
        plain_accuracy = accuracy(suspect, images)
    else:
        limits = Thresholds(None, config.verification.fidelity_threshold, config.verification.p_value)
        claim = replace(claim, thresholds=limits)
        verdict = judge_with_progress(suspect, claim, images, config.verification.forged, config.seed)
        plain_accuracy = verdict.accuracy_without
        replace(claim, thresholds=replace(limits, target_accuracy=verdict.fidelity.accuracy)).save(folder.claim)
    judge_seconds = now(where) - started
    train_seconds = sum(float(row["seconds"]) for row in read_metrics(folder.metrics))
    if scheme_of(config).tunes and config.init is None:
        train_seconds += baseline.run.record.train_seconds
    record = record_of(config, data, folder.key, suspect, plain_accuracy, verdict, train_seconds, judge_seconds)
    record = replace(record, init=start_name(config, start))
    checks = checks_of(config, data, record, claim)
    if claim is not None:
        record = replace(record, consistent=not failed(checks))
    return Run(folder, record, found=False, verdict=verdict, checks=checks)


def checks_of(
    config: TrainConfig, data: ImageData, record: Record, claim: Claim | None, before: float | None = None
) -> tuple[Check, ...]:
    """The checks of a run, beside its baseline where that is in the store already.

    Args:
        config: the request, as it is carried out (`with_per_step`).
        data: its images.
        record: of the run.
        claim: of the run; needed where it has trigger images.
        before: see `embedding_of`.
    """
    chance = largest_class(data.test_images)
    answered, baseline = record.trigger_accuracy, None
    triggers = None if claim is None or answered is None else trigger_reading(claim, answered)
    if record.scheme != "baseline":
        with suppress(InputError):  # a record that cannot be read, or a start that is gone, says nothing here
            baseline = load_record(folder_of(_baseline_of(config), data).record).accuracy_without
    per_step, steps = config.trigger_set.per_step, scheme_of(config).steps(config, data)
    return embedding_of(
        record, chance=chance, triggers=triggers, baseline=baseline, before=before, per_step=per_step, steps=steps
    )


def _baseline_of(config: TrainConfig) -> TrainConfig:
    return replace(config, scheme=SchemeConfig("baseline", config.model.norm))


def rehearse(config: TrainConfig, data: ImageData) -> None:
    """Builds what a passport scheme trains, with a random passport: what would be refused after the training of a
    plain network is refused before it.

    Raises:
        InputError: a setting does not fit.
    """
    drawn = replace(config, passport=replace(config.passport, name="random"))
    untrained = partial(start_network, config, data)
    scheme_of(drawn).build(drawn, data, make_claim(drawn, data, untrained), untrained)


def judge_with_progress(suspect: nn.Module, claim: Claim, images: LabelledImages, forged: int, seed: int) -> Verdict:
    """`judge`, with a progress bar on a terminal."""
    what = "judging" if claim.brings_passport is None else f"judging {forged} forged passports"
    with judging(images, what) as progress:
        return judge(suspect, claim, images, forged=forged, seed=seed, progress=progress)


@contextmanager
def judging(images: LabelledImages, what: str) -> Iterator[Iterable[None]]:
    """A progress bar on a terminal, for `judge` and `judge_claims`: one step a batch. Nothing elsewhere: in a notebook
    rich would warn that it wants a package of its own.
    """
    with Progress(transient=True, disable=not Console().is_terminal) as bar:
        yield (None for _ in bar.track(range(-(-images.labels.numel() // BATCH)), description=what))
