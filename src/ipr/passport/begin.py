"""Where scales begin in a trained network: at plus or minus what was trained, with the signature's signs.

The private branch of V2 and V3 then begins as the trained network with some channels turned over, rather than with
scales near 0. V1 has no other branch that uses the filters: there a filter is turned together with its scale, which
batch norm makes the same function, so that the network begins as the trained one, and without its passport has channels
turned over: that is its lock. Behind a layer norm it is the columns of the linear layers that read a channel.

Of all weights that give these scales and shifts, the nearest to the trained, or turned, ones are taken: each filter
moves within span{S_gamma, S_beta} alone, by |change of scale| / |S|.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from ipr.models.feeding import is_sum_norm, readers_of
from ipr.models.inspection import Projection, answer_of, evaluating, projection_of
from ipr.passport.kinds import own_pair, public_pair
from ipr.passport.layer import patch_mean, scale_and_shift
from ipr.passport.surgery import Passport, find_layers
from ipr.signature import Signature


@torch.no_grad()
def begun(
    network: nn.Module, passport: Passport, signs: Signature, example: Tensor, *, turned: bool = False
) -> nn.Module:
    """A copy of a trained plain network whose passport gives what the norms have: gamma with these signs, and beta.

    Args:
        network: left as it was.
        passport: layer -> (2, C_in, H, W).
        signs: layer -> the sign that each scale is to have, (C,) in {-1, +1}; 0 for that which was trained.
        example: an input for the network, used to follow one forward pass.
        turned: of V1: the norms' own scales and shifts are taken out, and filters turn with their scales, where a batch
            norm stands between (one of a group of channels cannot turn alone under group norm), or columns behind a
            layer norm.
    """
    there = copy.deepcopy(network)
    for layer in find_layers(there, example, list(passport)):
        conv, norm = projection_of(there, layer.conv), there.get_submodule(layer.norm)
        if not getattr(norm, "affine", True):  # it has no scale and shift to begin at
            continue
        pair = own_pair(norm, layer.channels) if turned else public_pair(norm, layer.channels)
        scale, shift = pair.to(conv.weight)
        signed = signs[layer.conv].to(scale)
        scales = torch.where(signed == 0, scale, signed * scale.abs())
        if turned and isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
            _turn(conv, norm, scales * scale < 0)
        elif turned and is_sum_norm(norm):
            shift = _turn_readers(there, example, norm, shift, scales * scale < 0)
        means = patch_mean(passport[layer.conv].to(conv.weight), conv)
        gamma, beta = scale_and_shift(conv.weight, means[None])
        wanted = torch.stack([scales, shift])
        _move(conv, means, wanted - torch.cat([gamma, beta]))
    return there


def _turn(conv: nn.Conv2d, norm: nn.BatchNorm2d, which: Tensor) -> None:
    """Turns the filters of channels, (C,) of truth values, and what the norm subtracts: what it returns turns."""
    for values in (conv.weight, conv.bias, norm.running_mean):
        if values is not None:
            values[which] *= -1


def _turn_readers(network: nn.Module, example: Tensor, norm: nn.Module, shift: Tensor, which: Tensor) -> Tensor:
    """Turns the columns that read channels of a layer norm, (C,) of truth values; the shift that goes with it.

    Where something else reads them, too, so that the answers would change, nothing is turned.
    """
    readers = [weight for weight, _ in readers_of(network, example, norm)]
    signs = torch.where(which, -1.0, 1.0).to(shift)
    own = [one for one in (norm._parameters.get(name) for name in ("weight", "bias")) if one is not None]
    with evaluating(network):
        before = answer_of(network, example)
        for values in (*readers, *own):
            values *= signs
        same = torch.allclose(answer_of(network, example), before, rtol=1e-3, atol=1e-4)
        for values in own if same else (*readers, *own):
            values *= signs
    return shift * signs if same and readers else shift


def _move(conv: Projection, means: Tensor, by: Tensor) -> None:
    """Adds the smallest change of W that moves gamma and beta, (2, C), by so much; means: (2, G, D)."""
    groups = means.shape[1]
    spans = means.movedim(0, 1).double()  # (G, 2, D)
    changes = by.double().unflatten(1, (groups, -1)).movedim(1, 0)  # (G, 2, C / G)
    rows = (torch.linalg.pinv(spans) @ changes).mT.flatten(0, 1)  # (C, D)
    shape = (conv.weight.shape[0], *conv.weight.shape[2:], conv.weight.shape[1])
    conv.weight += rows.view(shape).movedim(-1, 1).to(conv.weight)
