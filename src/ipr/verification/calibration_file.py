"""A calibration as plain JSON values, and back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any, TypeVar

from ipr.claim import Claim
from ipr.errors import InputError
from ipr.verification.calibration import Calibration, FalseClaimRate, MissedClaims, WrongClaims
from ipr.verification.null import EmpiricalNull

SCHEMA_VERSION = 2

LIMIT = 2**24
"""Bytes of a file at most."""

Part = TypeVar("Part", WrongClaims, FalseClaimRate, MissedClaims)


def calibration_facts(calibration: Calibration) -> dict[str, Any]:
    """Everything in it, and what follows from it for the null's rate."""
    facts = asdict(calibration)
    if calibration.null is not None:
        facts["null"]["rate"] = calibration.null.rate
    return {"schema_version": SCHEMA_VERSION, **facts}


def load_calibration(path: Path, claim: Claim, data_fingerprint: str) -> Calibration:
    """Reads a calibration of a claim back.

    Raises:
        InputError: it cannot be read, is damaged, or is one of another claim or another data set.
    """
    again = "make it again with ipr calibrate"
    try:
        with path.open("rb") as file:
            text = file.read(LIMIT + 1)
        if len(text) > LIMIT:
            raise ValueError(f"more than {LIMIT} bytes")
        calibration = _calibration(json.loads(text))
    except OSError as error:
        raise InputError("calibration", path, f"cannot be read ({error.strerror or error})", again) from error
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise InputError("calibration", path, f"is damaged (missing or wrong: {error})", again) from error
    if calibration.claim != claim.fingerprint():
        raise InputError("calibration", path, "is one of another claim, or of other thresholds", again)
    if calibration.data_fingerprint != data_fingerprint:
        raise InputError("calibration", path, f"is one on other images ({calibration.data})", again)
    return calibration


def _calibration(facts: Mapping[str, Any]) -> Calibration:
    if facts["schema_version"] != SCHEMA_VERSION:
        raise ValueError(f"schema version {facts['schema_version']}")
    null = facts["null"]
    return Calibration(
        claim=_plain("str", facts["claim"]),
        claim_kind=_plain("str", facts["claim_kind"]),
        data=_plain("str", facts["data"]),
        data_fingerprint=_plain("str", facts["data_fingerprint"]),
        networks=tuple(_plain("str", one) for one in facts["networks"]),
        null=None if null is None else _null(null),
        wrong=tuple(_part(WrongClaims, one) for one in facts["wrong"]),
        rates=tuple(_part(FalseClaimRate, one) for one in facts["rates"]),
        missed=tuple(_part(MissedClaims, one) for one in facts["missed"]),
        p_value=_plain("float | None", facts["p_value"]),
        fidelity=_plain("float", facts["fidelity"]),
        seed=_plain("int", facts["seed"]),
    )


def _null(facts: Mapping[str, Any]) -> EmpiricalNull:
    agreeing = tuple(_plain("int", one) for one in facts["agreeing"])
    return EmpiricalNull(agreeing, _plain("int", facts["total"]), _plain("int", facts["choices"]))


def _part(kind: type[Part], facts: Mapping[str, Any]) -> Part:
    return kind(**{field.name: _plain(str(field.type), facts[field.name]) for field in fields(kind)})


TYPES: dict[str, tuple[type, ...]] = {
    "str": (str,),
    "int": (int,),
    "bool": (bool,),
    "float": (int, float),
    "float | None": (int, float, type(None)),
}


def _plain(kind: str, value: Any) -> Any:
    """A value of the type that a field is declared with; numbers are finite."""
    if not isinstance(value, TYPES[kind]) or isinstance(value, bool) != (kind == "bool"):
        raise TypeError(f"{value!r:.40} is no {kind}")
    if isinstance(value, float) and value - value != 0:
        raise ValueError(f"{value} is not finite")
    return value
