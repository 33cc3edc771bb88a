"""Filters before a marked network: a judge of answers finds them, or finds nothing, and never clears the suspect."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from ipr.attacks.removal.capsule import Capsule
from ipr.claims.base import Thresholds
from ipr.config.rule import Rule
from ipr.data.images import normalise
from ipr.data.opening import open_images
from ipr.data.trigger_sets import abstract_trigger_set
from ipr.errors import InputError
from ipr.judging.black_box import judge_black_box
from ipr.judging.decision import decide
from ipr.judging.evidence import from_answers, from_weights
from ipr.judging.steadiness import CHANGE, Steadiness, slightly_changed
from ipr.judging.verdict import judge
from ipr.models import build_model
from ipr.suspects.served.black_box import BlackBox
from ipr.watermarks.key_images import TriggerSetClaim
from references import memorise

KEYS = 30
RULE = Rule(null="reported", drawn="reported", commitment="reported")
"""What is asked of the claim itself is not what these tests are about."""


def built(seed):
    torch.manual_seed(seed)
    return build_model("alexnet", norm="bn", width=0.25, channels_in=1, image_size=8, num_classes=10)


@pytest.fixture(scope="module")
def digits(cache):
    from ipr.config.schema import DatasetConfig, PathsConfig

    asked = DatasetConfig("digits", image_size=8, limit_train=300, limit_test=100)
    return open_images(asked, PathsConfig(cache=str(cache)), told=False)


@pytest.fixture(scope="module")
def claim(digits):
    keys = abstract_trigger_set(KEYS, 8, 1, 10, torch.Generator().manual_seed(5))
    about = {"thresholds": Thresholds(None), "architecture": {"num_classes": 10}}
    return TriggerSetClaim(pixels=keys.pixels, labels=keys.labels, choices=10, **about)


@pytest.fixture(scope="module")
def marked(digits, claim):
    """A network that has learned the digits and the key images."""
    network = built(1)
    pixels, labels = (torch.cat(pair) for pair in (
        (digits.train_pixels, claim.pixels), (digits.train_labels, claim.labels)
    ))  # fmt: skip
    memorise(network, replace(digits, train_pixels=pixels, train_labels=labels), 60)
    return network.eval()


@pytest.fixture(scope="module")
def innocent(digits):
    network = built(2)
    memorise(network, digits, 40)
    return network.eval()


def served(module):
    def ask(images):
        with torch.no_grad():
            return module(torch.from_numpy(images)).numpy()

    return BlackBox(ask, 10, name="service")


def capsule(marked, digits, other=None, kind="features"):
    """A filter learned from images that the network was not trained on."""
    images = normalise(digits.test_pixels, digits.mean, digits.std)
    source = torch.Generator().manual_seed(3)
    return Capsule(marked, other, kind, images, digits.test_labels, 0.2, source).eval()


def judged(module, claim, digits):
    found = judge_black_box(served(module), claim, digits.test_images, slight_changes=True)
    evidence = from_answers(found.reading, found.steadiness)
    decisions = [decide(evidence, claim.thresholds, rule=rule) for rule in (RULE, Rule("paper"))]
    (steady,) = (one for one in decisions[0].conditions if one.name == "steady answers")
    return found, {one.outcome for one in decisions}, steady


def test_without_a_filter_the_mark_is_read(marked, claim, digits):
    found, outcomes, steady = judged(marked, claim, digits)
    assert (outcomes, steady.holds, steady.required) == ({"verified"}, True, False)
    assert found.reading.agreement == 1
    assert found.accuracy > 0.85
    assert found.queries == 2 * (KEYS + 100)


@pytest.mark.parametrize("answers", ["network", "random"])
def test_a_filter_is_found_or_leaves_the_judge_without_an_answer(answers, marked, innocent, claim, digits):
    service = capsule(marked, digits, innocent if answers == "network" else None)
    found, outcomes, steady = judged(service, claim, digits)
    assert outcomes == {"inconclusive"}
    assert found.reading.agreement < 0.4
    assert found.accuracy > (0.9 if answers == "network" else 0.75)  # customers of the first notice nothing
    assert steady.holds == (answers == "network")
    assert ("a filter before it" in steady.says) == (answers == "random")


def test_a_filter_that_refuses_ends_in_one_line(marked, claim, digits):
    inner = capsule(marked, digits)

    def ask(images):
        _, strange = inner.strangeness(torch.from_numpy(images))
        if bool((strange > inner.limit).any()):
            raise InputError("suspect", "service", "refuses an image", "ask otherwise")
        return inner.network(torch.from_numpy(images)).detach().numpy()

    with pytest.raises(InputError, match="refuses an image"):
        judge_black_box(BlackBox(ask, 10), claim, digits.test_images)


def test_networks_without_the_mark_are_not_taken_for_filtered_ones(innocent, claim, digits):
    found, outcomes, steady = judged(innocent, claim, digits)
    assert outcomes == {"inconclusive"}
    assert steady.holds
    assert found.steadiness.keys_changed <= 0.15 * KEYS


def test_the_opened_network_holds_the_mark_behind_its_filter(marked, innocent, claim, digits):
    opened = judge(marked, claim, digits.test_images, forged=0)
    aimed = replace(claim, thresholds=Thresholds(0.9))
    assert decide(from_weights(opened, aimed, 0.1), aimed.thresholds, rule=RULE).verified
    clean = judge(innocent, claim, digits.test_images, forged=0)
    assert decide(from_weights(clean, aimed, 0.1), aimed.thresholds, rule=RULE).outcome == "not verified"


@pytest.mark.parametrize("kind", ["confidence", "energy", "features"])
def test_ordinary_images_pass_a_filter_as_often_as_it_is_told(kind, marked, innocent, digits):
    service = capsule(marked, digits, innocent, kind)
    images = normalise(digits.test_pixels, digits.mean, digits.std)
    with torch.no_grad():
        logits, strange = service.strangeness(images)
        passed = strange <= service.limit
        answers = service(images)
        assert torch.equal(answers[passed], logits[passed])
        assert torch.equal(answers[~passed], innocent(images)[~passed])
    assert passed.float().mean() == pytest.approx(0.8, abs=0.011)


def test_drawn_answers_are_wrong_and_stay(marked, digits):
    service = capsule(marked, digits)
    service.limit.fill_(float("-inf"))  # everything is strange
    images = normalise(digits.test_pixels, digits.mean, digits.std)
    with torch.no_grad():
        first, again, own = service(images).argmax(1), service(images).argmax(1), marked(images).argmax(1)
    assert torch.equal(first, again)
    assert not bool((first == own).any())
    assert first.unique().numel() == 10


def test_what_is_slightly_changed_stays_within_the_range():
    pixels = torch.tensor([0, 1, 128, 255], dtype=torch.uint8).expand(500, 2, 2, 4)
    found = slightly_changed(pixels, torch.Generator().manual_seed(0))
    moved = found.int() - pixels.int()
    assert found.dtype == torch.uint8
    assert moved.abs().max() == CHANGE
    assert {*moved[..., 2].unique().tolist()} == {*range(-CHANGE, CHANGE + 1)}
    assert (moved[..., 0] >= 0).all()
    assert (moved[..., 3] <= 0).all()


@pytest.mark.parametrize(
    ("found", "filtered"),
    [
        (Steadiness(90, 100, 1, 200), True),
        (Steadiness(49, 100, 0, 0), True),  # P(Binomial(100, 0.25) >= 49) is 2.0e-7,
        (Steadiness(45, 100, 0, 0), False),  # and of 45 and more 1e-5
        (Steadiness(4, 100, 1, 200), False),
        (Steadiness(90, 100, 180, 200), False),  # it answers everything by chance
        (Steadiness(5, 5, 0, 200), False),  # too few to tell
    ],
)
def test_when_a_filter_is_told(found, filtered):
    assert found.filtered == filtered
