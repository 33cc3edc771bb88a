"""From a request to a judgement of one claim to one suspect, and to the documents that tell it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from ipr.claim import Claim
from ipr.commitment import load_commitment, opens
from ipr.data.images import ImageData, LabelledImages
from ipr.passport.claim import PassportClaim
from ipr.runs.architecture import check_data
from ipr.runs.build import open_images
from ipr.runs.config import VerifyConfig
from ipr.runs.train import judge_with_progress
from ipr.suspects.black_box import BlackBox
from ipr.suspects.endpoint import Endpoint
from ipr.suspects.suspect import open_suspect
from ipr.verification.black_box import judge_black_box
from ipr.verification.calibration import Calibration
from ipr.verification.calibration_file import load_calibration
from ipr.verification.claims import load_claim
from ipr.verification.decision import Evidence, Rule, decide, from_answers, from_weights
from ipr.verification.judgement import CommitmentFacts, DataFacts, Judgement, SuspectFacts
from ipr.verification.registration import commitment_status, read_registration
from ipr.verification.verdict import Verdict


def verify(config: VerifyConfig) -> Judgement:
    """Judges and decides; writes nothing.

    Raises:
        InputError: the suspect could not be judged.
    """
    rule = Rule(**asdict(config.rule))
    claim = load_claim(Path(config.claim))
    data = open_images(config.dataset, config.paths)
    check_data(claim, data)
    calibration = None
    if config.calibration is not None:
        calibration = load_calibration(Path(config.calibration), claim, data.fingerprint)
    if config.suspect.startswith(("http://", "https://")):
        return _black_box(config, claim, data, calibration, rule)
    images = _test_images(data, None)
    suspect = open_suspect(Path(config.suspect), claim.architecture)
    verdict = judge_with_progress(suspect.network, claim, images, config.forged, config.seed)
    facts = SuspectFacts("white box", suspect.format, suspect.digest, suspect.weights_digest, suspect.alignments)
    evidence = from_weights(verdict, claim)
    shown = _Shown(facts, images.labels.numel(), verdict, verdict.accuracy_without, evidence)
    return _decided(config, claim, data, calibration, rule, shown)


def _test_images(data: ImageData, limit: int | None) -> LabelledImages:
    """The test images, or a fixed, class-balanced part of them: None for all, 0 for none."""
    if limit:
        data = data.limited(None, min(limit, data.test_labels.numel()))
    count = 0 if limit == 0 else data.test_labels.numel()
    return LabelledImages(data.test_pixels[:count], data.test_labels[:count], data.mean, data.std)


@dataclass(frozen=True)
class _Shown:
    """What a suspect showed: who it is, on how many test images, the verdict on weights, its accuracy, the evidence."""

    suspect: SuspectFacts
    images: int
    verdict: Verdict | None
    accuracy: float | None
    evidence: Evidence


def _black_box(
    config: VerifyConfig, claim: Claim, data: ImageData, calibration: Calibration | None, rule: Rule
) -> Judgement:
    asked = config.endpoint
    endpoint = Endpoint(
        config.suspect,
        timeout=asked.timeout_seconds,
        retries=asked.retries,
        rate=asked.rate,
        input=asked.input,
        output=asked.output,
    )
    suspect = BlackBox(
        endpoint,
        len(data.classes),
        name=endpoint.identity,
        batch_size=asked.batch_size,
        budget=asked.budget,
        answers=None if asked.answers is None else Path(asked.answers),
    )
    images = _test_images(data, asked.test_images)
    found = judge_black_box(suspect, claim, images, seed=config.seed)
    facts = SuspectFacts("black box", url=endpoint.identity, queries=found.queries)
    shown = _Shown(facts, images.labels.numel(), None, found.accuracy, from_answers(found.reading))
    return _decided(config, claim, data, calibration, rule, shown)


def _decided(
    config: VerifyConfig, claim: Claim, data: ImageData, calibration: Calibration | None, rule: Rule, shown: _Shown
) -> Judgement:
    commitment = _commitment(config, claim, shown.suspect)
    decision = decide(
        shown.evidence,
        claim.thresholds,
        tried=config.tried,
        alignments=shown.suspect.alignments,
        commitment=commitment.status,
        bound=isinstance(claim, PassportClaim) and claim.bound,
        calibration=calibration,
        rule=rule,
    )
    return Judgement(
        suspect=shown.suspect,
        claim=claim,
        commitment=commitment,
        data=DataFacts(config.dataset.name, data.fingerprint, shown.images),
        verdict=shown.verdict,
        accuracy=shown.accuracy,
        evidence=shown.evidence,
        decision=decision,
        calibration=calibration,
        rule=rule,
        tried=config.tried,
        seed=config.seed,
    )


def _commitment(config: VerifyConfig, claim: Claim, suspect: SuspectFacts) -> CommitmentFacts:
    known = read_registration(**asdict(config.commitment))
    found = load_commitment(Path(config.claim))
    if found is None:
        return CommitmentFacts(commitment_status(None, opens=False, registration=known), None, None, known)
    same = None if suspect.weights_digest is None else suspect.weights_digest == found.weights
    status = commitment_status(found.digest, opens=opens(found, claim), registration=known)
    return CommitmentFacts(status, found.digest, same, known)
