"""What cells took, and what others like them will take."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from statistics import fmean
from typing import Any

from ipr.studies.plan import wave_of

Costs = Mapping[tuple[Any, ...], float]
"""What is alike -> mean seconds of the cells that are done."""


def bases(about: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    """What counts as like a cell, best first: the same wave, scheme, model, data set, attack and exhibit; the same wave
    and model; the same wave.
    """
    wave = wave_of(about)
    alike = tuple(about.get(name) for name in ("scheme", "model", "dataset", "attack", "exhibit"))
    return [(wave, *alike), (wave, about.get("model")), (wave,)]


def mean_costs(done: Iterable[tuple[Mapping[str, Any], float]]) -> Costs:
    """The means that estimates are made of: of cells that are done, what each is (columns of results) and its seconds.
    All are of one scale, with the same keys set beside it.
    """
    found: dict[tuple[Any, ...], list[float]] = defaultdict(list)
    for about, seconds in done:
        for basis in bases(about):
            found[basis].append(seconds)
    return {basis: fmean(values) for basis, values in found.items()}


def estimate(costs: Costs, about: Mapping[str, Any]) -> float | None:
    """Seconds that a cell will take: the mean of what is most like it (see `bases`); None where nothing is."""
    return next((costs[basis] for basis in bases(about) if basis in costs), None)
