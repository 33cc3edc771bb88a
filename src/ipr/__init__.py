"""ipr: embed passports into networks, attack them, judge every outcome, report it.

For one's own training loop, in plain PyTorch: `ipr.protect`, `ipr.strip`, `ipr.judge`. What the command line does, from
Python: `ipr.train` and `ipr.attack` of an `ipr.configuration`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ipr.claims.base import Claim, Thresholds
    from ipr.data.images import LabelledImages
    from ipr.errors import InputError
    from ipr.judging.black_box import judge_black_box
    from ipr.judging.claim_kinds import load_claim
    from ipr.judging.verdict import Verdict, judge
    from ipr.passport.claim import PassportClaim
    from ipr.passport.fork import Forked, fork
    from ipr.passport.generate import image_passport, random_passport, shuffled_passport, with_energy
    from ipr.passport.layer import Branch, affines_of, passport_layers
    from ipr.passport.surgery import find_layers, fold, protect, strip
    from ipr.passport.unlock import unlock
    from ipr.requests.compose import configuration
    from ipr.signature import draw_signature, sign_loss
    from ipr.suspects.served.black_box import BlackBox
    from ipr.suspects.served.endpoint import Endpoint
    from ipr.workflows.attack import attack
    from ipr.workflows.export import export
    from ipr.workflows.train import train

_HOMES = {
    "InputError": "ipr.errors",
    "Claim": "ipr.claims.base",
    "PassportClaim": "ipr.passport.claim",
    "Thresholds": "ipr.claims.base",
    "load_claim": "ipr.judging.claim_kinds",
    "image_passport": "ipr.passport.generate",
    "random_passport": "ipr.passport.generate",
    "shuffled_passport": "ipr.passport.generate",
    "with_energy": "ipr.passport.generate",
    "Branch": "ipr.passport.layer",
    "Forked": "ipr.passport.fork",
    "fork": "ipr.passport.fork",
    "affines_of": "ipr.passport.layer",
    "passport_layers": "ipr.passport.layer",
    "find_layers": "ipr.passport.surgery",
    "fold": "ipr.passport.surgery",
    "protect": "ipr.passport.surgery",
    "strip": "ipr.passport.surgery",
    "unlock": "ipr.passport.unlock",
    "draw_signature": "ipr.signature",
    "sign_loss": "ipr.signature",
    "LabelledImages": "ipr.data.images",
    "BlackBox": "ipr.suspects.served.black_box",
    "Endpoint": "ipr.suspects.served.endpoint",
    "judge_black_box": "ipr.judging.black_box",
    "Verdict": "ipr.judging.verdict",
    "judge": "ipr.judging.verdict",
    "configuration": "ipr.requests.compose",
    "train": "ipr.workflows.train",
    "attack": "ipr.workflows.attack",
    "export": "ipr.workflows.export",
}

__all__ = [
    "BlackBox",
    "Branch",
    "Claim",
    "Endpoint",
    "Forked",
    "InputError",
    "LabelledImages",
    "PassportClaim",
    "Thresholds",
    "Verdict",
    "affines_of",
    "attack",
    "configuration",
    "draw_signature",
    "export",
    "find_layers",
    "fold",
    "fork",
    "image_passport",
    "judge",
    "judge_black_box",
    "load_claim",
    "passport_layers",
    "protect",
    "random_passport",
    "shuffled_passport",
    "sign_loss",
    "strip",
    "train",
    "unlock",
    "with_energy",
]


def __getattr__(name: str) -> Any:
    """Imports a public name when it is first used, so that `import ipr` and `ipr --help` do not load torch."""
    if name not in _HOMES:
        raise AttributeError(f"module 'ipr' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
