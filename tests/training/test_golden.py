"""A short training of every scheme in float64 on one thread, compared with stored losses digit for digit.

Nine decimals leave out what another processor's order of summation may change (1e-12 or so) and nothing else.
Made again with: IPR_GOLDEN=write make test. Say why in the commit.
"""

import csv
import json
import os
from pathlib import Path

import pytest

from ipr.workflows.train import train

GOLDEN = Path(__file__).with_name("golden_losses.json")
REQUESTS = {
    "baseline-bn": ["scheme=baseline"],
    "baseline-gn": ["scheme=baseline", "model.norm=gn"],
    "v1-random": ["scheme=passport_v1", "passport=random"],
    "v1-shuffled-published": ["scheme=passport_v1", "passport=shuffled", "passport.energy=null", "optimizer=published"],
    "v2-joint": ["scheme=passport_v2", "passport=random"],
    "v2-alternate": ["scheme=passport_v2", "passport=random", "scheme.alternation=alternate"],
    "v3-shuffled": ["scheme=passport_v3", "passport=shuffled", "scheme.signature=mine"],
    "v1-resnet18": ["scheme=passport_v1", "passport=random", "model=resnet18"],
}


@pytest.mark.parametrize("name", REQUESTS)
def test_losses_are_those_stored(request_for, name):
    run = train(request_for("trainer.precision=64-true", "optimizer.batch_size=32", *REQUESTS[name]))
    with run.folder.metrics.open() as file:
        losses = [
            {k: f"{float(v):.9f}" for k, v in row.items() if k.startswith("train/") and v}
            for row in csv.DictReader(file)
        ]
    stored = json.loads(GOLDEN.read_text()) if GOLDEN.exists() else {}
    if os.environ.get("IPR_GOLDEN") == "write":
        GOLDEN.write_text(json.dumps(stored | {name: losses}, indent=1) + "\n")
        return
    assert losses == stored[name]
