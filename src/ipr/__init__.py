"""ipr: embed passports into networks, attack them, judge every outcome, report it.

A passport for a trained network, on images of one's own: `ipr.embed`. For one's own training loop, in plain PyTorch:
`ipr.protect`, `ipr.strip`, `ipr.judge`. What the command line does, from
Python: `ipr.train` and `ipr.attack` of an `ipr.configuration`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ipr.claims.base import Claim as Claim
    from ipr.claims.base import Thresholds as Thresholds
    from ipr.data.images import LabelledImages as LabelledImages
    from ipr.errors import InputError as InputError
    from ipr.judging.black_box import judge_black_box as judge_black_box
    from ipr.judging.claim_kinds import load_claim as load_claim
    from ipr.judging.verdict import Verdict as Verdict
    from ipr.judging.verdict import judge as judge
    from ipr.own.callback import PassportCallback as PassportCallback
    from ipr.own.embed import embed as embed
    from ipr.own.protected import Protected as Protected
    from ipr.passport.claim import PassportClaim as PassportClaim
    from ipr.passport.fork import Forked as Forked
    from ipr.passport.fork import fork as fork
    from ipr.passport.generate import image_passport as image_passport
    from ipr.passport.generate import random_passport as random_passport
    from ipr.passport.generate import shuffled_passport as shuffled_passport
    from ipr.passport.generate import with_energy as with_energy
    from ipr.passport.layer import Branch as Branch
    from ipr.passport.layer import affines_of as affines_of
    from ipr.passport.layer import passport_layers as passport_layers
    from ipr.passport.surgery import find_layers as find_layers
    from ipr.passport.surgery import fold as fold
    from ipr.passport.surgery import protect as protect
    from ipr.passport.surgery import strip as strip
    from ipr.passport.unlock import unlock as unlock
    from ipr.requests.compose import configuration as configuration
    from ipr.signature import draw_signature as draw_signature
    from ipr.signature import sign_loss as sign_loss
    from ipr.suspects.served.black_box import BlackBox as BlackBox
    from ipr.suspects.served.endpoint import Endpoint as Endpoint
    from ipr.workflows.attack import attack as attack
    from ipr.workflows.export import export as export
    from ipr.workflows.train import train as train

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
    "embed": "ipr.own.embed",
    "Protected": "ipr.own.protected",
    "PassportCallback": "ipr.own.callback",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    """Imports a public name when it is first used, so that `import ipr` and `ipr --help` do not load torch."""
    if name not in _HOMES:
        raise AttributeError(f"module 'ipr' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
