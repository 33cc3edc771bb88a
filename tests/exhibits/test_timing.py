import random

import numpy as np
import pytest
import torch

from ipr.config.recipe import Recipe
from ipr.errors import InputError
from ipr.exhibits.timing import inference, quartiles, take_turns, training
from ipr.schemes.baseline import Baseline
from ipr.workflows.exhibit import exhibit
from references import small


def test_every_work_runs_once_a_round_in_changing_order():
    ran, now = [], [0.0]

    def work(name, seconds):
        def run():
            ran.append(name)
            now[0] += seconds

        return run

    works = {"slow": work("slow", 3.0), "fast": work("fast", 1.0), "other": work("other", 2.0)}
    seconds = take_turns(works, 20, random.Random(0), lambda: now[0])
    assert seconds == {"slow": [3.0] * 20, "fast": [1.0] * 20, "other": [2.0] * 20}
    rounds = [tuple(ran[i : i + 3]) for i in range(6, 66, 3)]
    assert all(sorted(one) == sorted(works) for one in rounds)
    assert len(set(rounds)) == 6


def test_quartiles_are_numpys():
    values = [3.0, 1.0, 4.0, 1.5, 9.0, 2.6]
    assert quartiles(values) == pytest.approx(np.percentile(values, [25, 50, 75]).tolist())
    assert quartiles([2.0]) == (2.0, 2.0, 2.0)


def test_training_moves_the_weights_and_inference_does_not():
    network, x, y = small("alexnet", "bn"), torch.randn(4, 3, 16, 16), torch.arange(4)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    inference(network, x, 2)()
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    training(Baseline(network, Recipe(0.1, 0.9, 0.0, "constant", 0.0, None), 10), x, y, 2)()
    assert network.norm1.num_batches_tracked == 2
    assert not torch.equal(network.conv1.weight, before["conv1.weight"])


def test_every_scheme_is_timed_beside_the_baseline_of_its_norm(exhibit_for):
    asked = ("scheme=baseline", "exhibit=timing", "exhibit.rounds=2", "exhibit.batch_size=8")
    shown = exhibit(exhibit_for(*asked))
    assert {p.name for p in shown.folder.path.parents[1].iterdir()} == {"exhibit"}  # nothing was trained
    rows = {(row["work"], row["timed"], row["timed_norm"], row["form"]): row for row in shown.facts}
    assert len(rows) == len(shown.facts)
    assert rows.keys() == {
        *(("training", *one, None) for one in (("baseline", "bn"), ("baseline", "gn"), ("passport_v1", "bn"),
          ("passport_v2", "gn"), ("passport_v3", "gn"))),
        ("inference", "baseline", "bn", None), ("inference", "baseline", "gn", None),
        ("inference", "passport_v1", "bn", "presented"), ("inference", "passport_v1", "bn", "folded"),
        ("inference", "passport_v2", "gn", "as given away"), ("inference", "passport_v3", "gn", "as given away"),
    }  # fmt: skip
    for (work, timed, _, _), row in rows.items():
        assert 0 < row["ratio_q1"] <= row["ratio_median"] <= row["ratio_q3"]
        assert row["seconds_per_1000_images"] > 0
        images = 128 if work == "training" else 40
        assert row["seconds_epoch"] == pytest.approx(row["seconds_per_1000_images"] * images / 1000)
        if timed == "baseline":
            assert row["ratio_q1"] == row["ratio_q3"] == 1
    again = exhibit(exhibit_for(*asked))
    assert again.found
    assert again.arrays == shown.arrays == {}


def test_a_batch_larger_than_the_data_is_refused(exhibit_for):
    with pytest.raises(InputError, match=r"exhibit\.batch_size=129: is out of range; there are 128 training images"):
        exhibit(exhibit_for("scheme=baseline", "exhibit=timing", "exhibit.batch_size=129"))


def test_other_layers_and_other_triggers_are_timed_anew(exhibit_for):
    asked = ("scheme=baseline", "exhibit=timing", "exhibit.rounds=1", "exhibit.batch_size=4")
    others = ([], ["model.passport_layers=[conv5]"], ["trigger_set.per_step=4"])
    assert not any(exhibit(exhibit_for(*asked, *more)).found for more in others)
