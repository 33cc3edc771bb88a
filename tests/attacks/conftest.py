"""A victim of every scheme, made without training."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from ipr.attacks.base import Victim, schemes_of
from ipr.claims.base import Thresholds
from ipr.config.schema import ModelConfig
from ipr.judging.verdict import claim_of_signs
from ipr.passport.layer import passport_layers
from ipr.signature import detect
from references import memorise, passport_claim, protected, small, watermark


@pytest.fixture
def victim_of(data) -> Callable[[str, str, str], Victim]:
    """A victim by scheme, model and norm; a passport's signature is what its signs spell, a watermark is unread."""

    def make(scheme: str, model: str = "alexnet", norm: str = "gn") -> Victim:
        about = ModelConfig(model, norm, 0.25)
        if scheme not in schemes_of("passport"):
            network = small(model, norm)
            if scheme == "frontier_stitching":
                memorise(network, data)  # an untrained network has no frontier near its images
            return Victim(network, watermark(scheme, network, data), model=about)
        v1 = scheme == "passport_v1"
        network, plain, passport = protected(model, norm, public_affine=not v1)
        suspect = small(model, norm)
        suspect.load_state_dict(plain.state_dict())
        if v1:
            suspect.load_state_dict(network.state_dict(), strict=False)
        bits = {n: detect(layer.passport_affine()[0][0]) for n, layer in passport_layers(network).items()}
        claim = passport_claim(scheme, passport, bits, Thresholds(0.1, 0.03))
        return Victim(suspect, claim_of_signs(claim, suspect) if claim.of_accessory else claim, v1, model=about)

    return make
