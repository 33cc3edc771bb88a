"""A passport that looks like activations of natural images, solved for given scales.

A judge might ask that a passport be made of feature maps, as Section III-B b) and c) make them, and refuse what
`lift.py` solves, which has both signs. gamma is linear in the passport, so a forger answers with a sum of feature maps
of images of his own, none counted negatively: it is of the same kind as they are. Of these sums the one is taken whose
scale and shift come nearest to those asked for (non-negative least squares).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from scipy.optimize import nnls
from torch import Tensor, nn

from ipr.errors import InputError
from ipr.models.inspection import projection_of
from ipr.passport.generate import feature_maps
from ipr.passport.guesses import LITTLE
from ipr.passport.layer import patch_mean, scale_and_shift
from ipr.passport.lift import Lifted
from ipr.passport.surgery import ConvNorm


def lift_natural(
    scales: Mapping[str, Tensor], network: nn.Module, layers: Sequence[ConvNorm], images: Tensor
) -> Lifted | None:
    """The passports among sums of these images' feature maps whose scales and shifts come nearest to those given.

    Args:
        scales: layer -> gamma and beta, (2, C).
        network: a plain network; gives feature maps and weights, and is left as it was.
        layers: its layers that `scales` names.
        images: of the forger's, normalised, (N, channels, H, W); with N below C little can be met. Where nothing of
            them comes nearer than 0 does, `LITTLE` of their mean is taken, as a passport that says nothing is refused.

    Returns:
        None where what a layer receives cannot be looked at, so that no passport is made of feature maps there
        (`feature_maps`).
    """
    try:
        received = feature_maps(network, layers, images)
    except InputError:
        return None
    lifted = Lifted({}, {})
    for name, maps in received.items():
        conv = projection_of(network, name)
        weight = conv.weight.detach().double().cpu()
        asked = scales[name].double().cpu()
        means = patch_mean(maps, conv).double()
        reached, _ = scale_and_shift(weight, torch.stack([means, means], 1))  # of each map by itself, (N, C)
        counts = torch.stack([_weights(reached, part) for part in asked])  # (2, N)
        lifted.passport[name] = torch.einsum("sn,nchw->schw", counts, maps.double()).to(scales[name])
        missing = (counts @ reached - asked).norm()
        lifted.residual[name] = float(missing / asked.norm()) if bool(asked.any()) else float(missing)
    return lifted


def _weights(reached: Tensor, asked: Tensor) -> Tensor:
    """How often each feature map counts, (N,), none negative: `reached` (N, C) summed comes nearest to `asked` (C,)."""
    found, _ = nnls(reached.T.numpy(), asked.numpy(), maxiter=100 * reached.shape[0])
    counts = torch.from_numpy(np.asarray(found))
    return counts if bool(counts.any()) else torch.full_like(counts, LITTLE / counts.numel())
