"""Is a claim one that a judge can use? Looked at before a dispute, without a suspect."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from ipr.claims.base import Claim
from ipr.claims.commitment import FILE, load_commitment, opens
from ipr.claims.folder import FACTS, SECRETS, check_place
from ipr.claims.stamp import FILE as STAMP
from ipr.claims.stamp import read_stamp, stamped
from ipr.errors import InputError
from ipr.judging.claim_kinds import load_claim
from ipr.judging.redraw import is_keyless
from ipr.models.claimed import network_of


def examine(folder: Path, certificate: Path | None = None) -> Iterator[tuple[str, str | InputError]]:
    """Looks at a claim's folder, part by part, and opens nothing that is no regular file.

    Args:
        folder: the claim's.
        certificate: what its time stamp is checked against, as of `stamp.authority_certificates`; None if nothing is.

    Yields:
        What was looked at, and what was found: a sentence, or an error where something is wrong. Where the claim
        cannot be read there is nothing more to look at.
    """
    check_place(folder, folder, directory=True)
    for place in sorted(folder.iterdir()):
        check_place(folder, place, directory=False)
    yield "files", _found(lambda: _check_private(folder))
    claim = load_claim(folder)
    yield "parts", f"a claim of kind {claim.kind}, whole"
    yield "network", _found(lambda: _check_network(claim))
    if claim.says_of_signature:
        yield "signature", f"is {claim.says_of_signature}"
    yield "origin", _about_origin(claim)
    yield "commitment", _found(lambda: _check_commitment(folder, claim))
    yield "stamp", _found(lambda: _check_time(folder, certificate))


def _about_origin(claim: Claim) -> str:
    """What a claim says of where its secrets were drawn from; whether it is true only a judge's images can tell."""
    if is_keyless(claim):
        return "keyless: the secrets follow from the run's seed, fit for research only"
    if claim.origin is None:
        return "not known: no judge can draw the secrets again"
    return f"names seeds for: {', '.join(claim.origin.seeds) or 'nothing'}"


def _found(look: Callable[[], str]) -> str | InputError:
    """What a look finds, or the error that it raises."""
    try:
        return look()
    except InputError as error:
        return error


def _check_private(folder: Path) -> str:
    """Refuses a folder or a file that others can read, or that belongs to another user, and files of no claim."""
    for place, mode in ((folder, 0o700), *((path, 0o600) for path in sorted(folder.iterdir()))):
        about = place.lstat()
        if place is not folder and place.name not in (FACTS, SECRETS, FILE, STAMP):
            raise InputError("claim", folder, f"holds {place.name!a}, which is no part of a claim", "move it away")
        if about.st_uid != os.geteuid():
            raise InputError("claim", folder, f"{place.name} belongs to another user", "copy the claim as yourself")
        if stat.S_IMODE(about.st_mode) & ~mode:
            problem = f"others can read or change {place.name} (mode {stat.S_IMODE(about.st_mode):o})"
            raise InputError("claim", folder, problem, f"chmod {mode:o} {place.name}")
    return "nobody else can read them"


def _check_network(claim: Claim) -> str:
    """Refuses a claim that does not fit the network that it names: the plain one is built and looked at."""
    about = claim.architecture
    example = torch.zeros(1, about["channels_in"], about["image_size"], about["image_size"])
    claim.check_network(network_of(about), example)
    return f"{about['model']['name']} takes it"


def _check_commitment(folder: Path, claim: Claim) -> str:
    """Refuses a commitment that is damaged, or one to other secrets, thresholds or another owner."""
    commitment = load_commitment(folder)
    if commitment is None:
        return "there is none"
    if not opens(commitment, claim):
        remedy = "restore the claim as it was committed to, thresholds included; or move the commitment away"
        raise InputError("claim", folder, f"{FILE} does not open to this claim", remedy)
    return f"{commitment.digest} opens"


def _check_time(folder: Path, certificate: Path | None) -> str:
    """Refuses a time stamp that does not hold, or is not over the digest of the commitment beside it."""
    commitment = load_commitment(folder)
    if read_stamp(folder) is None:
        return "there is none"
    if commitment is None:
        raise InputError("claim", folder, f"has a {STAMP} and no commitment", f"restore {FILE}, or move {STAMP} away")
    found = stamped(folder, commitment.digest, certificate)
    if certificate is None:
        return f"says {found}, over the commitment; not checked without authority_certificate=FILE"
    return f"{found}, over the commitment"
