"""Calibrating a claim: networks that never saw its secrets are trained and asked, and wrong claims are judged."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

from rich.progress import Progress
from torch import nn

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
from ipr.data.images import ImageData, LabelledImages
from ipr.errors import InputError
from ipr.judging.calibration import Calibration, FalseClaimRate, WrongClaims, false_claim_rate
from ipr.judging.claim_kinds import load_claim
from ipr.judging.decision import Decision, Provenance, decide, from_answers, from_weights
from ipr.judging.fidelity import largest_class
from ipr.judging.null import EmpiricalNull
from ipr.judging.redraw import GRANTED
from ipr.judging.registration import IN_TIME, LATE
from ipr.judging.rules import Rule
from ipr.judging.verdict import judge_claims
from ipr.judging.wrong_claims import genuine_claims, kinds_for
from ipr.machine.device import check_accelerator, device_for
from ipr.randomness import derive_seed
from ipr.suspects.suspect import Suspect, open_suspect
from ipr.terminal.console import Console
from ipr.workflows.build import open_images
from ipr.workflows.claimed_model import architecture_of_run, check_data, model_of
from ipr.workflows.missed_claims import missed
from ipr.workflows.rehearsal import check_no_rehearsal
from ipr.workflows.side_by_side import train_all
from ipr.world import own_world

CHUNK = 50
"""Wrong claims that are judged together."""


@dataclass(frozen=True)
class One:
    """A wrong claim that was judged and decided.

    Attributes:
        decision: under the rule, with a commitment in time if its claimant could have had one, and drawn secrets.
        faithful: whether it keeps fidelity; images by themselves present nothing, and are taken to.
        p_value_log10: by guessing.
        threshold_log10: that it is to reach.
        accuracy: with it presented, a fraction.
        agreeing, total: bits, or images, that are read, of so many.
    """

    decision: Decision
    faithful: bool
    p_value_log10: float
    threshold_log10: float
    accuracy: float
    agreeing: int
    total: int


@dataclass(frozen=True)
class Judged:
    """The wrong claims of one kind to one sort of suspect."""

    evidence: str
    kind: str
    suspects: str
    dated: bool
    ones: Sequence[One]


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
    rule = replace(Rule(**asdict(config.rule)), null="reported")  # it is being made
    claim = load_claim(Path(config.claim))
    data = open_images(config.dataset, config.paths, checked=True)
    check_data(claim, data)
    model = model_of(claim)
    given = [_independent(Path(place), claim, config) for place in config.independent]
    marked = [] if config.suspect is None else [open_suspect(Path(config.suspect), claim.architecture)]
    ready()
    with Progress(transient=True, console=Console(stderr=True)) as bar:
        seeds = [derive_seed(config.seed, f"independent network {i}") % 2**31 for i in range(config.networks)]
        requests = [plain_request(config, model, seed) for seed in seeds]
        shown = bar.add_task("training independent networks", total=len(requests))
        runs = train_all(requests, data, config.processes, partial(bar.advance, shown))
        own = [open_suspect(run.folder.weights, claim.architecture) for run in runs]
        independent = [*own, *(one for one, _ in given)]
        _check_distinct([*independent, *marked])
        request = plain_request(config, model, config.seed)
        place = device_for(config.trainer.accelerator)
        alike = [*own, *(one for one, alike in given if alike)]
        suspects = {
            sort: [one.network.to(place) for one in opened]
            for sort, opened in (("independent", alike), ("marked", marked))
            if opened
        }
        others = [one.network.to(place) for one, alike in given if not alike]
        whole = claim.without_repeats()
        judged = judge_wrong_claims(whole, data, suspects, others, config.wrong, config.seed, rule, bar)
        null = _null(claim, judged)
        lost = (
            missed(whole, data, marked[0].network, request, config.copies, rule, null, bar)
            if marked and config.copies
            else ()
        )
    return Calibration(
        claim=claim.fingerprint(),
        claim_kind=claim.kind,
        data=config.dataset.name,
        data_fingerprint=data.fingerprint,
        networks=tuple(one.weights_digest for one in independent),
        null=null,
        wrong=tuple(_row(one) for one in judged),
        rates=_rates(judged, config.rate),
        missed=tuple(lost),
        p_value=rule.p_value,
        fidelity=rule.fidelity,
        seed=config.seed,
    )


def _check(config: CalibrateConfig) -> None:
    check_numbers(config)
    check_accelerator("trainer.accelerator", config.trainer.accelerator)
    if not config.networks and not config.independent:
        raise InputError("networks", 0, "there is no independent network", "train some, or give independent=[FILE]")
    if config.rule.name != "sound":
        problem = "verifies what forgers bring, so that a rate under it says nothing"
        raise InputError("rule.name", config.rule.name, problem, "calibrate under rule=sound")


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
    return TrainConfig(
        dataset=config.dataset,
        model=model,
        scheme=SchemeConfig("baseline", model.norm),
        passport=PassportConfig("random"),
        trigger_set=TriggerSetConfig("abstract"),
        optimizer=config.optimizer,
        trainer=config.trainer,
        logger=config.logger,
        paths=config.paths,
        verification=VerificationConfig(fidelity_threshold=model.fidelity_threshold),
        seed=seed,
    )


def judge_wrong_claims(
    claim: Claim,
    data: ImageData,
    suspects: Mapping[str, Sequence[nn.Module]],
    others: Sequence[nn.Module],
    wrong: int,
    seed: int,
    rule: Rule,
    bar: Progress,
) -> list[Judged]:
    """Judges the genuine claim on the independent networks, and every kind of wrong claim on all.

    Args:
        claim: the genuine one.
        data: fidelity is measured on its test images.
        suspects: `independent` networks and, perhaps, the `marked` one, all of the claim's architecture.
        others: independent networks of other architectures, which are asked for images alone.
        wrong: how many wrong claims that could be dated there must be by each sort of evidence; spread evenly over
            their kinds, the sorts of suspects, and the networks of a sort. Of each other kind there are as many as of
            each of these.
        seed: draws them.
        rule: that they are decided under.
        bar: shows how far it is.
    """
    images = LabelledImages(data.test_pixels, data.test_labels, data.mean, data.std)
    kinds, judged = kinds_for(claim), []
    for evidence, genuine in genuine_claims(claim).items():
        asked = [*suspects.get("independent", ()), *(others if evidence == "images" else ())]
        ones = [_judge(network, [genuine], images, evidence, True, rule)[0] for network in asked]
        if ones:
            judged.append(Judged(evidence, "genuine", "independent", True, ones))
    elsewhere = {
        sort: [[one for one in suspects.get("independent", ()) if one is not network] for network in networks]
        for sort, networks in suspects.items()
    }
    for name, kind in bar.track(kinds.items(), description="judging wrong claims"):
        for sort, networks in suspects.items():
            there = all(elsewhere[sort])  # with one network alone there is no other
            if kind.elsewhere and not there:
                continue
            rivals = [one for one in kinds.values() if one.dated and one.evidence == kind.evidence]
            rivals = [one for one in rivals if there or not one.elsewhere]
            count = -(-wrong // (len(rivals) * len(suspects) * len(networks)))
            ones = []
            for index, (network, others_of_it) in enumerate(zip(networks, elsewhere[sort], strict=True)):
                for chunk, first in enumerate(range(0, count, CHUNK)):
                    own = derive_seed(seed, f"wrong claims: {name} {sort} {index} {first}")
                    source = others_of_it[(index + chunk) % len(others_of_it)] if kind.elsewhere else network
                    claims = kind.drawn(claim, source, data, min(CHUNK, count - first), own)
                    ones += _judge(network, claims, images, kind.evidence, kind.dated, rule)
            judged.append(Judged(kind.evidence, name, sort, kind.dated, ones))
    return judged


def _judge(
    network: nn.Module, claims: Sequence[Claim], images: LabelledImages, evidence: str, dated: bool, rule: Rule
) -> list[One]:
    chance, found = largest_class(images), []
    provenance = Provenance(IN_TIME if dated else LATE, "the judge, who grants it", GRANTED, same=True)
    for claim, verdict in zip(claims, judge_claims(network, claims, images), strict=True):
        by_images = evidence == "images"  # shown to a black box, to which nothing is presented
        seen = from_answers(verdict.reading) if by_images else from_weights(verdict, claim, chance)
        decision = decide(seen, claim.thresholds, provenance=provenance, rule=rule)
        holds = {one.name: one.holds for one in decision.conditions}
        bits = sum(verdict.reading.total.values())
        found.append(
            One(
                decision=decision,
                faithful=by_images or holds["fidelity"] is True,
                p_value_log10=verdict.reading.p_value_log10,
                threshold_log10=rule.threshold_log10(claim.thresholds, 0 if by_images else bits),
                accuracy=verdict.fidelity.accuracy,
                agreeing=sum(verdict.reading.agreeing.values()),
                total=bits,
            )
        )
    return found


def _null(claim: Claim, judged: Sequence[Judged]) -> EmpiricalNull | None:
    answers = [one.ones for one in judged if (one.evidence, one.kind) == ("images", "genuine")]
    if not answers:
        return None
    return EmpiricalNull(tuple(one.agreeing for one in answers[0]), answers[0][0].total, claim.guessed_among())


def _row(judged: Judged) -> WrongClaims:
    best = max(judged.ones, key=lambda one: one.agreeing)
    return WrongClaims(
        evidence=judged.evidence,
        kind=judged.kind,
        suspects=judged.suspects,
        dated=judged.dated,
        judged=len(judged.ones),
        consistent=sum(one.decision.consistent for one in judged.ones),
        verified=sum(one.decision.verified for one in judged.ones),
        faithful=sum(one.faithful for one in judged.ones),
        smallest_p_log10=min(one.p_value_log10 for one in judged.ones),
        best_accuracy=max(one.accuracy for one in judged.ones),
        most_agreeing=best.agreeing,
        total=best.total,
    )


def _rates(judged: Sequence[Judged], asked: float) -> tuple[FalseClaimRate, ...]:
    """By each sort of evidence, over the wrong claims that could be dated; all others are refused for their date."""
    rates = []
    for evidence in ("signature", "images"):
        ones = [one for group in judged if group.evidence == evidence and group.dated for one in group.ones]
        if ones:
            verifiable = [one.p_value_log10 for one in ones if one.faithful]
            rates.append(false_claim_rate(evidence, len(ones), verifiable, ones[0].threshold_log10, asked))
    return tuple(rates)
