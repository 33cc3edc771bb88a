"""What people call a run: what they look for stands in it, and no two runs share it."""

from dataclasses import replace

import pytest

from ipr.store.folder import run_key
from ipr.workflows.shown_name import LONGEST, attack_name, training_name

KEY = "passport_v2-alexnet-bn-digits-w0.125-s0-0123456789ab"


@pytest.mark.parametrize(
    ("scheme", "shown"),
    [("passport_v1", "V1"), ("passport_v3", "V3"), ("passport_aware", "passport_aware"), ("uchida", "uchida")],
)
def test_a_training_is_called_by_what_was_trained_on_what(scheme, shown, request_for):
    config = request_for(f"scheme={scheme}", "model.width=0.5", "seed=3")
    assert training_name(config, KEY) == f"{shown} alexnet bn digits w0.5 s3 012345"
    whole = replace(config, model=replace(config.model, width=1.0))
    assert training_name(whole, KEY) == f"{shown} alexnet bn digits s3 012345"


def test_an_attack_is_called_by_itself_and_its_victim(request_for):
    config = request_for("scheme=passport_v2", "model.width=1")
    assert attack_name("prune", None, config, KEY) == "prune on V2 alexnet bn digits s0 012345"
    assert attack_name("finetune", "cifar100", config, KEY) == "finetune (cifar100) on V2 alexnet bn digits s0 012345"


def test_runs_of_other_settings_have_other_names(request_for):
    """The learning rate stands in no name, but has changed the digest."""
    config = request_for("scheme=passport_v2")
    keys = [run_key("passport_v2-alexnet-bn-digits", {"lr": rate}, width=1.0, seed=0) for rate in (0.1, 0.01)]
    first, second = (training_name(config, key) for key in keys)
    assert first != second
    assert first[:-6] == second[:-6]


def test_a_name_that_is_too_long_keeps_its_digest(request_for):
    config = request_for("scheme=passport_v2")
    config = replace(config, model=replace(config.model, name="timm:" + "x" * 200))
    name = training_name(config, KEY)
    assert len(name) == LONGEST
    assert name.startswith("V2 timm:xxx")
    assert name.endswith("x 012345")
