"""Which of several results no other one beats: the best by one number, the Pareto front by several."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

Name = TypeVar("Name")

MAXIMIZE, MINIMIZE = "maximize", "minimize"


def front(results: Mapping[Name, Sequence[float]], directions: Sequence[str]) -> list[Name]:
    """The results that no other beats: none is at least as good in every number and better in one.

    Args:
        results: what each is worth, a number for each direction, whatever their units.
        directions: `maximize` or `minimize`, whichever is better in that number.

    Returns:
        Their names, in the order given. Results that are worth the same are all among them, or none is.
    """
    signs = [1.0 if direction == MAXIMIZE else -1.0 for direction in directions]
    good = {name: [s * v for s, v in zip(signs, values, strict=True)] for name, values in results.items()}
    return [name for name, values in good.items() if not any(_beats(other, values) for other in good.values())]


def _beats(one: Sequence[float], other: Sequence[float]) -> bool:
    return list(one) != list(other) and all(a >= b for a, b in zip(one, other, strict=True))
