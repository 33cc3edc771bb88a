"""A calibration as plain JSON values, and back, for the judge who made it.

`calibration.json` can be written by hand, so it counts only with the judge's own seal beside it:
`calibration.dsse.json`, an envelope (`ipr.judging.signing`) that holds the very bytes.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from ipr.claims.base import Claim
from ipr.errors import InputError
from ipr.files import read_regular, write_new
from ipr.judging.calibration import Calibration
from ipr.judging.signing import envelope_text, keyid, read_envelope, seal, unseal

SCHEMA_VERSION = 2

KIND = "application/vnd.ipr.calibration+json"
"""The media type of `calibration.json` in its envelope."""

LIMIT = 2**24
"""Bytes of a file at most."""


def calibration_facts(calibration: Calibration) -> dict[str, Any]:
    """Everything in it, and what follows from it for the null's rate."""
    facts = asdict(calibration)
    if calibration.null is not None:
        facts["null"]["rate"] = calibration.null.rate
    return {"schema_version": SCHEMA_VERSION, **facts}


def seal_calibration(path: Path, key: Ed25519PrivateKey) -> Path:
    """Seals a calibration that was written; the same seal is left as it is.

    Returns:
        The envelope, beside it.

    Raises:
        InputError: another envelope is there: that of another judge, or of another calibration.
    """
    envelope = envelope_of(path)
    write_new({envelope: envelope_text(seal(path.read_bytes(), KIND, key))})
    return envelope


def envelope_of(path: Path) -> Path:
    """Where the envelope of `NAME.json` is: `NAME.dsse.json`."""
    return path.with_suffix(".dsse.json")


def load_calibration(path: Path, claim: Claim, data_fingerprint: str, judge: Ed25519PublicKey | None) -> Calibration:
    """Reads a calibration of a claim back.

    Args:
        path: `calibration.json`; its envelope is looked for beside it.
        claim: the claim that is judged.
        data_fingerprint: of the images that it is judged on.
        judge: the judge's own public key: no other's calibration is taken, a claimant's least of all. None for a judge
            who has no key, and so never made one.

    Raises:
        InputError: it cannot be read, is not sealed by this judge, is damaged, or is one of another claim or another
            data set.
    """
    again = "make it again with ipr calibrate"
    try:
        text, _ = read_regular(path, LIMIT)
        _check_seal(path, text, judge)
        calibration = _calibration(json.loads(text))
    except InputError:
        raise
    except OSError as error:
        raise InputError("calibration", path, f"cannot be read ({error.strerror or error})", again) from error
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise InputError("calibration", path, f"is damaged (missing or wrong: {error})", again) from error
    if calibration.claim != claim.fingerprint():
        raise InputError("calibration", path, "is one of another claim, or of other thresholds", again)
    if calibration.data_fingerprint != data_fingerprint:
        raise InputError("calibration", path, f"is one on other images ({calibration.data})", again)
    return calibration


def _check_seal(path: Path, text: bytes, judge: Ed25519PublicKey | None) -> None:
    remedy = "make it yourself with ipr calibrate"
    if judge is None:
        raise InputError("calibration", path, "was not made by this judge (who has no key yet)", remedy)
    envelope = envelope_of(path)
    try:
        sealed = unseal(read_envelope(envelope), KIND, judge, envelope)
    except InputError as error:
        problem = f"was not made by this judge (key {keyid(judge)[:16]}; {envelope.name} {error.problem})"
        raise InputError("calibration", path, problem, remedy) from error
    if sealed != text:
        problem = f"is not what this judge sealed (key {keyid(judge)[:16]}; {envelope.name} holds other bytes)"
        raise InputError("calibration", path, problem, remedy)


def _calibration(facts: Mapping[str, Any]) -> Calibration:
    if facts["schema_version"] != SCHEMA_VERSION:
        raise ValueError(f"schema version {facts['schema_version']}")
    found: Calibration = _read(Calibration, facts)
    return found


def _read(kind: Any, value: Any) -> Any:
    """A value of the type that a field is declared with: a dataclass, a sequence, or a plain value or none."""
    if isinstance(kind, type) and is_dataclass(kind):
        return kind(**{name: _read(hint, value[name]) for name, hint in get_type_hints(kind).items()})
    if get_origin(kind) is Sequence:
        (item,) = get_args(kind)
        return tuple(_read(item, one) for one in value)
    types = get_args(kind) or (kind,)
    if is_dataclass(types[0]):
        return None if value is None else _read(types[0], value)
    if float in types:
        types = (*types, int)
    if not isinstance(value, types) or isinstance(value, bool) != (kind is bool):
        raise TypeError(f"{value!r:.40} is no {kind.__name__ if isinstance(kind, type) else kind}")
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{value} is not finite")
    return value
