"""Networks, claims and readings for tests of alignment."""

import torch
from torch import nn

from ipr.claims.base import Thresholds
from ipr.judging.verdict import claim_of_signs
from ipr.passport.claim import PassportClaim
from ipr.signature import agreeing_bits, detect
from references import protected


def used(model, norm):
    """A small network with scales, shifts and statistics of its own, its passport, and images."""
    _, plain, passport = protected(model, norm)
    x = torch.randn(8, 3, 16, 16, generator=torch.Generator().manual_seed(5))
    for module in plain.modules():
        if isinstance(module, nn.BatchNorm2d | nn.GroupNorm):
            nn.init.uniform_(module.weight, 0.5, 2)
            nn.init.normal_(module.bias, std=0.3)
    plain.train()
    with torch.no_grad():
        for _ in range(8):
            plain(x)
    return plain.eval(), passport, x


def spelled(network, passport):
    """The claim whose bits the passport spells on a network."""
    ones = {name: torch.ones(network.get_submodule(name).out_channels, dtype=torch.int8) for name in passport}
    return claim_of_signs(PassportClaim(passport, ones, thresholds=Thresholds(None)), network)


def agreeing(network, claim):
    bits = {n: agreeing_bits(detect(g[0]), claim.signature[n]) for n, (g, _) in claim.affines(network).items()}
    return sum(bits.values()) / claim.marks().numel()
