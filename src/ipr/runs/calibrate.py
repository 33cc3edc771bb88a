"""Calibrating a claim: networks that never saw its secrets are trained and asked, and wrong claims are judged."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console
from rich.progress import Progress
from torch import nn

from ipr.claim import Claim
from ipr.data.images import ImageData, LabelledImages
from ipr.errors import InputError
from ipr.randomness import derive_seed
from ipr.runs.architecture import check_data, model_of
from ipr.runs.build import open_images
from ipr.runs.config import (
    CalibrateConfig,
    ModelConfig,
    PassportConfig,
    SchemeConfig,
    TrainConfig,
    TriggerSetConfig,
    VerificationConfig,
)
from ipr.runs.train import device, train
from ipr.suspects.suspect import Suspect, open_suspect
from ipr.verification.binomial import reached
from ipr.verification.calibration import Calibration, FalseClaimRate, WrongClaims, false_claim_rate
from ipr.verification.claims import load_claim
from ipr.verification.decision import choices_of, log10
from ipr.verification.null import EmpiricalNull
from ipr.verification.repeats import without_repeats
from ipr.verification.verdict import judge_claims
from ipr.verification.wrong_claims import genuine_claims, kinds_for

CHUNK = 50
"""Wrong claims that are judged together."""


@dataclass(frozen=True)
class One:
    """A wrong claim that was judged.

    Attributes:
        faithful: whether it keeps fidelity; images by themselves present nothing, and are taken to.
        p_value_log10: by guessing.
        accuracy: with it presented, a fraction.
        agreeing, total: bits, or images, that are read, of so many.
    """

    faithful: bool
    p_value_log10: float
    accuracy: float
    agreeing: int
    total: int


Judged = dict[tuple[str, str, str], list[One]]
"""(evidence, kind, sort of suspect) -> the wrong claims."""


def calibrate(config: CalibrateConfig) -> Calibration:
    """Trains what is missing, asks and judges.

    Raises:
        InputError: the claim does not fit the data or a suspect, or a number is out of range.
    """
    _check(config)
    claim = load_claim(Path(config.claim))
    data = open_images(config.dataset, config.paths)
    check_data(claim, data)
    model = model_of(claim)
    given = [open_suspect(Path(file), claim.architecture) for file in config.independent]
    marked = [] if config.suspect is None else [open_suspect(Path(config.suspect), claim.architecture)]
    with Progress(transient=True, console=Console(stderr=True)) as bar:
        seeds = [derive_seed(config.seed, f"independent network {i}") % 2**31 for i in range(config.networks)]
        files = [
            train(plain_request(config, model, seed)).folder.weights
            for seed in bar.track(seeds, description="training independent networks")
        ]
        independent = [*(open_suspect(file, claim.architecture) for file in files), *given]
        _check_distinct([*independent, *marked])
        place = device(plain_request(config, model, config.seed))
        suspects = {
            sort: [one.network.to(place) for one in opened]
            for sort, opened in (("independent", independent), ("marked", marked))
            if opened
        }
        judged = judge_wrong_claims(without_repeats(claim), data, suspects, config.wrong, config.seed, bar)
    threshold = log10(claim.thresholds.p_value)
    return Calibration(
        claim=claim.fingerprint(),
        claim_kind=claim.kind,
        data=config.dataset.name,
        data_fingerprint=data.fingerprint,
        networks=tuple(one.weights_digest for one in independent),
        null=_null(claim, judged),
        wrong=tuple(_row(*name, ones, threshold) for name, ones in judged.items()),
        rates=_rates(judged, threshold, config.rate),
        seed=config.seed,
    )


def _check(config: CalibrateConfig) -> None:
    if config.networks < 0:
        raise InputError("networks", config.networks, "must not be negative", "give e.g. 20")
    if not config.networks and not config.independent:
        raise InputError("networks", 0, "there is no independent network", "train some, or give independent=[FILE]")
    if config.wrong < 1:
        raise InputError("wrong", config.wrong, "must be at least 1", "give e.g. 1000")
    if not 0 < config.rate < 1:
        raise InputError("rate", config.rate, "is not above 0 and below 1", "give e.g. 0.005")


def _check_distinct(networks: Sequence[Suspect]) -> None:
    digests = [one.weights_digest for one in networks]
    if repeated := next((digest for digest in digests if digests.count(digest) > 1), None):
        problem = "are weights that are given twice, or are the marked network's"
        raise InputError("independent", repeated[:12], problem, "give networks that were trained by themselves")


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
    wrong: int,
    seed: int,
    bar: Progress,
) -> Judged:
    """Judges the genuine claim on the independent networks, and every kind of wrong claim on all.

    Args:
        claim: the genuine one.
        data: fidelity is measured on its test images.
        suspects: `independent` networks and, perhaps, the `marked` one.
        wrong: how many wrong claims there must be by each sort of evidence; spread evenly over their kinds, the sorts
            of suspects, and the networks of a sort.
        seed: draws them.
        bar: shows how far it is.
    """
    images = LabelledImages(data.test_pixels, data.test_labels, data.mean, data.std)
    kinds, judged = kinds_for(claim), Judged()
    for evidence, genuine in genuine_claims(claim).items():
        ones = [_judge(network, [genuine], images, evidence)[0] for network in suspects["independent"]]
        judged[evidence, "genuine", "independent"] = ones
    for name, kind in bar.track(kinds.items(), description="judging wrong claims"):
        rivals = sum(other.evidence == kind.evidence for other in kinds.values())
        for sort, networks in suspects.items():
            count = -(-wrong // (rivals * len(suspects) * len(networks)))
            ones = []
            for index, network in enumerate(networks):
                for first in range(0, count, CHUNK):
                    own = derive_seed(seed, f"wrong claims: {name} {sort} {index} {first}")
                    claims = kind.drawn(claim, network, data, min(CHUNK, count - first), own)
                    ones += _judge(network, claims, images, kind.evidence)
            judged[kind.evidence, name, sort] = ones
    return judged


def _judge(network: nn.Module, claims: Sequence[Claim], images: LabelledImages, evidence: str) -> list[One]:
    if evidence == "images":  # they are shown to a black box, to which nothing is presented
        claims = [replace(one, thresholds=replace(one.thresholds, target_accuracy=None)) for one in claims]
    return [
        One(
            faithful=verdict.fidelity.holds,
            p_value_log10=verdict.reading.p_value_log10,
            accuracy=verdict.fidelity.accuracy,
            agreeing=sum(verdict.reading.agreeing.values()),
            total=sum(verdict.reading.total.values()),
        )
        for verdict in judge_claims(network, claims, images)
    ]


def _null(claim: Claim, judged: Judged) -> EmpiricalNull | None:
    answers = judged.get(("images", "genuine", "independent"))
    if answers is None:
        return None
    return EmpiricalNull(tuple(one.agreeing for one in answers), answers[0].total, choices_of(claim))


def _row(evidence: str, kind: str, suspects: str, ones: Sequence[One], threshold_log10: float) -> WrongClaims:
    best = max(ones, key=lambda one: one.agreeing)
    return WrongClaims(
        evidence=evidence,
        kind=kind,
        suspects=suspects,
        judged=len(ones),
        verified=sum(one.faithful and reached(one.p_value_log10, threshold_log10) for one in ones),
        faithful=sum(one.faithful for one in ones),
        smallest_p_log10=min(one.p_value_log10 for one in ones),
        best_accuracy=max(one.accuracy for one in ones),
        most_agreeing=best.agreeing,
        total=best.total,
    )


def _rates(judged: Judged, threshold_log10: float, asked: float) -> tuple[FalseClaimRate, ...]:
    rates = []
    for evidence in ("signature", "images"):
        ones = [one for (by, _, _), found in judged.items() for one in found if by == evidence]
        if ones:
            faithful = [one.p_value_log10 for one in ones if one.faithful]
            rates.append(false_claim_rate(evidence, len(ones), faithful, threshold_log10, asked))
    return tuple(rates)
