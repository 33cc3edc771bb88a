"""Calibrating a claim: networks that never saw its secrets are trained and asked, and wrong claims are judged."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from rich.progress import Progress

from ipr.claims.base import Claim
from ipr.config.ranges import check_numbers
from ipr.config.schema import (
    CalibrateConfig,
    ModelConfig,
    PassportConfig,
    SchemeConfig,
    TrainConfig,
    TrainerConfig,
    TriggerSetConfig,
    VerificationConfig,
)
from ipr.data.images import ImageData
from ipr.data.opening import open_images
from ipr.errors import InputError
from ipr.judging.calibration import Calibration
from ipr.judging.claim_kinds import load_claim
from ipr.machine.device import check_accelerator, device_for
from ipr.randomness import derive_seed
from ipr.suspects.suspect import Suspect, open_suspect
from ipr.terminal.console import Console
from ipr.workflows.claimed_model import architecture_of_run, check_data, model_of
from ipr.workflows.judges_images import judged_dataset
from ipr.workflows.missed_claims import missed
from ipr.workflows.rehearsal import check_no_rehearsal
from ipr.workflows.side_by_side import train_all
from ipr.workflows.wrong_claims import judge_wrong_claims, null_of, rates_of
from ipr.world import own_world


@own_world()
def calibrate(config: CalibrateConfig, ready: Callable[[], object] = lambda: None) -> Calibration:
    """Trains what is missing, asks and judges.

    Args:
        config: the request.
        ready: is called when all that was asked for has been read, before anything is trained.

    Raises:
        InputError: the claim does not fit the data or a suspect, or a number is out of range.
    """
    _check(config)
    check_whole(config.trainer)
    rule = replace(config.rule, null="reported")  # it is being made
    claim = _claim(config)
    config, data = _opened(config, claim)
    model_of(claim)  # refused before anything is trained
    given = [_independent(Path(place), claim, config) for place in config.independent]
    marked = [] if config.suspect is None else [open_suspect(Path(config.suspect), claim.architecture)]
    ready()
    with Progress(transient=True, console=Console(stderr=True)) as bar:
        own = _trained(config, claim, data, bar)
        independent = [*own, *(one for one, _ in given)]
        _check_distinct([*independent, *marked])
        place = device_for(config.trainer.accelerator)
        alike = [*own, *(one for one, alike in given if alike)]
        sorts = {"independent": alike, "marked": marked}
        suspects = {sort: [one.network.to(place) for one in opened] for sort, opened in sorts.items() if opened}
        others = [one.network.to(place) for one, alike in given if not alike]
        whole = claim.without_repeats()
        judged = judge_wrong_claims(whole, data, suspects, others, config.wrong, config.seed, rule, bar)
        null, lost = null_of(claim, judged), []
        if marked and config.copies:
            request = plain_request(config, model_of(claim), config.seed)
            lost = missed(whole, data, marked[0].network, request, config.copies, rule, null, bar)
    return Calibration(
        claim=claim.fingerprint(),
        claim_kind=claim.kind,
        data=config.dataset.name,
        data_fingerprint=data.fingerprint,
        networks=tuple(one.weights_digest for one in independent),
        null=null,
        wrong=tuple(one.counted() for one in judged),
        rates=rates_of(judged, config.rate),
        missed=tuple(lost),
        p_value=rule.p_value,
        fidelity=rule.fidelity,
        seed=config.seed,
    )


def _opened(config: CalibrateConfig, claim: Claim) -> tuple[CalibrateConfig, ImageData]:
    """The request with its data set, and the images: those to train on among them."""
    config = replace(config, dataset=judged_dataset(config.images, claim, config.dataset))
    if config.images is not None:
        seen = open_images(config.dataset, config.paths, told=False, judging=True)
        if not seen.train_labels.numel():
            problem = "holds no training images, and a calibration trains networks and changes copies"
            raise InputError("images", config.images, problem, "give a folder with train/ and test/")
    data = open_images(config.dataset, config.paths, checked=True)
    check_data(claim, data)
    return config, data


def _trained(config: CalibrateConfig, claim: Claim, data: ImageData, bar: Progress) -> list[Suspect]:
    """The independent networks that are found or trained here, of the claim's architecture."""
    seeds = [derive_seed(config.seed, f"independent network {i}") % 2**31 for i in range(config.networks)]
    requests = [plain_request(config, model_of(claim), seed) for seed in seeds]
    shown = bar.add_task("training independent networks", total=len(requests))
    runs = train_all(requests, data, config.processes, partial(bar.advance, shown))
    return [open_suspect(run.folder.weights, claim.architecture) for run in runs]


def _check(config: CalibrateConfig) -> None:
    check_numbers(config)
    check_accelerator("trainer.accelerator", config.trainer.accelerator)
    if not config.networks and not config.independent:
        raise InputError("networks", 0, "there is no independent network", "train some, or give independent=[FILE]")
    if config.rule.name != "sound":
        problem = "verifies what forgers bring, so that a rate under it says nothing"
        raise InputError("rule.name", config.rule.name, problem, "calibrate under rule=sound")


def _claim(config: CalibrateConfig) -> Claim:
    claim = load_claim(Path(config.claim))
    if claim.is_fingerprint:
        problem = "is a fingerprint: whoever has a network has one of it, so that wrong ones show no rate"
        remedy = "give it as witness=CLAIM of `ipr verify`, with independent=[FILE]"
        raise InputError("claim", claim.kind, problem, remedy)
    return claim


def _independent(place: Path, claim: Claim, config: CalibrateConfig) -> tuple[Suspect, bool]:
    """A network of others, and whether it is of the claim's architecture: a passport can be presented to no other."""
    if not place.is_dir():
        return open_suspect(place, claim.architecture), True
    about = architecture_of_run(place, claim)
    return open_suspect(place / "public.safetensors", about), about == claim.architecture


def _check_distinct(networks: Sequence[Suspect]) -> None:
    digests = [one.weights_digest for one in networks]
    if repeated := next((digest for digest in digests if digests.count(digest) > 1), None):
        problem = "are weights that are given twice, or are the marked network's"
        raise InputError("independent", repeated[:12], problem, "give networks that were trained by themselves")


def check_whole(trainer: TrainerConfig) -> None:
    """Refuses networks that are trained with a part of their batches: they say nothing about trained ones.

    Raises:
        InputError: saying so.
    """
    check_no_rehearsal(trainer)
    if trainer.limit_train_batches is not None:
        problem = "a calibration asks networks that are trained as the owner's"
        raise InputError("trainer.limit_train_batches", trainer.limit_train_batches, problem, "leave it out")


def plain_request(config: CalibrateConfig, model: ModelConfig, seed: int) -> TrainConfig:
    """The request for an independent network: the plain one of the claim's architecture, with a seed of its own."""
    shared = {name: getattr(config, name) for name in ("dataset", "optimizer", "trainer", "logger", "paths")}
    return TrainConfig(
        **shared,
        model=model,
        scheme=SchemeConfig("baseline", model.norm),
        passport=PassportConfig("random"),
        trigger_set=TriggerSetConfig("abstract"),
        verification=VerificationConfig(fidelity_threshold=model.fidelity_threshold),
        seed=seed,
    )
