"""Forgers who change their own copy of a network until it spells what they claim."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from ipr.data.images import LabelledImages
from ipr.judging.verdict import judge_claims
from ipr.models.channels import symmetry
from ipr.models.gauge import permute
from ipr.passport.bound import NONCE_BYTES, Binding, bound_signature
from ipr.passport.claim import PassportClaim
from ipr.passport.generate import random_passport, with_energy
from ipr.passport.guesses import lifted_passport
from ipr.passport.layer import patch_mean
from ipr.passport.lift import lift, public_scales
from ipr.passport.surgery import ConvNorm, Passport
from ipr.randomness import generator

UNSEEN = 30.0
"""The size of the part that no filter sees, beside the largest element of the lifted passport."""

STEP = 8
"""So many scales are moved at a time."""


def nudged(
    network: nn.Module, layers: Sequence[ConvNorm], owner: PassportClaim, images: LabelledImages
) -> tuple[PassportClaim, nn.Module]:
    """A bound signature, and a copy of a network with its public scales whose filters were moved a little to spell it.

    To a lifted passport a large part is added that no filter sees, so that it changes no scale; then the bits are
    hashed. A small step of a filter along that part moves its claimed scale as far as is wanted: just past 0, where the
    bit disagrees. The smallest scales go first, as they are missed least, and as many as fidelity allows.

    Args:
        network: left as it was.
        layers: the protected ones.
        owner: the owner's claim; its thresholds and architecture are used.
        images: what fidelity is measured on.
    """
    scales = public_scales(network, layers)
    nothing = {layer.conv: torch.zeros(2, layer.channels) for layer in layers}
    start = with_energy(random_passport(layers, generator(0, "nudge")), network, 1.0)
    unseen = lifted_passport(nothing, network, layers, start)
    lifted = lift(scales, network, layers).passport
    passport = {name: maps + UNSEEN * maps.abs().max() * unseen[name] for name, maps in lifted.items()}
    claim = bound(owner, passport, Binding(bytes(NONCE_BYTES), relative=True))
    wrong = sorted(  # relative to the public scales' signs a lifted passport spells +1 everywhere
        (abs(float(pair[0, channel])), name, channel)
        for name, pair in scales.items()
        for channel in (claim.signature[name] < 0).nonzero().flatten().tolist()
    )
    reached = judge_claims(network, [claim], images)[0].fidelity.accuracy
    asked = reached if owner.thresholds.target_accuracy is None else owner.thresholds.target_accuracy
    asked -= owner.thresholds.fidelity
    best = network
    for count in range(STEP, len(wrong) + STEP, STEP):
        moved = _with_scales_past_zero(network, claim, wrong[:count])
        if judge_claims(moved, [claim], images)[0].fidelity.accuracy < asked:
            break
        best = moved
    return claim, best


def put_in_place(network: nn.Module, claim: PassportClaim, example: Tensor) -> tuple[PassportClaim, nn.Module]:
    """A claim's passport with a bound signature, and a copy of a network whose channels are ordered to spell it.

    Within the groups of a group norm, in any order behind a batch norm; no answer changes.

    Args:
        network: left as it was.
        claim: with a passport of equal elements, which the order of channels that are taken does not touch.
        example: an input for it, (1, C, H, W).
    """
    claim = bound(claim, claim.passport, Binding(bytes(NONCE_BYTES)))
    copied = copy.deepcopy(network)
    for channels in symmetry(copied, example).free:
        names = [axis.tensor.removesuffix(".weight") for axis in channels.axes if axis.axis == 0]
        if here := [name for name in names if name in claim.signature]:
            with torch.no_grad():
                scales = claim.affines(copied)[here[0]][0][0]
            spelled = torch.where(scales > 0, 1, -1)
            wanted, block = claim.signature[here[0]], channels.block
            orders = [first + _order(spelled[first : first + block], wanted[first : first + block])
                      for first in range(0, channels.channels, block)]  # fmt: skip
            permute(copied, channels, torch.cat(orders))
    return claim, copied


def bound(like: PassportClaim, passport: Passport, binding: Binding) -> PassportClaim:
    """Mallory's claim to a passport, with the signature that follows from it."""
    sizes = {name: bits.numel() for name, bits in like.signature.items()}
    bits = bound_signature(passport, sizes, "Mallory", binding)
    forged = like.forged(passport=passport, text_bytes=0, triggers=None)
    return replace(forged, signature=bits, owner="Mallory", binding=str(binding))


@torch.no_grad()
def _with_scales_past_zero(
    network: nn.Module, claim: PassportClaim, chosen: Sequence[tuple[float, str, int]]
) -> nn.Module:
    """A copy in which the claimed scales of some channels are a hundredth of what they were, with the other sign."""
    copied, claimed = copy.deepcopy(network), claim.affines(network)
    for _, name, channel in chosen:
        conv = copied.get_submodule(name)
        assert isinstance(conv, nn.Conv2d)
        seen = patch_mean(claim.passport[name], conv)[0, 0]  # channels last, as `filters` has them
        step = -1.01 * claimed[name][0][0, channel] * seen / seen.square().sum()
        conv.weight[channel] += step.unflatten(0, (*conv.kernel_size, -1)).movedim(-1, 0)
    return copied


def _order(have: Tensor, wanted: Tensor) -> Tensor:
    """An order of channels in which as many signs as possible are those that are wanted, (C,)."""
    left = {sign: (have == sign).nonzero().flatten().tolist() for sign in (-1, 1)}
    order = [left[sign].pop() if left[sign] else None for sign in wanted.tolist()]
    rest = left[-1] + left[1]
    return torch.tensor([rest.pop() if channel is None else channel for channel in order])
