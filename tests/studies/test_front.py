"""Which results no other beats, against a sweep over sorted points."""

import random

import pytest

from ipr.studies.front import front


@pytest.mark.parametrize("seed", range(20))
def test_of_two_numbers_it_is_what_a_sweep_over_sorted_points_keeps(seed):
    """From the cheapest on, a point stays that leaves more than all before it; of equals, all stay."""
    source = random.Random(seed)
    points = {number: (source.randint(0, 6), source.randint(0, 6)) for number in range(15)}
    kept, most = set(), -1
    for cost in sorted({cost for cost, _ in points.values()}):
        best = max(left for c, left in points.values() if c == cost)
        if best > most:
            kept |= {number for number, point in points.items() if point == (cost, best)}
            most = best
    assert set(front(points, ["minimize", "maximize"])) == kept


def test_of_one_number_it_is_the_best():
    worth = {"a": [0.5], "b": [0.9], "c": [0.9], "d": [-1.0]}
    assert front(worth, ["maximize"]) == ["b", "c"]
    assert front(worth, ["minimize"]) == ["d"]
    assert front({}, ["minimize"]) == []
