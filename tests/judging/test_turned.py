"""So few bits that chance does not explain it, against scipy."""

import math

import pytest
from scipy.stats import binom

from ipr.claims.base import reading
from ipr.judging.signature_reading import both_tails_log10, turned


@pytest.mark.parametrize("agreeing", [0, 40, 60, 90, 112, 200, 224])
def test_turned_is_the_lower_tail(agreeing):
    expected = binom.cdf(agreeing, 224, 0.5)
    for p_value in (2.0**-40, 1e-3):
        assert turned(reading({"a": agreeing}, {"a": 224}), p_value) == (expected <= p_value)


def test_images_are_never_turned():
    assert not turned(reading({"trigger set": 0}, {"trigger set": 200}, images=True, choices=10))


@pytest.mark.parametrize(("agreeing", "total"), [(0, 224), (224, 224), (100, 224), (120, 224), (112, 224), (0, 1)])
def test_both_tails(agreeing, total):
    far = max(agreeing, total - agreeing)
    expected = min(1.0, 2 * binom.sf(far - 1, total, 0.5))
    assert both_tails_log10(agreeing, total) == pytest.approx(math.log10(expected), abs=1e-9)


def test_more_than_all_is_refused():
    with pytest.raises(ValueError, match="agreeing=3"):
        both_tails_log10(3, 2)
