"""Means of an epoch against torchmetrics, and what is forgotten between epochs."""

import pytest
import torch
from torchmetrics import MeanMetric
from torchmetrics.classification import MulticlassAccuracy

from ipr.schemes.means import EpochMeans


def test_means_are_weighted_by_rows_and_accuracy_is_over_all_answers():
    source = torch.Generator().manual_seed(0)
    means, expected = EpochMeans(), {name: MeanMetric() for name in ("one", "two", "loss")}
    accuracy = MulticlassAccuracy(10, average="micro")
    for epoch in range(2):
        means.start_epoch()
        for metric in (*expected.values(), accuracy):
            metric.reset()
        for rows in (8, 8, 5):
            one, two = torch.rand(2, generator=source).unbind()
            logits, y = torch.randn(rows, 10, generator=source), torch.randint(10, (rows,), generator=source)
            loss = means.add({"one": one, "two": two}, rows)
            means.count(logits, y)
            assert loss == one + two
            for name, value in (("one", one), ("two", two), ("loss", one + two)):
                expected[name].update(value, rows)
            accuracy.update(logits, y)
        found = means.means()
        assert found.keys() == {"one", "two", "loss"}
        for name, metric in expected.items():
            torch.testing.assert_close(found[name], metric.compute(), msg=f"{name} in epoch {epoch}")
        right, answers = means.answers()
        torch.testing.assert_close(right / answers, accuracy.compute())


def test_a_term_counts_in_the_steps_that_have_it():
    means = EpochMeans()
    means.add({"public": torch.tensor(1.0)}, 4)
    means.add({"private": torch.tensor(2.0), "sign": torch.tensor(10.0)}, 4)
    means.add({"public": torch.tensor(3.0)}, 12)
    assert means.means() == {"public": 2.5, "private": 2.0, "sign": 10.0, "loss": (4 + 48 + 36) / 20}
    means.start_epoch()
    assert means.means() == {}
    means.add({"public": torch.tensor(5.0)}, 1)
    assert means.means() == {"public": 5.0, "loss": 5.0}  # what was of another epoch is no mean of this one


def test_the_sum_has_its_gradient_and_what_is_kept_has_none():
    weight, means = torch.tensor(2.0, requires_grad=True), EpochMeans()
    means.add({"square": weight**2, "cube": weight**3}, 2).backward()
    assert weight.grad == 2 * 2 + 3 * 4
    means.count(torch.stack([weight, -weight])[None], torch.tensor([0]))
    assert not any(value.requires_grad for value in means.means().values())


@pytest.mark.parametrize("step", [3, torch.tensor(3)])
def test_trigger_images_are_those_of_the_step_however_it_is_told(step, digits):
    from ipr.data.trigger_sets import TriggerSet
    from ipr.schemes.triggers import TriggerSamples

    pixels = torch.arange(7, dtype=torch.uint8)[:, None, None, None].expand(-1, *digits.test_pixels.shape[1:])
    samples = TriggerSamples(TriggerSet(pixels.contiguous(), torch.arange(7) % 10), 3, digits, seed=0)
    where = samples.order.data_ptr()
    samples.start_epoch(2)
    assert samples.order.data_ptr() == where  # a captured step reads it there
    x, y = torch.zeros(1, digits.channels, digits.image_size, digits.image_size), torch.tensor([0])
    expected = samples.order[[9 % 7, 10 % 7, 11 % 7]]
    assert samples.appended(x, y, step)[1][1:].tolist() == samples.labels[expected].tolist()
