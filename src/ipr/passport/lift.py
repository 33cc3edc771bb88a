"""From scales and shifts back to a passport: Eq. 4 solved for P.

gamma = <W, S> is linear in the mean patch S, and S is linear in the passport P: so gamma is linear in P, and whoever
holds the weights solves for P. Least squares of least norm are taken, in float64: exact where the map from passports to
scales has as many independent rows as channels (AlexNet's conv3 to conv5, the 3x3 convolutions of ResNet-18's last
stage), the nearest there is elsewhere (a 1x1 shortcut from 256 to 512 channels has rank 256).

S averages, over the output positions, what a filter's element (i, j) sees. Rows and columns of an image are averaged
independently of each other, whatever padding, stride and dilation: S[i, j] = sum_hw A_h[i, h] A_w[j, w] P[h, w], the
same for every input channel. Two small matrices therefore stand for the whole map.

Shapes as in `layer.py`; R numbers of a passport's channel that the map sees, at most k * k.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from ipr.models.inspection import Projection, groups_of, projection_of
from ipr.passport.kinds import public_pair
from ipr.passport.layer import filters, patch_mean, scale_and_shift
from ipr.passport.surgery import ConvNorm

ROUNDING = 1e-10
"""Singular values below this share of the largest are the rounding of a 0."""


@dataclass(frozen=True)
class Lifted:
    """Passports that were solved for.

    Attributes:
        passport: layer -> P_gamma and P_beta, (2, C_in, H, W), of the type of what was asked for.
        residual: layer -> |scales of the passport - scales asked for| / |scales asked for|, both parts together, in
            float64; 0 where they are all 0.
    """

    passport: dict[str, Tensor]
    residual: dict[str, float]


def public_scales(network: nn.Module, layers: Sequence[ConvNorm]) -> dict[str, Tensor]:
    """Scale and shift of the norms as they are given away; layer -> (2, C), on the CPU: `kinds.public_pair`."""
    found = {}
    for layer in layers:
        found[layer.conv] = public_pair(network.get_submodule(layer.norm), layer.channels).cpu()
    return found


def lift(scales: Mapping[str, Tensor], network: nn.Module, layers: Sequence[ConvNorm]) -> Lifted:
    """The passports of least norm whose scales and shifts come nearest to those given: P = (W A)^+ (gamma, beta).

    Args:
        scales: layer -> gamma and beta, (2, C).
        network: a plain network, whose weights Eq. 4 is solved for; left as it was.
        layers: its layers that `scales` names (`find_layers`).
    """
    lifted = Lifted({}, {})
    for layer in layers:
        conv = projection_of(network, layer.conv)
        asked = scales[layer.conv].double().cpu()
        rows, columns = _axes(conv, layer)
        # W as a map from the coordinates of P that count: what the singular values shrink is part of it
        seen = torch.kron(rows.left * rows.values, columns.left * columns.values)  # (k * k, R)
        weight = filters(conv.weight.detach().double().cpu()).unflatten(0, (groups_of(conv), -1))
        weight = weight.unflatten(2, (seen.shape[0], -1))  # (G, C / G, k * k, C_in / G)
        seen_by = torch.einsum("gokc,kr->gorc", weight, seen).flatten(2)
        solver = torch.linalg.pinv(seen_by, rtol=ROUNDING)  # (G, D, C / G)
        coordinates = torch.einsum("gdo,sgo->sgd", solver, asked.unflatten(1, (groups_of(conv), -1)))
        maps = _expanded(coordinates.unflatten(2, (seen.shape[1], -1)), rows, columns)
        lifted.passport[layer.conv] = maps.to(scales[layer.conv])
        lifted.residual[layer.conv] = missing_share(maps, asked, conv)
    return lifted


def passport_of(patch_means: Mapping[str, Tensor], network: nn.Module, layers: Sequence[ConvNorm]) -> dict[str, Tensor]:
    """The passports of least norm whose mean patches come nearest to those given: P = A^+ S.

    Exact where an image has at least as many rows and columns as the kernel; the weights play no part.

    Args:
        patch_means: layer -> S of P_gamma and of P_beta, (2, G, D), in the order of `patch_mean`.
        network: gives the convolutions.
        layers: their layers.

    Returns:
        layer -> (2, C_in, H, W), of the type of the mean patches.
    """
    found = {}
    for layer in layers:
        conv = projection_of(network, layer.conv)
        rows, columns = _axes(conv, layer)
        inverse = torch.kron(rows.left / rows.values, columns.left / columns.values)  # (k * k, R)
        means = patch_means[layer.conv].double().cpu().unflatten(2, (inverse.shape[0], -1))
        maps = _expanded(torch.einsum("sgkc,kr->sgrc", means, inverse), rows, columns)
        found[layer.conv] = maps.to(patch_means[layer.conv])
    return found


@dataclass(frozen=True)
class _Axis:
    """The averages along the rows, or the columns, of a convolution's input: A = left diag(values) right^T.

    Attributes:
        left: (k, r).
        values: singular values, those that are 0 left out, (r,).
        right: (size, r).
    """

    left: Tensor
    values: Tensor
    right: Tensor


def averages(conv: Projection, layer: ConvNorm) -> tuple[Tensor, Tensor]:
    """A_h and A_w: what each element of a filter sees, on average over its places, of the rows and of the columns of a
    passport, (k, H) and (k, W), in float64. A linear layer sees every place of a map as it is: k is 1.
    """
    if isinstance(conv, nn.Linear):
        rows, columns = (torch.full((1, size), 1 / size, dtype=torch.float64) for size in layer.input_shape[1:])
        return rows, columns
    left, right, top, bottom = conv._reversed_padding_repeated_twice
    _, height, width = layer.input_shape
    return _averages(conv, 0, height, (top, bottom)), _averages(conv, 1, width, (left, right))


def _averages(conv: nn.Conv2d, axis: int, size: int, padding: tuple[int, int]) -> Tensor:
    kernel, stride, dilation = conv.kernel_size[axis], conv.stride[axis], int(conv.dilation[axis])
    mode = "constant" if conv.padding_mode == "zeros" else conv.padding_mode
    basis = torch.eye(size, dtype=torch.float64)[:, None]  # every position by itself, as one channel
    padded = functional.pad(basis, padding, mode=mode)[:, 0]
    outputs = (padded.shape[1] - dilation * (kernel - 1) - 1) // stride + 1
    starts = dilation * torch.arange(kernel)
    reads = starts[:, None] + stride * torch.arange(outputs)  # (k, outputs): what element i sees
    return padded[:, reads].mean(-1).T


def _axes(conv: Projection, layer: ConvNorm) -> tuple[_Axis, _Axis]:
    """A_h and A_w of a convolution, decomposed."""
    rows, columns = (_decomposed(seen) for seen in averages(conv, layer))
    return rows, columns


def _decomposed(averages: Tensor) -> _Axis:
    """Averages of what each element of a filter sees along an axis, (k, size)."""
    left, values, right = torch.linalg.svd(averages.double(), full_matrices=False)
    kept = values > ROUNDING * values[0]
    return _Axis(left[:, kept], values[kept], right[kept].T)


def _expanded(coordinates: Tensor, rows: _Axis, columns: _Axis) -> Tensor:
    """Coordinates (2, G, R, C_in / G) as maps (2, C_in, H, W)."""
    parts = coordinates.unflatten(2, (rows.values.numel(), -1))
    maps: Tensor = torch.einsum("sgxyc,hx,wy->sgchw", parts, rows.right, columns.right).flatten(1, 2)
    return maps


def missing_share(maps: Tensor, asked: Tensor, conv: Projection) -> float:
    """`Lifted.residual` of one layer: its passport (2, C_in, H, W) and what was asked for (2, C), in float64."""
    got = scale_and_shift(conv.weight.detach().double().cpu(), patch_mean(maps, conv)[None])
    missing = (torch.cat(got) - asked).norm()
    return float(missing / asked.norm()) if bool(asked.any()) else float(missing)
