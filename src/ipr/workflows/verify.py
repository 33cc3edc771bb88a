"""From a request to a judgement of one claim to one suspect, and to the documents that tell it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path

from torch import nn

from ipr.claims.base import Claim, Reading
from ipr.claims.commitment import Commitment, load_commitment, opens
from ipr.claims.origin import Origin
from ipr.claims.stamp import authority_certificates, read_stamp, stamped
from ipr.config.ranges import check_numbers
from ipr.config.schema import VerifyConfig
from ipr.data.images import ImageData, LabelledImages
from ipr.data.opening import open_images
from ipr.errors import InputError
from ipr.judging.alignment import align, misfit
from ipr.judging.black_box import judge_black_box
from ipr.judging.calibration import Calibration
from ipr.judging.calibration_file import load_calibration
from ipr.judging.claim_kinds import load_claim
from ipr.judging.control import Control, control, with_control
from ipr.judging.decision import check_tried, decide
from ipr.judging.evidence import Evidence, Provenance, from_answers, from_weights
from ipr.judging.fidelity import accuracy, largest_class
from ipr.judging.judgement import CommitmentFacts, DataFacts, Judgement, SuspectFacts
from ipr.judging.redraw import is_keyless, redraw
from ipr.judging.registration import Registration, commitment_status, moment_of, read_registration
from ipr.judging.signing import judge_public
from ipr.judging.verdict import Verdict, judge_claims
from ipr.judging.witness import Witness, with_witnesses
from ipr.machine.device import JUDGING, check_accelerator, device_for
from ipr.models.inspection import device_of
from ipr.passport.claim import PassportClaim
from ipr.suspects.served.endpoint import open_black_box
from ipr.suspects.suspect import Suspect, open_reference, open_suspect
from ipr.workflows.claimed_model import check_data
from ipr.workflows.judges_images import are_owners, judged_dataset, plain_images, tell_of_reading
from ipr.workflows.train import judge_with_progress, judging
from ipr.workflows.witnesses import Opened, measured, open_witnesses
from ipr.world import own_world


@dataclass(frozen=True)
class _Asked:
    """A request, read: nothing of it is wrong by itself."""

    config: VerifyConfig
    claim: Claim
    data: ImageData
    commitment: Commitment | None
    calibration: Calibration | None
    registration: Registration
    plain: LabelledImages | None
    witnesses: Opened


@dataclass(frozen=True)
class _Shown:
    """What a suspect showed: who it is, on how many test images, the verdict on weights, its accuracy, the evidence,
    what forgers reach on it, whether it is like the reference, and what fingerprints say of it.
    """

    suspect: SuspectFacts
    images: int
    verdict: Verdict | None
    accuracy: float | None
    evidence: Evidence
    control: tuple[Control, ...] = ()
    same: bool | None = None
    witnesses: tuple[Witness, ...] = ()


@own_world()
def verify(config: VerifyConfig) -> Judgement:
    """Judges and decides; writes nothing.

    Raises:
        InputError: the suspect could not be judged.
    """
    asked = _read(config)
    shown = _answers(asked) if config.suspect.startswith(("http://", "https://")) else _weights(asked)
    commitment = _commitment(asked, shown.suspect)
    same = True if commitment.same_weights else shown.same
    provenance = _provenance(asked, commitment, shown.evidence.kind, same)
    decision = decide(
        shown.evidence,
        asked.claim.thresholds,
        tried=config.tried,
        alignments=shown.suspect.alignments,
        provenance=provenance,
        rule=config.rule,
    )
    decision = with_control(decision, shown.control)
    return Judgement(
        suspect=shown.suspect,
        claim=asked.claim,
        commitment=commitment,
        data=_facts_of(asked, shown.images),
        verdict=shown.verdict,
        accuracy=shown.accuracy,
        evidence=shown.evidence,
        decision=with_witnesses(decision, shown.witnesses, config.rule, config.tried),
        control=shown.control,
        provenance=provenance,
        rule=config.rule,
        tried=config.tried,
        seed=config.seed,
        witnesses=shown.witnesses,
    )


def _facts_of(asked: _Asked, images: int) -> DataFacts:
    as_claimed = asked.config.images is not None
    name = "image_folder" if as_claimed else asked.config.dataset.name
    return DataFacts(name, asked.data.fingerprint, images, as_claimed, are_owners(asked.claim, asked.data))


def _read(config: VerifyConfig) -> _Asked:
    check_numbers(config)
    check_accelerator("accelerator", config.accelerator, JUDGING)
    rule, typed = config.rule, read_registration(**asdict(config.commitment))
    check_tried(config.tried)
    claim = load_claim(Path(config.claim))
    commitment = load_commitment(Path(config.claim))
    registration = _registration(config, typed, commitment)
    dataset = judged_dataset(config.images, claim, config.dataset)
    everything = replace(dataset, part=None, limit_train=None)  # secrets may come of other ones than the judge's
    data = open_images(everything, config.paths, checked=True, judging=config.images is not None)
    check_data(claim, data)
    tell_of_reading(claim, dataset, data)
    calibration = None
    if config.calibration is not None:
        judge = judge_public(Path(config.paths.judge))
        calibration = load_calibration(Path(config.calibration), claim, data.fingerprint, judge)
        if (calibration.p_value, calibration.fidelity) != (rule.p_value, rule.fidelity):
            problem = f"was made with rule.p_value={calibration.p_value} and rule.fidelity={calibration.fidelity}"
            raise InputError("calibration", config.calibration, problem, "judge with these, or calibrate anew")
    plain = plain_images(everything, config.paths)
    witnesses = open_witnesses(config.witness, config.independent, claim)
    return _Asked(config, claim, data, commitment, calibration, registration, plain, witnesses)


def _weights(asked: _Asked) -> _Shown:
    config, claim = asked.config, asked.claim.without_repeats()
    suspect = _opened(config, claim)
    suspect.network.to(device_for(config.accelerator))
    images = _test_images(asked.data, None)
    network, way, ways, same = _matched(asked, claim, suspect, images)
    rows: tuple[Control, ...] = ()
    if isinstance(claim, PassportClaim):
        with judging(images, f"judging {config.forged} random passports, and others") as progress:
            verdict, rows = control(
                network, claim, images, rule=config.rule, random=config.forged, seed=config.seed, progress=progress
            )
    else:  # bare scales are not admissible, and without |S| to give rivals
        random = config.forged if claim.brings_passport else 0
        verdict = judge_with_progress(network, claim, images, random, config.seed)
    facts = SuspectFacts("white box", suspect.format, suspect.digest, suspect.weights_digest, ways, way)
    evidence = from_weights(verdict, claim, largest_class(images))
    if asked.plain is not None and evidence.accuracies is not None:
        plainly = accuracy(network, asked.plain)
        evidence = replace(evidence, accuracies=replace(evidence.accuracies, plainly=plainly))
    mean, std, digest = images.mean, images.std, suspect.weights_digest
    said = measured(asked.witnesses, lambda one: one.read(suspect.network, mean, std), images, digest)
    return _Shown(facts, images.labels.numel(), verdict, verdict.accuracy_without, evidence, rows, same, said)


def _opened(config: VerifyConfig, claim: Claim) -> Suspect:
    """The suspect; one of other widths, or without its norms, where there is a reference to match it to.

    Raises:
        InputError: it cannot be used; or there is no reference, which would help.
    """
    path = Path(config.suspect)
    if config.reference is not None:
        return open_suspect(path, claim.architecture, other_forms=True)
    try:
        return open_suspect(path, claim.architecture)
    except InputError as error:
        try:
            open_suspect(path, claim.architecture, other_forms=True)
        except InputError:
            raise error from None
        problem = (
            "has the claimed layers with other widths, or without their norms, so that no claim can be read from it"
        )
        remedy = "give reference=FILE, the public weights that were committed to; its channels are then matched"
        raise InputError("suspect", path, problem, remedy) from error


def _matched(
    asked: _Asked, claim: Claim, suspect: Suspect, images: LabelledImages
) -> tuple[nn.Module, str | None, int, bool | None]:
    """The suspect in the form of the network that was committed to, how it got there, among how many readings, and
    whether it is that network, changed or not.

    It is read as it was given as well, and the better reading counts, which is paid for: a copy that was tuned keeps
    running statistics of its own, and they may serve the passport better than the reference's.
    """
    given = asked.config.reference
    if given is None:
        return suspect.network, None, suspect.alignments, None
    commitment = asked.commitment
    if commitment is None or not opens(commitment, asked.claim):
        problem = "there is no commitment that opens to the claim, so that nothing says which weights it is about"
        raise InputError("reference", given, problem, "leave it out: without committed weights nothing is matched")
    reference = open_reference(Path(given), asked.claim.architecture, commitment.weights)
    aligned = align(suspect.network, reference, next(images.batches(1, device_of(suspect.network)))[0])
    ways = suspect.alignments * aligned.ways
    fits = misfit(suspect.network, reference) is None
    if not (fits or aligned.similar):
        remedy = "nothing of the claim can be read from it; judge its answers, as a URL, where the claim has key images"
        raise InputError("suspect", asked.config.suspect, f"does not fit the claim, and was {aligned.way}", remedy)
    if not aligned.similar:
        return suspect.network, aligned.way, ways, aligned.same

    def reading(network: nn.Module) -> tuple[bool, int, float]:
        (verdict,) = judge_claims(network, [claim], images)
        evidence = from_weights(verdict, claim, largest_class(images))
        holds = decide(evidence, claim.thresholds, alignments=ways, rule=asked.config.rule).consistent
        return holds, sum(verdict.reading.agreeing.values()), verdict.fidelity.accuracy

    if fits and reading(suspect.network) > reading(aligned.network):
        return suspect.network, f"read as it was given, as that reads better; else {aligned.way}", ways, aligned.same
    return aligned.network, aligned.way, ways, aligned.same


def _answers(asked: _Asked) -> _Shown:
    config, how = asked.config, asked.config.endpoint
    suspect = open_black_box(config.suspect, how, len(asked.data.classes))
    images = _test_images(asked.data, how.test_images)
    found = judge_black_box(suspect, asked.claim, images, seed=config.seed, slight_changes=how.slight_changes)
    none, queries = _test_images(asked.data, 0), found.queries

    def ask(one: Claim) -> Reading:
        nonlocal queries
        answered = judge_black_box(suspect, one, none, seed=config.seed)
        queries += answered.queries
        return answered.reading

    said = measured(asked.witnesses, ask, none, None)
    facts = SuspectFacts("black box", url=suspect.name, queries=queries)
    evidence = from_answers(found.reading, found.steadiness)
    return _Shown(facts, images.labels.numel(), None, found.accuracy, evidence, witnesses=said)


def _test_images(data: ImageData, limit: int | None) -> LabelledImages:
    """The test images, or a fixed, class-balanced part of them: None for all, 0 for none."""
    if limit:
        data = data.limited(None, min(limit, data.test_labels.numel()))
    count = 0 if limit == 0 else data.test_labels.numel()
    return LabelledImages(data.test_pixels[:count], data.test_labels[:count], data.mean, data.std)


def _commitment(asked: _Asked, suspect: SuspectFacts) -> CommitmentFacts:
    known, found = asked.registration, asked.commitment
    if found is None:
        return CommitmentFacts(commitment_status(None, opens=False, registration=known), None, None, known)
    same = None if suspect.weights_digest is None else suspect.weights_digest == found.weights
    status = commitment_status(found.digest, opens=opens(found, asked.claim), registration=known)
    return CommitmentFacts(status, found.digest, same, known)


def _registration(config: VerifyConfig, typed: Registration, commitment: Commitment | None) -> Registration:
    """When the commitment was registered: by its stamp, where there is one and its authority is believed."""
    folder, certificate = Path(config.claim), config.authority_certificate
    if certificate is None:
        return typed
    authority_certificates(Path(certificate))  # a file that cannot be used is told whatever the claim brings
    if commitment is None or read_stamp(folder) is None:
        return typed
    if typed.registered is not None:
        problem = "is given by hand, and the claim's stamp says when it was registered"
        raise InputError("commitment.registered", typed.registered.text, problem, "give one of them")
    stamp = stamped(folder, commitment.digest, Path(certificate))
    by = f"a time stamp of {stamp.authority} (number {stamp.serial})"
    return replace(typed, digest=typed.digest or commitment.digest, registered=moment_of(stamp.time), by=by)


def _provenance(asked: _Asked, commitment: CommitmentFacts, kind: str, same: bool | None) -> Provenance:
    claim = asked.claim
    return Provenance(
        commitment=commitment.status,
        by=commitment.registration.by,
        same=same,
        drawn=redraw(claim, _drawn_from(asked.data, claim.origin)).of(kind),
        keyless=is_keyless(claim),
        bound=bool(claim.bound),
        calibration=asked.calibration,
        null=asked.calibration.null if asked.calibration is not None else None,
    )


def _drawn_from(data: ImageData, origin: Origin | None) -> ImageData:
    """The training images that a claim's secrets were drawn from; all of them where it names what is not there."""
    if origin is None or not 0 < origin.train_images <= data.train_labels.numel():
        return data
    try:
        return data.part(origin.part).limited(origin.train_images, None)
    except InputError:
        return data  # the part is smaller than that: the numbers then differ
