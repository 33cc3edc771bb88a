"""Claims of every kind, read back from their folders."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

from ipr.claim import REMEDY, Claim, Thresholds, read_parts
from ipr.errors import InputError
from ipr.passport.claim import PassportClaim
from ipr.watermarks.deepmarks import DeepMarksClaim
from ipr.watermarks.deepsigns import DeepSignsClaim
from ipr.watermarks.frontier_stitching import FrontierStitchingClaim
from ipr.watermarks.guo_potkonjak import GuoPotkonjakClaim
from ipr.watermarks.trigger_set import TriggerSetClaim
from ipr.watermarks.uchida import UchidaClaim
from ipr.watermarks.zhang import ZhangContentClaim, ZhangNoiseClaim, ZhangUnrelatedClaim

KINDS: dict[str, type[Claim]] = {
    kind.kind: kind
    for kind in (
        PassportClaim,
        UchidaClaim,
        TriggerSetClaim,
        DeepMarksClaim,
        DeepSignsClaim,
        ZhangContentClaim,
        ZhangNoiseClaim,
        ZhangUnrelatedClaim,
        FrontierStitchingClaim,
        GuoPotkonjakClaim,
    )
}
"""Every kind of claim by its name."""


def load_claim(folder: Path) -> Claim:
    """Reads a claim that `Claim.save` wrote.

    Raises:
        InputError: it is not there, cannot be read, or its parts do not fit together.
    """
    facts, tensors = read_parts(folder)
    try:
        thresholds = Thresholds(**{f.name: facts["thresholds"][f.name] for f in fields(Thresholds)})
        return KINDS[facts["kind"]].from_parts(facts, tensors, thresholds)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise InputError("claim", folder, f"is damaged (missing or wrong: {error})", REMEDY) from error
