"""Where scales begin in a trained network: at plus or minus what was trained, with the signature's signs.

The private branch then begins as the trained network with some channels turned over, rather than with scales near 0. Of
all weights that give these scales and shifts, the nearest to the trained ones are taken: each filter moves within
span{S_gamma, S_beta} alone, by |change of scale| / |S|.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from ipr.passport.layer import patch_mean, scale_and_shift
from ipr.passport.surgery import Passport, find_layers
from ipr.signature import Signature


@torch.no_grad()
def begun(network: nn.Module, passport: Passport, signs: Signature, example: Tensor) -> nn.Module:
    """A copy of a trained plain network whose passport gives what the norms have: gamma with these signs, and beta.

    Args:
        network: left as it was.
        passport: layer -> (2, C_in, H, W).
        signs: layer -> the sign that each scale is to have, (C,) in {-1, +1}; 0 for that which was trained.
        example: an input for the network, used to follow one forward pass.
    """
    there = copy.deepcopy(network)
    for layer in find_layers(there, example, list(passport)):
        conv, norm = there.get_submodule(layer.conv), there.get_submodule(layer.norm)
        assert isinstance(conv, nn.Conv2d)
        assert isinstance(norm, nn.BatchNorm2d | nn.GroupNorm)
        if not norm.affine:  # it has no scale and shift to begin at
            continue
        means = patch_mean(passport[layer.conv].to(conv.weight), conv)
        gamma, beta = scale_and_shift(conv.weight, means[None])
        signed = signs[layer.conv].to(norm.weight)
        scales = torch.where(signed == 0, norm.weight, signed * norm.weight.abs())
        wanted = torch.stack([scales, norm.bias])
        _move(conv, means, wanted - torch.cat([gamma, beta]))
    return there


def _move(conv: nn.Conv2d, means: Tensor, by: Tensor) -> None:
    """Adds the smallest change of W that moves gamma and beta, (2, C), by so much; means: (2, G, D)."""
    groups = means.shape[1]
    spans = means.movedim(0, 1).double()  # (G, 2, D)
    changes = by.double().unflatten(1, (groups, -1)).movedim(1, 0)  # (G, 2, C / G)
    rows = (torch.linalg.pinv(spans) @ changes).mT.flatten(0, 1)  # (C, D)
    shape = (conv.weight.shape[0], *conv.weight.shape[2:], conv.weight.shape[1])
    conv.weight += rows.view(shape).movedim(-1, 1).to(conv.weight)
