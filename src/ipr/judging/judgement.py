"""Everything that a verdict tells: who was judged, on what, what was found, and what was decided."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ipr.claims.base import Claim
from ipr.config.rule import Rule
from ipr.judging.calibration import Calibration
from ipr.judging.control import Control
from ipr.judging.decision import Decision
from ipr.judging.evidence import Evidence, Provenance
from ipr.judging.registration import Registration
from ipr.judging.verdict import Verdict
from ipr.judging.witness import Witness


@dataclass(frozen=True)
class SuspectFacts:
    """Which suspect was judged.

    Attributes:
        kind: `white box` (its weights) or `black box` (its answers).
        format: of the weights file; None for a black box.
        sha256: of the weights file's bytes, hexadecimal.
        weights_digest: over the weights themselves, whatever file they came in, hexadecimal.
        alignments: how many ways of matching its layers were tried.
        way: how it was brought into the form of the network that was committed to, in words; None where it was not.
        url: the address that was asked, without credentials; None for weights.
        queries: images that were asked; None for weights.
    """

    kind: str
    format: str | None = None
    sha256: str | None = None
    weights_digest: str | None = None
    alignments: int = 1
    way: str | None = None
    url: str | None = None
    queries: int | None = None


@dataclass(frozen=True)
class CommitmentFacts:
    """What became of the commitment.

    Attributes:
        status: see `registration.py`.
        digest: of the one in the claim's folder; None where there is none.
        same_weights: whether the suspect has the very weights that were committed to; None where this cannot be told.
        registration: what the judge knows from elsewhere.
    """

    status: str
    digest: str | None
    same_weights: bool | None
    registration: Registration


@dataclass(frozen=True)
class DataFacts:
    """The images.

    Attributes:
        name: of the data set.
        fingerprint: of its content, hexadecimal.
        images: how many test images were judged on.
        as_claimed: whether pictures were read as the claim records.
        owners: whether they are the very test images that the claim names as its owner's. It decides nothing.
    """

    name: str
    fingerprint: str
    images: int
    as_claimed: bool = False
    owners: bool = False


@dataclass(frozen=True)
class Judgement:
    """One claim to one suspect, judged and decided.

    Attributes:
        suspect: who was judged.
        claim: the claim; secret.
        commitment: what became of its commitment.
        data: the images.
        verdict: what was measured in weights; None for a black box.
        accuracy: of the suspect as it is; None where a black box was shown no labelled images.
        evidence: what decides.
        decision: the conditions.
        control: what forgeries reach that train nothing; empty where no passport is presented.
        provenance: where the claim comes from, as far as the judge found out.
        rule: what was required.
        tried: see `decide`.
        seed: drew the forged passports, or the order of the images sent.
        witnesses: fingerprints that were measured on the same suspect; they decide nothing.
    """

    suspect: SuspectFacts
    claim: Claim
    commitment: CommitmentFacts
    data: DataFacts
    verdict: Verdict | None
    accuracy: float | None
    evidence: Evidence
    decision: Decision
    control: Sequence[Control]
    provenance: Provenance
    rule: Rule
    tried: int
    seed: int
    witnesses: Sequence[Witness] = ()

    @property
    def calibration(self) -> Calibration | None:
        """Of the claim, by this judge; None where there is none."""
        return self.provenance.calibration
