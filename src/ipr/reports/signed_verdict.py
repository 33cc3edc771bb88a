"""A verdict that its judge signed: an in-toto statement about suspect and claim, in an envelope (`judging.signing`).

The statement (https://github.com/in-toto/attestation, Statement v1) names what it is about by digests, and carries
`verdict.json`, all of it, as its predicate. Nothing is said twice but these digests, and they must agree.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from ipr.claims.folder import strict_json
from ipr.errors import InputError
from ipr.files import write_new
from ipr.judging.signing import envelope_text, read_envelope, seal, unseal

KIND = "application/vnd.in-toto+json"
"""The media type of a statement."""

STATEMENT = "https://in-toto.io/Statement/v1"

PREDICATE = "https://ipr.invalid/verdict/v1"
"""What sort of predicate it is. A name, not an address: nothing is ever found below `.invalid` (RFC 2606). Which fields
it has, its `schema_version` says."""

FILE = "verdict.dsse.json"


def statement(verdict: Mapping[str, Any]) -> dict[str, Any]:
    """What a judge states.

    Subjects are the suspect, by SHA-256 of its weights file, unless it was a black box, which has no digest (the
    predicate has its address); and the claim, by its fingerprint, which is a SHA-256 over its parts and not of a file.

    Args:
        verdict: what `verdict.json` holds.

    Raises:
        KeyError, TypeError: it is no verdict.
    """
    digests = {"suspect": verdict["suspect"]["sha256"], "claim": verdict["claim"]["fingerprint"]}
    return {
        "_type": STATEMENT,
        "subject": [{"name": name, "digest": {"sha256": hex_}} for name, hex_ in digests.items() if hex_ is not None],
        "predicateType": PREDICATE,
        "predicate": dict(verdict),
    }


def sign_verdict(folder: Path, key: Ed25519PrivateKey) -> Path:
    """Signs the verdict in a folder that `write_verdict` wrote; the same signature is left as it is.

    Returns:
        The envelope, `verdict.dsse.json` beside `verdict.json`.

    Raises:
        InputError: another envelope is there, such as one of another key.
    """
    verdict = json.loads((folder / "verdict.json").read_bytes())
    payload = json.dumps(statement(verdict), allow_nan=False).encode()
    write_new({folder / FILE: envelope_text(seal(payload, KIND, key))})
    return folder / FILE


def open_verdict(path: Path, judge: Ed25519PublicKey) -> dict[str, Any]:
    """A verdict from the envelope in which it came.

    Args:
        path: the envelope's file.
        judge: who must have signed it.

    Returns:
        What `verdict.json` holds.

    Raises:
        InputError: it cannot be read, its seal does not hold, or what is sealed is no verdict.
    """
    payload = unseal(read_envelope(path), KIND, judge, path)
    try:
        found = strict_json(payload)
        verdict: dict[str, Any] = found["predicate"]
        if statement(verdict) != found:
            raise ValueError("it is about something else than its verdict, or of another type")
        if not isinstance(verdict["rule"], dict) or not {"date", "decision"} <= {*verdict}:
            raise ValueError("date, decision or rule is missing")
    except (KeyError, TypeError, ValueError) as error:
        remedy = "read it with the version of ipr that signed it"
        raise InputError("envelope", path, f"is sealed, and holds no verdict ({error})", remedy) from error
    return verdict
