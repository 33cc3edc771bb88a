"""From several claims to one suspect to which of them stands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from ipr.claims.commitment import load_commitment, opens
from ipr.config.schema import CommitmentConfig, DisputeConfig, JudgeConfig, VerifyConfig
from ipr.errors import InputError
from ipr.judging.claim_kinds import load_claim
from ipr.judging.dispute import Party, Settlement, settle
from ipr.judging.judgement import Judgement
from ipr.workflows.verify import verify
from ipr.world import own_world


@dataclass(frozen=True, eq=False)
class Dispute:
    """A dispute that was judged.

    Attributes:
        judgements: one for each claim, in the order in which they were given.
        settlement: which of them stands; its standings are in the same order.
    """

    judgements: Sequence[Judgement]
    settlement: Settlement


@own_world()
def dispute(config: DisputeConfig) -> Dispute:
    """Judges every claim by itself, and settles; writes nothing.

    Raises:
        InputError: there are fewer than two claims, the same one twice, not one value for each, or one that cannot be
            judged.
    """
    requests = requests_of(config)
    fingerprints = [load_claim(Path(one.claim)).fingerprint() for one in requests]  # before anything is judged
    for index, one in enumerate(fingerprints):
        if one in fingerprints[:index]:
            raise InputError("claims", config.claims[index], "is given twice", "give every claim once")
    judgements = [verify(one) for one in requests]
    parties = [party_of(i, *both) for i, both in enumerate(zip(requests, judgements, strict=True), start=1)]
    return Dispute(judgements, settle(parties))


def requests_of(config: DisputeConfig) -> list[VerifyConfig]:
    """What `ipr verify` would be asked about each claim.

    Raises:
        InputError: there are fewer than two claims, or a list has not one value for each.
    """
    count = len(config.claims)
    if count < 2:
        raise InputError("claims", config.claims, "is no dispute", "give two claims or more: claims=[A,B]")
    known = config.commitment
    lists = {"commitment.digest": known.digest, "commitment.registered": known.registered}
    lists["reference"], lists["calibration"] = config.reference, config.calibration
    for name, values in lists.items():
        if values and len(values) != count:
            problem = f"has not one value for each of {count} claims"
            raise InputError(name, values, problem, "give them in the order of the claims, null for none")
    one_each = zip(config.claims, *(list(values) or [None] * count for values in lists.values()), strict=True)
    shared = {field.name: getattr(config, field.name) for field in fields(JudgeConfig)}
    return [
        VerifyConfig(
            **shared,
            claim=claim,
            commitment=CommitmentConfig(digest, day, known.released),
            reference=reference,
            calibration=calibration,
        )
        for claim, digest, day, reference, calibration in one_each
    ]


def party_of(number: int, asked: VerifyConfig, judgement: Judgement) -> Party:
    """A judged claim as a party, called by its number and, if it bears one, its owner's name.

    Its date counts only where the commitment in its folder opens to it and is the one that was registered.
    """
    claim, known = judgement.claim, judgement.commitment.registration
    found = load_commitment(Path(asked.claim))
    dated = found is not None and opens(found, claim) and found.digest == known.digest
    return Party(
        name=f"claim {number}" + (f" ({claim.owner})" if claim.owner else ""),
        owner=claim.owner,
        kind=claim.kind,
        fingerprint=claim.fingerprint(),
        outcome=judgement.decision.outcome,
        moment=known.registered.last if dated and known.registered is not None else None,
        marks=claim.marks(),
    )
