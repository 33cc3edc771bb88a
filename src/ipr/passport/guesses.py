"""Passports that whoever holds a network's weights can guess: no training, none of the owner's secrets.

- Feature maps behind a ReLU are not negative, so the mean patches of passports that are made of them lie near the
  constant one, and so does that of a passport of ones.
- Training makes gamma = <W, S> by adding to W about the rank-one matrix gamma S^T / |S|^2, which shows among W's
  singular vectors where |S| is small: the right one then points along S, or against it. Whoever knows the weights that
  training started from looks at what it changed, which has less else in it.
- What a file keeps of its norms is a scale and a shift, for which a passport is solved (`lift.py`).

Of a few guesses the best is found with a few labelled images, which a forger always has.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from ipr.data.images import LabelledImages
from ipr.models.inspection import evaluating, groups_of, projection_of
from ipr.passport.fork import fork
from ipr.passport.layer import Affine, filters, patch_mean, scale_and_shift
from ipr.passport.lift import lift, passport_of
from ipr.passport.surgery import ConvNorm, Passport, protect

SIGNS = ((1, 1), (1, -1), (-1, 1), (-1, -1))
"""The signs that P_gamma and P_beta may have."""

STARTS = 64
"""Signs of all layers together that are tried at most; where there are more, some are drawn."""


def ones_passport(layers: Sequence[ConvNorm], signs: tuple[int, int]) -> dict[str, Tensor]:
    """A constant passport: every element of P_gamma and of P_beta is that part's sign, in every layer."""
    parts = torch.tensor(signs, dtype=torch.float32)[:, None, None, None]
    return {layer.conv: parts.expand(2, *layer.input_shape).clone() for layer in layers}


def positive_passport(layers: Sequence[ConvNorm], source: Generator) -> dict[str, Tensor]:
    """Every element independently uniform in [0, 1]: the random passport of Section III-B a), made not negative."""
    return {layer.conv: torch.rand((2, *layer.input_shape), generator=source) for layer in layers}


def lifted_passport(
    scales: Mapping[str, Tensor], network: nn.Module, layers: Sequence[ConvNorm], start: Passport
) -> dict[str, Tensor]:
    """The passport nearest to `start` with these scales and shifts: what differs of them is lifted and added.

    So one network has as many such passports as there are starts. Where a shift is 0 everywhere and nothing but a mean
    patch of 0 gives it, `LITTLE` of the start is kept, as a passport that says nothing is refused.

    Args:
        scales: layer -> gamma and beta, (2, C).
        network: a plain network; left as it was.
        layers: its layers.
        start: layer -> (2, C_in, H, W).
    """
    begun = {name: patch_mean(maps, projection_of(network, name)) for name, maps in start.items()}
    missing = {name: pair - torch.cat(_scales(network, name, begun[name][None])).cpu() for name, pair in scales.items()}
    passport = {name: start[name] + maps for name, maps in lift(missing, network, layers).passport.items()}
    for name, maps in passport.items():
        left = patch_mean(maps, projection_of(network, name)).flatten(1).norm(dim=1)
        silent = (left < 1e-4 * begun[name].flatten(1).norm(dim=1))[:, None, None, None]
        passport[name] = torch.where(silent, LITTLE * start[name], maps)
    return passport


def changed_filters(network: nn.Module, name: str, start: nn.Module | None = None) -> Tensor:
    """A layer's filters, less those of the network that training began with where that is known.

    Returns:
        (G, C / G, D), float64, on the CPU.
    """
    if start is not None:
        return changed_filters(network, name) - changed_filters(start, name)
    conv = projection_of(network, name)
    grouped: Tensor = filters(conv.weight.detach().double().cpu()).unflatten(0, (groups_of(conv), -1))
    return grouped


def singular_patches(
    network: nn.Module, layers: Sequence[ConvNorm], *, start: nn.Module | None = None, count: int | None = 2
) -> dict[str, Tensor]:
    """The strongest right singular vectors of each layer's filters: where its S may point.

    Args:
        network: a plain network; its weights are all that is used.
        layers: the layers.
        start: the network that training began with; the filters' change since then is decomposed.
        count: how many at most; None for all.

    Returns:
        layer -> (count, G, D), float32, count no more than the largest layer has; each of norm 1 over all groups, which
        are decomposed apart and count by their singular values. Of both signs it is the one whose elements sum to 0 or
        more, as those of a feature map do. What a layer does not have is 0.
    """
    matrices = {layer.conv: changed_filters(network, layer.conv, start) for layer in layers}
    most = max(min(matrix.shape[1:]) for matrix in matrices.values())
    count = most if count is None else min(count, most)
    found = {}
    for name, matrix in matrices.items():  # (G, C / G, D)
        _, values, right = torch.linalg.svd(matrix, full_matrices=False)
        own = (right * values[:, :, None]).movedim(1, 0)[:count]  # (rank, G, D)
        own = torch.where(own.sum((1, 2), keepdim=True) < 0, -own, own)
        vectors = torch.zeros(count, *own.shape[1:], dtype=own.dtype)
        vectors[: own.shape[0]] = own / own.flatten(1).norm(dim=1).clamp(min=1e-30)[:, None, None]
        found[name] = vectors.float()
    return found


