"""Passports that are not negative, as feature maps behind a ReLU are, solved for given scales.

A judge might refuse what `lift.py` solves, because it has both signs. gamma is linear in the passport, so a forger
solves with that condition (non-negative least squares): for any maps without negative elements, or for sums of the
feature maps of images of his own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from scipy.optimize import nnls
from torch import Tensor, nn

from ipr.errors import InputError
from ipr.models.inspection import Projection, groups_of, projection_of
from ipr.passport.generate import feature_maps
from ipr.passport.guesses import LITTLE
from ipr.passport.layer import filters, patch_mean, scale_and_shift
from ipr.passport.lift import Lifted, averages, missing_share
from ipr.passport.surgery import ConvNorm


def lift_positive(scales: Mapping[str, Tensor], network: nn.Module, layers: Sequence[ConvNorm]) -> Lifted:
    """The passports without negative elements whose scales and shifts come nearest to those given.

    Of pixels that every filter element sees alike, as those inside an image, all get the same value.

    Args:
        scales: layer -> gamma and beta, (2, C).
        network: a plain network, whose weights Eq. 4 is solved for; left as it was.
        layers: its layers that `scales` names.
    """
    lifted = Lifted({}, {})
    for layer in layers:
        conv, asked = projection_of(network, layer.conv), scales[layer.conv].double().cpu()
        (rows, which_row), (columns, which_column) = (_kinds(seen) for seen in averages(conv, layer))
        seen = torch.kron(rows, columns)  # (k * k, kinds of pixels)
        weight = filters(conv.weight.detach().double().cpu()).unflatten(0, (groups_of(conv), -1))
        weight = weight.unflatten(2, (seen.shape[0], -1))  # (G, C / G, k * k, C_in / G)
        reached = torch.einsum("gokc,kr->gcro", weight, seen).flatten(
            1, 2
        )  # of a unit in each place, (G, places, C / G)
        found = [
            torch.cat(
                [_weights(own, part) for own, part in zip(reached, half.unflatten(0, (len(reached), -1)), strict=True)]
            )
            for half in asked
        ]
        maps = torch.stack(found).view(2, -1, rows.shape[1], columns.shape[1])  # (2, C_in, kinds, kinds)
        alike = torch.bincount(which_row)[:, None] * torch.bincount(which_column)
        maps = (maps / alike)[:, :, which_row][:, :, :, which_column]
        lifted.passport[layer.conv] = maps.to(scales[layer.conv])
        lifted.residual[layer.conv] = missing_share(maps, asked, conv)
    return lifted


def lift_natural(
    scales: Mapping[str, Tensor], network: nn.Module, layers: Sequence[ConvNorm], images: Tensor
) -> Lifted | None:
    """The passports among sums of these images' feature maps whose scales and shifts come nearest to those given.

    Args:
        scales: layer -> gamma and beta, (2, C).
        network: a plain network; gives feature maps and weights, and is left as it was.
        layers: its layers that `scales` names.
        images: of the forger's, normalised, (N, channels, H, W); with N below C little can be met.

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
        conv, asked = projection_of(network, name), scales[name].double().cpu()
        reached = scales_of_each(maps, conv)
        counts = torch.stack([_weights(reached, part) for part in asked])  # (2, N)
        summed = torch.einsum("sn,nchw->schw", counts, maps.double())
        lifted.passport[name] = summed.to(scales[name])
        lifted.residual[name] = missing_share(summed, asked, conv)
    return lifted


def scales_of_each(maps: Tensor, conv: Projection) -> Tensor:
    """Avg(W * P) of each of several maps by itself, (N, C) in float64, on the CPU. maps: (N, C_in, H, W)."""
    means = patch_mean(maps, conv).double().cpu()
    scales, _ = scale_and_shift(conv.weight.detach().double().cpu(), torch.stack([means, means], 1))
    return scales


def _kinds(seen: Tensor) -> tuple[Tensor, Tensor]:
    """The rows, or columns, of an image that the elements of a filter see alike: what they see of all of a kind
    together, were each 1, (k, kinds), and of which kind each is, (size,).
    """
    kinds, which = torch.unique(seen.double(), dim=1, return_inverse=True)
    return kinds, which


def _weights(reached: Tensor, asked: Tensor) -> Tensor:
    """How often each counts, (N,), none negative, so that `reached` (N, C) summed comes nearest to `asked` (C,).

    Where nothing comes nearer than 0 does, `LITTLE` of the mean is taken, as a passport that says nothing is refused.
    """
    found, _ = nnls(reached.T.numpy(), asked.numpy(), maxiter=100 * reached.shape[0])
    counts = torch.from_numpy(np.asarray(found))
    return counts if bool(counts.any()) else torch.full_like(counts, LITTLE / counts.numel())
