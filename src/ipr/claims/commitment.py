"""A commitment to a claim and the weights it is about: published before a dispute, opened in it.

digest = SHA-256("ipr commitment 1" || nonce || fingerprint || weights), with 32 bytes of each of the three: a nonce
from the system's source of secrets, the claim's fingerprint (thresholds included) and the digest of the public weights.
All parts have a fixed length, so that no two openings give the same text. The digest tells nothing of what it binds to.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from torch import Tensor

from ipr.claims.base import Claim
from ipr.claims.folder import read_json
from ipr.digests import weights_digest
from ipr.errors import InputError
from ipr.files import write_atomically

DOMAIN = b"ipr commitment 1"
FILE = "commitment.json"
LIMIT = 2**12
"""Bytes of the file at most."""

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Commitment:
    """A commitment with its opening. Each is 32 bytes as 64 hexadecimal digits.

    Attributes:
        digest: what is published.
        nonce: secret until the opening: with it whoever knows the claim can tell that it was committed to.
        weights: `weights_digest` of the public weights.
    """

    digest: str
    nonce: str
    weights: str

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if not isinstance(value, str) or not re.fullmatch(r"[0-9a-f]{64}", value):
                raise InputError("commitment", name, "is not 64 hexadecimal digits", f"restore {FILE}")


def digest(nonce: str, fingerprint: str, weights: str) -> str:
    """The digest of three parts, each 64 hexadecimal digits."""
    return hashlib.sha256(DOMAIN + bytes.fromhex(nonce + fingerprint + weights)).hexdigest()


def commit(claim: Claim, weights: Mapping[str, Tensor]) -> Commitment:
    """Commits to a claim and to weights by their names, with a new nonce."""
    nonce, public = secrets.token_hex(32), weights_digest(weights)
    return Commitment(digest(nonce, claim.fingerprint(), public), nonce, public)


def opens(commitment: Commitment, claim: Claim) -> bool:
    """Whether a commitment is one to this claim, thresholds included, and to the weights that it names."""
    return commitment.digest == digest(commitment.nonce, claim.fingerprint(), commitment.weights)


def load_commitment(folder: Path) -> Commitment | None:
    """The commitment in a claim's folder; None where there is none.

    Raises:
        InputError: it cannot be read, or is damaged.
    """
    found = read_json(folder, FILE, LIMIT)
    if found is None:
        return None
    if found.get("schema_version") != SCHEMA_VERSION:
        remedy = "read it with the version of ipr that wrote it"
        raise InputError("claim", folder, f"{FILE} is not of schema version {SCHEMA_VERSION}", remedy)
    try:
        return Commitment(found["digest"], found["nonce"], found["weights"])
    except KeyError as error:
        raise InputError("claim", folder, f"{FILE} is damaged ({error} is missing)", "restore it") from error


def save_commitment(commitment: Commitment, folder: Path) -> None:
    """Writes a commitment and today's date into a claim's folder, readable by its owner alone.

    Raises:
        InputError: another one is there; it is not overwritten.
    """
    there = load_commitment(folder)
    if there not in (None, commitment):
        remedy = f"keep it: it cannot be made again; to commit anew move {FILE} away"
        raise InputError("claim", folder, "is committed already, with other thresholds or weights", remedy)
    if there is None:
        date = datetime.now(UTC).date().isoformat()
        values = {"schema_version": SCHEMA_VERSION, "date": date, **asdict(commitment)}
        write_atomically(folder / FILE, json.dumps(values, indent=2) + "\n", 0o600)


def commit_once(folder: Path, claim: Claim, weights: Mapping[str, Tensor]) -> Commitment:
    """The commitment to a stored claim and its weights: the one that is in its folder, or a new one, stored there.

    Raises:
        InputError: the one that is there is to other thresholds or weights.
    """
    there = load_commitment(folder)
    if there is not None and opens(there, claim) and there.weights == weights_digest(weights):
        return there
    new = commit(claim, weights)
    save_commitment(new, folder)
    return new