def singular_passport(
    network: nn.Module,
    layers: Sequence[ConvNorm],
    images: LabelledImages,
    energies: Sequence[float],
    source: Generator,
    *,
    start: nn.Module | None = None,
    count: int | None = 2,
) -> dict[str, Tensor]:
    """The passport along singular vectors under which a few images are answered best (by cross-entropy).

    S_gamma and S_beta are each e times plus or minus a singular vector, S_beta possibly next to 0. Chosen are, with the
    first vectors and S_beta next to 0 or S_gamma, the signs of all layers together; then, twice over, each layer's own
    S_gamma, and after it its S_beta.

    Args:
        network: a plain network; left as it was.
        layers: its layers.
        images: a few, labelled, e.g. 60.
        energies: e to be tried, each above 0.
        source: draws the signs that are tried where there are more than `STARTS` of them.
        start: see `singular_patches`.
        count: see `singular_patches`; 1 or more.
    """
    patches = singular_patches(network, layers, start=start, count=count)
    trial = _Trial(network, layers, images, patches)
    best = trial.best(
        [
            [((e * sign, 0), (e * sign * both, 0)) for sign in signs]
            for e in energies
            for both in (LITTLE, 1)
            for signs in _signs(len(layers), source)
        ]
    )
    for index in [*range(len(layers))] * 2:
        for part in (0, 1):
            options = _options(best[index], part, energies, _told(patches[layers[index].conv]))
            best = trial.best([best, *([*best[:index], one, *best[index + 1 :]] for one in options)])
    chosen = {
        layer.conv: torch.stack([length * patches[layer.conv][rank] for length, rank in one])
        for layer, one in zip(layers, best, strict=True)
    }
    return passport_of(chosen, network, layers)


_Along = tuple[tuple[float, int], tuple[float, int]]
"""S_gamma and S_beta, each a multiple of a singular vector and which."""

LITTLE = 0.01
"""Of S_gamma, for next to no shift: a passport whose mean patch is 0 is refused."""


def _told(patches: Tensor) -> int:
    """How many singular vectors a layer has; patches: (count, G, D)."""
    return int((patches.flatten(1).norm(dim=1) > 0).sum())


def _options(now: _Along, part: int, energies: Sequence[float], count: int) -> list[_Along]:
    """What a layer's S_gamma (part 0) or S_beta (part 1) may be beside what the other is now."""
    vectors = [(e * sign, rank) for e in energies for sign in (1, -1) for rank in range(count)]
    if part == 1:
        length, rank = now[0]
        return [(now[0], other) for other in [(LITTLE * length, rank), *vectors]]
    return [(one, now[1]) for one in vectors]


def _signs(layers: int, source: Generator) -> list[tuple[int, ...]]:
    if 2**layers <= STARTS:
        return list(product((1, -1), repeat=layers))
    drawn = torch.randint(0, 2, (STARTS - 1, layers), generator=source) * 2 - 1
    return [(1,) * layers, *(tuple(signs) for signs in drawn.tolist())]


class _Trial:
    """A few images, answered in one pass through the trunk with the scales and shifts of many choices of vectors.

    Args:
        patches: layer -> the vectors to choose among, (count, G, D).
    """

    def __init__(
        self, network: nn.Module, layers: Sequence[ConvNorm], images: LabelledImages, patches: Mapping[str, Tensor]
    ) -> None:
        self.along = {name: _along(network, name, vectors) for name, vectors in patches.items()}
        self.x, self.labels = next(images.batches(images.labels.numel(), next(network.parameters()).device))
        blank = {layer.conv: torch.zeros((2, *layer.input_shape)) for layer in layers}
        self.protected = protect(network, blank, self.x[:1], public_affine=True)
        self.forked = fork(self.protected, self.x[:1])

    def best(self, candidates: Sequence[list[_Along]]) -> list[_Along]:
        """The candidate with the smallest cross-entropy; of equals the first."""
        tried = [self._affines(one) for one in candidates]
        with evaluating(self.protected):
            answers = self.forked(self.x, tried, self.forked.statistics(self.x, tried))
        losses = torch.stack([functional.cross_entropy(one, self.labels) for one in answers]).nan_to_num(torch.inf)
        return candidates[int(losses.argmin())]

    def _affines(self, chosen: Sequence[_Along]) -> dict[str, Affine]:
        return {
            name: (of_gamma * own[first, None], of_beta * own[second, None])
            for ((of_gamma, first), (of_beta, second)), (name, own) in zip(chosen, self.along.items(), strict=True)
        }


def _along(network: nn.Module, name: str, vectors: Tensor) -> Tensor:
    """<W, v> of several vectors, (count, G, D), as if they were passports: (count, C)."""
    return _scales(network, name, vectors[:, None].expand(-1, 2, -1, -1))[0]


def _scales(network: nn.Module, name: str, patch_means: Tensor) -> Affine:
    conv = projection_of(network, name)
    return scale_and_shift(conv.weight.detach(), patch_means.to(conv.weight))
