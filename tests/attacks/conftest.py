"""A victim of every scheme, made without training."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from ipr.attacks.base import Victim, schemes_of
from ipr.claims.base import Thresholds
from ipr.config.registry import load
from ipr.judging.verdict import claim_of_signs
from ipr.passport.claim import PassportClaim
from ipr.passport.layer import passport_layers
from ipr.signature import detect
from references import memorise, protected, small, watermark


@pytest.fixture
def victim_of(data) -> Callable[[str, str, str], Victim]:
    """A victim by scheme, model and norm; a passport's signature is what its signs spell, a watermark is unread."""

    def make(scheme: str, model: str = "alexnet", norm: str = "gn") -> Victim:
        if scheme not in schemes_of("passport"):
            network = small(model, norm)
            if scheme == "frontier_stitching":
                memorise(network, data)  # an untrained network has no frontier near its images
            return Victim(network, watermark(scheme, network, data))
        v1 = scheme == "passport_v1"
        network, plain, passport = protected(model, norm, public_affine=not v1)
        suspect = small(model, norm)
        suspect.load_state_dict(plain.state_dict())
        if v1:
            suspect.load_state_dict(network.state_dict(), strict=False)
        bits = {n: detect(layer.passport_affine()[0][0]) for n, layer in passport_layers(network).items()}
        kind, limits = load("scheme", scheme).claim_kind, Thresholds(0.1, 0.03)
        if not kind.of_accessory:
            return Victim(suspect, PassportClaim(passport, bits, thresholds=limits), v1)
        source = torch.Generator().manual_seed(3)
        drawn = {name: kind.drawn(own.numel(), source) for name, own in bits.items()}
        return Victim(suspect, claim_of_signs(kind(passport, bits, accessories=drawn, thresholds=limits), suspect))

    return make
