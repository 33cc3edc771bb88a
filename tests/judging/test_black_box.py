"""A trigger set read from a suspect that only answers: the numbers, the order of the questions, what is refused."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import binom

from ipr.claims.base import Thresholds
from ipr.data.images import LabelledImages, normalise
from ipr.data.trigger_sets import TriggerSet
from ipr.errors import InputError
from ipr.judging.black_box import judge_black_box
from ipr.judging.fidelity import accuracy
from ipr.passport.claim import PassportClaim
from ipr.suspects.served.black_box import BlackBox
from ipr.watermarks.key_images import TriggerSetClaim
from references import small, watermark

MEAN, STD = (0.5,) * 3, (0.25,) * 3
CLASSES = {"num_classes": 10}


@pytest.fixture(scope="module")
def network():
    built = small().eval()
    with torch.no_grad():
        built.get_submodule("linear").bias -= built(torch.randn(200, 3, 16, 16)).mean(0)
    return built


@pytest.fixture
def images(data):
    return LabelledImages(data.test_pixels, data.test_labels, MEAN, STD)


@pytest.fixture
def triggers(network):
    """12 images with the labels that the network gives them, but for 3."""
    pixels = torch.randint(256, (12, 16, 16, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(7))
    with torch.no_grad():
        labels = network(normalise(pixels, MEAN, STD)).argmax(1)
    labels[:3] = (labels[:3] + 1) % 10
    return pixels, labels


class Asked:
    """The network as a black box that notes the order of the questions."""

    def __init__(self, network):
        self.network, self.sent = network, []

    def __call__(self, images):
        self.sent += [image.tobytes() for image in images]
        with torch.no_grad():
            return self.network(torch.from_numpy(images)).numpy()


def passport_claim(pixels, labels):
    maps, bits = {"conv5": torch.zeros(2, 4, 2, 2)}, {"conv5": torch.ones(4, dtype=torch.int8)}
    triggers = None if pixels is None else TriggerSet(pixels, labels)
    return PassportClaim(maps, bits, triggers=triggers, thresholds=Thresholds(None), architecture=CLASSES)


def key_claim(pixels, labels, choices=10, architecture=CLASSES):
    return TriggerSetClaim(
        pixels=pixels, labels=labels, choices=choices, thresholds=Thresholds(None), architecture=architecture
    )


@pytest.mark.parametrize("claim_of", [passport_claim, key_claim])
def test_the_reading_is_that_of_the_opened_network(claim_of, network, triggers, images):
    suspect = BlackBox(Asked(network), 10, batch_size=7)
    found = judge_black_box(suspect, claim_of(*triggers), images)
    assert (found.reading.agreeing, found.reading.total) == ({"trigger set": 9}, {"trigger set": 12})
    assert found.reading.images
    assert found.reading.p_value == pytest.approx(binom.sf(8, 12, 1 / 10), rel=1e-9)
    opened = key_claim(*triggers).read(network, MEAN, STD)
    assert (found.reading.agreement, found.reading.p_value) == (opened.agreement, opened.p_value)
    assert found.accuracy == accuracy(network, images)
    assert found.queries == 52
    assert judge_black_box(suspect, claim_of(*triggers), images) == found
    assert suspect.queries == 52  # nothing was sent again


def test_trigger_images_are_asked_alone_where_no_others_are_wanted(network, triggers, images):
    none = replace(images, pixels=images.pixels[:0], labels=images.labels[:0])
    found = judge_black_box(BlackBox(Asked(network), 10), key_claim(*triggers), none)
    assert (found.accuracy, found.queries, found.reading.agreement) == (None, 12, 0.75)


def test_the_order_mixes_them_and_only_who_has_them_can_draw_it(network, triggers, images):
    pixels, labels = triggers

    def order(claim, seed=0):
        asked = Asked(network)
        judge_black_box(BlackBox(asked, 10, batch_size=8), claim, images, seed=seed)
        return asked.sent

    once = order(key_claim(pixels, labels))
    secret = {image.tobytes() for image in normalise(pixels, MEAN, STD).contiguous().numpy()}
    places = [i for i, image in enumerate(once) if image in secret]
    assert len(places) == 12
    assert np.diff(places).max() > 1
    assert {*places} != {*range(12)}
    assert min(places) < 20 < max(places)
    assert once == order(key_claim(pixels, labels))
    assert once != order(key_claim(pixels, labels), seed=1)
    assert once == order(passport_claim(pixels, labels))
    other = order(key_claim(pixels ^ 1, labels))
    public = [image for image in once if image not in secret]
    assert public != [image for image in other if image in public]


def test_a_trigger_image_that_is_repeated_counts_once(network, triggers, images):
    pixels, labels = (torch.cat([part[-1:].expand(50, *part.shape[1:]), part[:1]]) for part in triggers)
    found = judge_black_box(BlackBox(Asked(network), 10), key_claim(pixels, labels), images)
    assert (found.reading.agreeing, found.reading.total) == ({"trigger set": 1}, {"trigger set": 2})
    every = key_claim(pixels[:1].expand(10, -1, -1, -1), torch.arange(10))  # all labels of one image: one of ten agrees
    assert judge_black_box(BlackBox(Asked(network), 10), every, images).reading.agreement == 0.1


@pytest.mark.parametrize(
    ("claim", "problem"),
    [
        (lambda pixels, labels: passport_claim(None, None), "passport: holds no trigger images"),
        (lambda pixels, labels: key_claim(pixels, labels + 10), "do not fit a suspect of 10 classes"),
        (lambda pixels, labels: key_claim(pixels, labels - 10), "below 0|do not fit a suspect of 10 classes"),
        (lambda pixels, labels: key_claim(pixels, labels, choices=1000), "1000 choices"),
        (lambda pixels, labels: key_claim(pixels, labels, architecture={"num_classes": 100}), "100 classes"),
        (lambda pixels, labels: key_claim(pixels, labels, architecture={"num_classes": "10^9"}), "10.9 classes"),
        (lambda pixels, labels: key_claim(pixels[:, :8], labels), r"trigger images of \(8, 16, 3\)"),
    ],
)
def test_what_cannot_be_asked_is_refused_before_anything_is(claim, problem, network, triggers, images):
    suspect = BlackBox(Asked(network), 10)
    with pytest.raises(InputError, match=problem):
        judge_black_box(suspect, claim(*triggers), images)
    assert suspect.queries == 0


def test_bits_in_weights_cannot_be_asked_for(network, data, images):
    with pytest.raises(InputError, match=r"uchida: holds no trigger images.*give the suspect's weights file"):
        judge_black_box(BlackBox(Asked(network), 10), watermark("uchida", network, data), images)
