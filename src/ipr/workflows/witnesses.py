"""Fingerprints beside a claim: opened, and measured on the suspect and on networks that the judge calls independent."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ipr.claims.base import Claim, Reading
from ipr.claims.commitment import load_commitment, opens
from ipr.data.images import LabelledImages
from ipr.errors import InputError
from ipr.judging.claim_kinds import load_claim
from ipr.judging.witness import Witness
from ipr.suspects.suspect import Suspect, open_suspect
from ipr.workflows.claimed_model import architecture_of_run

SIZES = ("channels_in", "image_size", "num_classes")


@dataclass(frozen=True)
class Opened:
    """Fingerprints, each with the digest of its commitment, and the independent networks, on the CPU."""

    claims: Sequence[tuple[Claim, str | None]]
    independent: Sequence[Suspect]


def open_witnesses(folders: Sequence[str], independent: Sequence[str], claim: Claim) -> Opened:
    """Reads what is to be measured beside a claim.

    Args:
        folders: of fingerprints, as `ipr train` writes them.
        independent: weights files, or run folders, of the claim's architecture.
        claim: the claim.

    Raises:
        InputError: one is no fingerprint, or of another network than the claim's; or a network is given twice.
    """
    if independent and not folders:
        problem = "are asked beside a fingerprint, and there is none"
        raise InputError("independent", f"[{len(independent)} networks]", problem, "give witness=[CLAIM]")
    found = [_opened(Path(folder), claim) for folder in folders]
    networks = [_independent(Path(place), claim) for place in independent] if folders else []
    digests = [one.weights_digest for one in networks]
    if len({*digests}) < len(digests):
        problem = "holds weights that are given twice"
        raise InputError("independent", f"[{len(digests)} networks]", problem, "give each network once")
    return Opened(found, networks)


def _opened(folder: Path, claim: Claim) -> tuple[Claim, str | None]:
    witness = load_claim(folder)
    if not witness.is_fingerprint:
        problem = f"is a claim of kind {witness.kind}, and no fingerprint"
        raise InputError("witness", folder, problem, "give a claim of scheme=ipguard or lineage")
    if (mine := _network(witness)) != (theirs := _network(claim)):
        raise InputError(
            "witness", folder, f"is about another network than the claim ({mine}, not {theirs})", "leave it out"
        )
    commitment = load_commitment(folder)
    return witness, commitment.digest if commitment is not None and opens(commitment, witness) else None


def _network(claim: Claim) -> tuple[Any, ...]:
    about = claim.architecture
    model = about.get("model", {})
    return (*(model.get(name) for name in ("name", "norm", "width")), *(about.get(name) for name in SIZES))


def _independent(place: Path, claim: Claim) -> Suspect:
    if not place.is_dir():
        return open_suspect(place, claim.architecture, "independent")
    about = architecture_of_run(place, claim)
    if {name: about["model"].get(name) for name in ("name", "norm", "width")} != {
        name: claim.architecture["model"].get(name) for name in ("name", "norm", "width")
    }:
        raise InputError("independent", place, "is of another architecture than the claim", "give one of the same")
    return open_suspect(place / "public.safetensors", about, "independent")


def measured(
    opened: Opened, ask: Callable[[Claim], Reading], images: LabelledImages, suspect: str | None
) -> tuple[Witness, ...]:
    """Every fingerprint on the suspect, and on all independent networks.

    Args:
        opened: see `open_witnesses`.
        ask: what the suspect says to a fingerprint.
        images: give the normalisation.
        suspect: the digest of its weights; None for a black box.

    Raises:
        InputError: a fingerprint does not fit the suspect, or an independent network is the suspect.
    """
    if suspect is not None and any(one.weights_digest == suspect for one in opened.independent):
        problem = "is the suspect itself"
        raise InputError("independent", suspect[:12], problem, "give networks that were trained by themselves")
    digests = tuple(one.weights_digest for one in opened.independent)
    witnesses = []
    for claim, digest in opened.claims:
        whole = claim.without_repeats()
        found = ask(whole)
        others = [whole.read(one.network, images.mean, images.std) for one in opened.independent]
        witnesses.append(Witness(claim, digest, found, tuple(others), found.choices, digests))
    return tuple(witnesses)
