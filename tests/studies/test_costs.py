"""What cells took and will take, against numbers computed by hand."""

import json
from pathlib import Path

import pytest

from ipr.store.survey import Found
from ipr.studies.costs import estimate, mean_costs


def cell(scheme="uchida", model="alexnet", dataset="cifar10", **more):
    return {"scheme": scheme, "model": model, "dataset": dataset, "seed": 0, **more}


def test_an_estimate_is_the_mean_of_what_is_most_alike():
    costs = mean_costs(
        [
            (cell("uchida"), 10.0), (cell("uchida"), 14.0), (cell("passport_v1"), 30.0),
            (cell("passport_v1", "resnet18"), 100.0), (cell("baseline"), 7.0),
            (cell("uchida", attack="prune"), 2.0), (cell("uchida", attack="fake2"), 40.0),
            (cell("uchida", exhibit="timing"), 300.0),
        ]
    )  # fmt: skip
    expected = [
        (cell("uchida", seed=9), 12.0),  # other seeds of the same
        (cell("uchida", dataset="cifar100"), (10 + 14 + 30) / 3),  # victims of that model
        (cell("deepmarks", "resnet18"), 100.0),
        (cell("deepmarks", "resnet50"), (10 + 14 + 30 + 100) / 4),  # victims
        (cell("baseline", "resnet18"), 7.0),
        (cell("uchida", attack="prune", transfer="cifar100"), 2.0),
        (cell("passport_v1", attack="prune"), 21.0),  # attacks on that model
        (cell("passport_v1", exhibit="distributions"), 300.0),
    ]
    assert [estimate(costs, about) for about, _ in expected] == [pytest.approx(seconds) for _, seconds in expected]


def test_nothing_is_estimated_from_another_wave():
    costs = mean_costs([(cell("uchida"), 10.0)])
    assert estimate(costs, cell("baseline")) is None
    assert estimate(costs, cell("uchida", attack="prune")) is None
    assert estimate(mean_costs([]), cell()) is None


def run(runs, name, files):
    folder = Path(runs) / name
    folder.mkdir(parents=True)
    for file, content in files.items():
        (folder / file).write_text(content)
    return name


def test_seconds_are_what_it_took_to_make(tmp_path):
    training = run(tmp_path, "train/a", {"record.json": json.dumps({"train_seconds": 20.5, "judge_seconds": 1.5})})
    rows = [{"point": f"rate={i}", "seconds": seconds} for i, seconds in enumerate((3.0, 3.0, 5.0, 3.0))]
    attack = run(tmp_path, "attack/b", {"rows.jsonl": "".join(json.dumps(row) + "\n" for row in rows)})
    watched = run(tmp_path, "exhibit/c", {"metrics.csv": "epoch,step,seconds\n0,9,4.5\n1,18,4\n", "facts.json": "[]"})
    shown = run(tmp_path, "exhibit/d", {"facts.json": "[]"})
    torn = run(tmp_path, "train/e", {"record.json": "{"})

    expected = {training: 22.0, attack: 11.0, watched: 8.5, shown: None, torn: None, "train/gone": None}
    assert {name: Found(tmp_path / name).seconds for name in expected} == expected  # two points come of one suspect
