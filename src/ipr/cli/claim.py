"""`ipr claim show|check|commit|stamp`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from ipr.cli import loading
from ipr.cli.jobs import EXIT_INPUT, choose_verb
from ipr.config.schema import ClaimConfig
from ipr.errors import InputError
from ipr.terminal.console import Console
from ipr.texts import printable


def execute(config: ClaimConfig) -> int:
    """Does what the verb says; 0, or 2 where `check` finds something wrong.

    Raises:
        InputError: there is no such verb, or the claim cannot be used.
    """
    return choose_verb("claim", config.verb, VERBS, "claim=...")(config)


def show(config: ClaimConfig) -> int:
    """Prints what of a claim may be seen."""
    with loading():
        from ipr.claims.commitment import load_commitment
        from ipr.claims.stamp import read_stamp, stamped
        from ipr.judging.claim_kinds import load_claim
        from ipr.reports.terminal import claim_table

    folder = Path(config.claim)
    claim, commitment = load_claim(folder), load_commitment(folder)
    said = stamped(folder, commitment.digest, None) if commitment and read_stamp(folder) is not None else None
    Console().print(claim_table(claim))
    print(f"fingerprint: {claim.fingerprint()}")
    print(f"commitment:  {commitment.digest if commitment else '-'}")
    print(printable(f"time stamp:  {f'{said}, not checked' if said else '-'}"))
    return 0


def check(config: ClaimConfig) -> int:
    """Prints a line for everything that is looked at; what is wrong on stderr."""
    with loading():
        from ipr.judging.examination import examine

    code = 0
    certificate = Path(config.authority_certificate) if config.authority_certificate else None
    for what, found in examine(Path(config.claim), certificate):
        if isinstance(found, InputError):
            print(f"ipr: error: {found}", file=sys.stderr)
            code = EXIT_INPUT
        else:
            print(printable(f"ok: {what}: {found}"))
    return code


def commit(config: ClaimConfig) -> int:
    """Commits to a claim and its public weights, or finds the commitment that is there, and prints the digest."""
    with loading():
        from ipr.claims.commitment import commit_once
        from ipr.cli.train import tell_failed
        from ipr.judging.claim_kinds import load_claim
        from ipr.store.record import failed_at
        from ipr.suspects.weights import read_weights

    folder = Path(config.claim)
    claim = load_claim(folder)
    path = Path(config.weights) if config.weights else folder.parent / "public.safetensors"
    commitment = commit_once(folder, claim, read_weights(path, "weights"))
    tell_failed(folder.absolute().parent.name, failed_at(folder.parent))
    print(f"commitment: {commitment.digest}")
    print("publish it where others see and date it, before the weights; what opens it stays in the claim")
    return 0


def stamp(config: ClaimConfig) -> int:
    """Has the commitment stamped, or finds the stamp that is there, and prints what it says."""
    with loading():
        from ipr.workflows.stamping import stamp_once

    certificate = Path(config.authority_certificate) if config.authority_certificate else None
    digest, found = stamp_once(Path(config.claim), config.authority, certificate)
    print(f"commitment: {digest}")
    print(printable(f"stamp:      {found}"))
    if certificate is None:
        print("what it says is not checked yet: give the authority's root as authority_certificate=FILE")
    return 0


VERBS: dict[str, Callable[[ClaimConfig], int]] = {"show": show, "check": check, "commit": commit, "stamp": stamp}
"""What `ipr claim` can be told to do."""
