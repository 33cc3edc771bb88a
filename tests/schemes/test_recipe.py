import pytest

from ipr.config.recipe import Recipe
from ipr.errors import InputError

GOOD = {"lr": 0.01, "momentum": 0.9, "weight_decay": 1e-4, "schedule": "step", "warmup": 0.0, "clip_norm": None}


def test_the_published_schedule_of_table_iv():
    """0.01, 0.001 and 0.0001 in epochs 1-100, 101-150 and 151-200, at any number of steps an epoch."""
    recipe = Recipe(**GOOD)
    for steps in (1, 7, 782):
        for epoch, rate in ((1, 0.01), (100, 0.01), (101, 0.001), (150, 0.001), (151, 0.0001), (200, 0.0001)):
            for step in ((epoch - 1) * steps, epoch * steps - 1):
                assert recipe.lr * recipe.rate_factor((step + 0.5) / (200 * steps)) == pytest.approx(rate)


def test_warm_up_climbs_and_cosine_falls():
    recipe = Recipe(**GOOD | {"schedule": "cosine", "warmup": 0.1})
    factors = [recipe.rate_factor(i / 1000) for i in range(1001)]
    top = max(range(1001), key=factors.__getitem__)
    assert factors[0] == 0
    assert 90 <= top <= 110
    assert factors[: top + 1] == sorted(factors[: top + 1])
    assert factors[top:] == sorted(factors[top:], reverse=True)
    assert factors[-1] == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(
    ("field", "value"),
    [("lr", 0), ("lr", float("nan")), ("momentum", 1), ("weight_decay", -1), ("schedule", "linear"), ("warmup", 1),
     ("clip_norm", 0)],
)  # fmt: skip
def test_values_out_of_range_are_refused(field, value):
    with pytest.raises(InputError, match=f"optimizer.{field}={value}"):
        Recipe(**GOOD | {field: value}).check()
