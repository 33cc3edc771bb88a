"""From a request to a judgement of one claim to one suspect, and to the documents that tell it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from ipr.claim import Claim
from ipr.commitment import load_commitment, opens
from ipr.data.images import ImageData, LabelledImages
from ipr.passport.claim import PassportClaim
from ipr.runs.architecture import check_data
from ipr.runs.asking import open_black_box
from ipr.runs.build import open_images
from ipr.runs.config import VerifyConfig
from ipr.runs.train import judge_with_progress
from ipr.signing import judge_public
from ipr.suspects.suspect import open_suspect
from ipr.verification.black_box import judge_black_box
from ipr.verification.calibration import Calibration
from ipr.verification.calibration_file import load_calibration
from ipr.verification.claims import load_claim
from ipr.verification.decision import Evidence, Rule, check_tried, decide, from_answers, from_weights
from ipr.verification.judgement import CommitmentFacts, DataFacts, Judgement, SuspectFacts
from ipr.verification.registration import Registration, commitment_status, read_registration
from ipr.verification.repeats import without_repeats
from ipr.verification.verdict import Verdict


@dataclass(frozen=True)
class _Asked:
    """A request, read: nothing of it is wrong by itself."""

    config: VerifyConfig
    claim: Claim
    data: ImageData
    calibration: Calibration | None
    rule: Rule
    registration: Registration


@dataclass(frozen=True)
class _Shown:
    """What a suspect showed: who it is, on how many test images, the verdict on weights, its accuracy, the evidence."""

    suspect: SuspectFacts
    images: int
    verdict: Verdict | None
    accuracy: float | None
    evidence: Evidence


def verify(config: VerifyConfig) -> Judgement:
    """Judges and decides; writes nothing.

    Raises:
        InputError: the suspect could not be judged.
    """
    asked = _read(config)
    shown = _answers(asked) if config.suspect.startswith(("http://", "https://")) else _weights(asked)
    commitment = _commitment(asked, shown.suspect)
    decision = decide(
        shown.evidence,
        asked.claim.thresholds,
        tried=config.tried,
        alignments=shown.suspect.alignments,
        commitment=commitment.status,
        bound=isinstance(asked.claim, PassportClaim) and asked.claim.bound,
        calibration=asked.calibration,
        rule=asked.rule,
    )
    return Judgement(
        suspect=shown.suspect,
        claim=asked.claim,
        commitment=commitment,
        data=DataFacts(config.dataset.name, asked.data.fingerprint, shown.images),
        verdict=shown.verdict,
        accuracy=shown.accuracy,
        evidence=shown.evidence,
        decision=decision,
        calibration=asked.calibration,
        rule=asked.rule,
        tried=config.tried,
        seed=config.seed,
    )


def _read(config: VerifyConfig) -> _Asked:
    rule, registration = Rule(**asdict(config.rule)), read_registration(**asdict(config.commitment))
    check_tried(config.tried)
    claim = load_claim(Path(config.claim))
    data = open_images(config.dataset, config.paths)
    check_data(claim, data)
    calibration = None
    if config.calibration is not None:
        judge = judge_public(Path(config.paths.judge))
        calibration = load_calibration(Path(config.calibration), claim, data.fingerprint, judge)
    return _Asked(config, claim, data, calibration, rule, registration)


def _weights(asked: _Asked) -> _Shown:
    config, claim = asked.config, without_repeats(asked.claim)
    suspect = open_suspect(Path(config.suspect), claim.architecture)
    images = _test_images(asked.data, None)
    scaled = isinstance(claim, PassportClaim) and not claim.passport  # not admissible, and without |S| to give rivals
    forged = 0 if scaled else config.forged
    verdict = judge_with_progress(suspect.network, claim, images, forged, config.seed)
    facts = SuspectFacts("white box", suspect.format, suspect.digest, suspect.weights_digest, suspect.alignments)
    return _Shown(facts, images.labels.numel(), verdict, verdict.accuracy_without, from_weights(verdict, claim))


def _answers(asked: _Asked) -> _Shown:
    config, how = asked.config, asked.config.endpoint
    suspect = open_black_box(config.suspect, how, len(asked.data.classes))
    images = _test_images(asked.data, how.test_images)
    found = judge_black_box(suspect, asked.claim, images, seed=config.seed)
    facts = SuspectFacts("black box", url=suspect.name, queries=found.queries)
    return _Shown(facts, images.labels.numel(), None, found.accuracy, from_answers(found.reading))


def _test_images(data: ImageData, limit: int | None) -> LabelledImages:
    """The test images, or a fixed, class-balanced part of them: None for all, 0 for none."""
    if limit:
        data = data.limited(None, min(limit, data.test_labels.numel()))
    count = 0 if limit == 0 else data.test_labels.numel()
    return LabelledImages(data.test_pixels[:count], data.test_labels[:count], data.mean, data.std)


def _commitment(asked: _Asked, suspect: SuspectFacts) -> CommitmentFacts:
    known, found = asked.registration, load_commitment(Path(asked.config.claim))
    if found is None:
        return CommitmentFacts(commitment_status(None, opens=False, registration=known), None, None, known)
    same = None if suspect.weights_digest is None else suspect.weights_digest == found.weights
    status = commitment_status(found.digest, opens=opens(found, asked.claim), registration=known)
    return CommitmentFacts(status, found.digest, same, known)
