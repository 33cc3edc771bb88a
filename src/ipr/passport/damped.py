"""Damped steps: passports of high energy that train as those of low energy do.

Training makes gamma = <W, S> by adding to W, row by row, about gamma_i S / |S|^2. The longer S, the less of it stands
in W for whoever looks there (`guesses.py`); but |S|^2 multiplies the learning rate of gamma, which then overshoots. So
the gradient of W is scaled down along the passport alone: with E = |S| and e <= E,

    grad <- grad - (1 - (e / E)^2) grad Q Q^T,

Q an orthonormal basis of span{S_gamma, S_beta} of a layer. gamma and beta then move as at energy e, and what is written
into W for it is e / E of it. Features that are not along the passport are trained as ever.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import torch
from torch import Tensor
from torch.utils.hooks import RemovableHandle

from ipr.errors import InputError
from ipr.passport.layer import PassportLayer, filters

STEP_ENERGY = 3.0
"""The energy as at which scales are trained where none is asked for."""


def basis(patch_means: Tensor) -> Tensor:
    """Q: an orthonormal basis of span{S_gamma, S_beta}, by QR of both together in float64.

    Args:
        patch_means: S_gamma and S_beta, (2, G, D).

    Returns:
        (G, D, 2), of the patch means' type; one column is 0 where the two are parallel.
    """
    both = patch_means.movedim(0, -1).double()  # (G, D, 2)
    q, r = torch.linalg.qr(both)
    lengths = r.diagonal(dim1=-2, dim2=-1).abs()
    told = lengths > 1e-9 * both.norm(dim=(-2, -1), keepdim=True).squeeze(-1).clamp(min=1e-300)
    orthonormal: Tensor = q * told.unsqueeze(-2)
    return orthonormal.to(patch_means.dtype)


def damped(gradient: Tensor, q: Tensor, share: float) -> Tensor:
    """The gradient of W, (C, C_in / G, k, k), with `share` of what lies along Q, (G, D, 2), taken out.

    It lies in memory as the gradient does, which is what several processes add up.
    """
    rows = filters(gradient)  # channels last within a patch, as S is
    apart = rows.unflatten(0, (q.shape[0], -1))  # (G, C / G, D)
    along = (apart @ q @ q.mT).flatten(0, 1)
    shape = (gradient.shape[0], *gradient.shape[2:], gradient.shape[1])
    taken_out = share * along.view(shape).movedim(-1, 1)
    return torch.sub(gradient, taken_out, out=torch.empty_like(gradient))


def step_energy_of(energy: float | None, asked: float | None) -> float | None:
    """The energy e as at which scales are trained.

    Args:
        energy: E; None for passports as published.
        asked: `passport.step_energy`; None for `STEP_ENERGY`, which a lower E replaces.

    Returns:
        e, below E; None where no step is damped: e is E, or there is no E.

    Raises:
        InputError: what is asked for is not above 0, or larger than E, or there is no E.
    """
    if asked is not None and (energy is None or not 0 < asked <= energy):
        problem = f"is not above 0 and at most passport.energy={'null' if energy is None else f'{energy:g}'}"
        raise InputError("passport.step_energy", asked, problem, "give e.g. passport.energy=30, or null for this")
    step = STEP_ENERGY if asked is None else asked
    return None if energy is None or step >= energy else step


def damp(layers: Mapping[str, PassportLayer], step_energy: float) -> list[RemovableHandle]:
    """Has every gradient of the convolutions of passport layers damped, but where E is no more than e.

    Args:
        layers: E is the norm of their S_gamma, which S_beta has too (`generate.with_energy`).
        step_energy: e, above 0.

    Returns:
        What ends it.
    """
    handles = []
    for layer in layers.values():
        means = layer.patch_means[0].cpu()
        energy = round(float(means[0].double().norm()), 4)  # as it was asked for, without what float32 left of it
        if energy > step_energy:
            q, share = basis(means).to(layer.patch_means), 1 - (step_energy / energy) ** 2
            handles.append(layer.conv.weight.register_hook(partial(damped, q=q, share=share)))
    return handles
