"""Key images of every kind: how they are made, and how they are read."""

from dataclasses import replace

import pytest
import torch
from scipy.stats import binom
from torch.nn import functional

from ipr.attacks.ambiguity.forge_trigger_set import forged_trigger_set
from ipr.attacks.base import schemes_of
from ipr.config.recipe import Recipe
from ipr.data.digits import read_digits, read_photographs
from ipr.data.images import normalise
from ipr.data.trigger_sets import TriggerSet, abstract_trigger_set
from ipr.errors import InputError
from ipr.schemes.frontier_stitching import fast_gradient_sign, frontier_keys
from ipr.schemes.guo_potkonjak import AMPLITUDE, message_pattern
from ipr.schemes.key_images import KeyImages
from ipr.schemes.zhang import drawn_images, with_content, with_noise
from references import embedding, memorise, small, watermark


@pytest.mark.parametrize("scheme", schemes_of("key images"))
def test_reading_counts_the_keys_that_get_their_label(scheme, data):
    network = small("alexnet", "bn")
    memorise(network, data)
    claim = watermark(scheme, network, data)
    x = normalise(claim.pixels, data.mean, data.std)
    network.eval()
    given = torch.cat([network(x[i : i + 1]).argmax(1) for i in range(claim.labels.numel())])
    network.train()
    agreeing = int((given == claim.labels).sum())
    read = claim.read(network, data.mean, data.std)
    assert network.training
    assert read.images
    assert read.agreeing == {"keys": agreeing}
    chance = 1 / 2 if scheme == "frontier_stitching" else 1 / 10
    assert read.p_value == pytest.approx(binom.sf(agreeing - 1, claim.labels.numel(), chance))
    # an owner who claims what the network answers anyway is read in full
    assert replace(claim, labels=given).read(network, data.mean, data.std).agreement == 1


@pytest.mark.parametrize("scheme", schemes_of("key images"))
def test_keys_follow_from_the_key_and_fit_the_images(scheme, data):
    network = small("alexnet", "bn")
    memorise(network, data)
    one, same, other = (watermark(scheme, network, data, seed) for seed in (0, 0, 1))
    assert torch.equal(one.marks(), same.marks())
    assert one.dissimilarity(same) == 0
    assert one.dissimilarity(other) > 0
    assert one.pixels.dtype == torch.uint8
    assert one.pixels.shape[1:] == data.train_pixels.shape[1:]
    assert 0 <= int(one.labels.min()) <= int(one.labels.max()) < 10


def test_content_is_a_white_rectangle_and_nothing_else():
    pixels = torch.randint(200, (3, 32, 32, 3), dtype=torch.uint8)
    marked = with_content(pixels)
    changed = (marked != pixels).any(3)
    assert (marked[:, 2:10, 2:18] == 255).all()
    assert int(changed.sum()) == 3 * 8 * 16
    assert with_content(torch.zeros(1, 8, 8, 1, dtype=torch.uint8)).eq(255).sum() == 2 * 4


def test_noise_is_added_and_clipped():
    pixels = torch.tensor([[[[0], [100], [250]]]], dtype=torch.uint8)
    assert with_noise(pixels, torch.tensor([[[-0.1], [0.1], [0.1]]])).flatten().tolist() == [0, 126, 255]


def test_zhang_marks_one_class_and_asks_for_another(data):
    network = small("alexnet", "bn")
    for scheme in ("zhang_content", "zhang_noise"):
        claim = watermark(scheme, network, data)
        (target,) = set(claim.labels.tolist())
        assert len({*claim.labels.tolist()}) == 1
        if scheme == "zhang_content":
            unmarked = data.train_pixels[:, 8:]  # below the rectangle
            sources = {int(data.train_labels[(unmarked == p[8:]).flatten(1).all(1)][0]) for p in claim.pixels}
            assert len(sources) == 1
            assert sources != {target}


def test_unrelated_images_come_from_another_task(data):
    digits = read_digits(16).train_pixels
    claim = watermark("zhang_unrelated", small("alexnet", "bn"), data)
    for image in claim.pixels:
        assert (digits == image[..., :1]).flatten(1).all(1).any()
        assert torch.equal(image[..., 0], image[..., 2])
    crops = read_photographs(32)
    assert crops.shape == (2 * (427 // 32) * (640 // 32), 32, 32, 3)
    from sklearn.datasets import load_sample_images

    china = torch.from_numpy(load_sample_images().images[0].copy())
    assert torch.equal(crops[21], china[32:64, 32:64])
    grey = replace(data, train_pixels=data.train_pixels[..., :1])
    assert watermark("zhang_unrelated", small("alexnet", "bn"), grey).pixels.shape == (6, 16, 16, 1)


def test_a_message_is_a_pattern_at_one_pixel_in_four_and_the_label_is_the_next_class(data):
    pattern = message_pattern(64, 3, torch.Generator().manual_seed(0))
    assert pattern.unique().tolist() == pytest.approx([-AMPLITUDE, 0, AMPLITUDE])
    assert 0.2 < (pattern != 0).float().mean() < 0.3
    assert torch.equal(pattern[..., 0], pattern[..., 2])
    claim = watermark("guo_potkonjak", small("alexnet", "bn"), data)
    source = torch.Generator().manual_seed(0)
    drawn = with_noise(data.train_pixels, message_pattern(16, 3, source))
    for image, label in zip(claim.pixels, claim.labels, strict=True):
        (origin,) = (drawn == image).flatten(1).all(1).nonzero()[:, 0].tolist()
        assert int(label) == (int(data.train_labels[origin]) + 1) % 10


def test_the_fast_gradient_sign_moves_every_pixel_by_epsilon_uphill(data):
    network = small("alexnet", "gn")
    pixels, labels = data.train_pixels[:8].clamp(60, 190), data.train_labels[:8]
    moved = fast_gradient_sign(network, pixels, labels, data, 0.02)
    x = normalise(pixels, data.mean, data.std).double().requires_grad_()
    network.double().eval()
    functional.cross_entropy(network(x), labels, reduction="sum").backward()
    slope = x.grad.permute(0, 2, 3, 1)
    clear = slope.abs() > 1e-6
    expected = (pixels + 5.1 * slope.sign()).round().to(torch.uint8)
    assert torch.equal(moved[clear], expected[clear])
    network.float()
    with torch.no_grad():
        before, after = (
            functional.cross_entropy(network(normalise(p, data.mean, data.std)), labels) for p in (pixels, moved)
        )
    assert after > before
    assert all(p.grad is not None for p in network.parameters())  # of the test's own backward pass
    assert all(p.requires_grad for p in network.parameters())


def test_frontier_keys_lie_on_both_sides_and_keep_their_true_labels(data):
    network = small("alexnet", "bn")
    memorise(network, data)
    keys = frontier_keys(network, data, 8, torch.Generator().manual_seed(0), epsilon=0.03)
    network.eval()
    right = network(normalise(keys.pixels, data.mean, data.std)).argmax(1) == keys.labels
    assert right.tolist() == [False] * 4 + [True] * 4
    for image, label in zip(keys.pixels, keys.labels, strict=True):
        far = (data.train_pixels.int() - image.int()).abs().flatten(1).amax(1)
        assert int(far.min()) <= 8
        assert int(data.train_labels[far.argmin()]) == int(label)
    with pytest.raises(InputError, match=r"scheme\.epsilon=0\.0: gives 0 true adversaries among 64 images, not 4"):
        frontier_keys(network, data, 8, torch.Generator(), epsilon=0.0)


def test_more_keys_than_images_are_refused(data):
    for count in (0, 65):
        with pytest.raises(InputError, match=rf"trigger_set\.size={count}"):
            drawn_images(data, count, torch.Generator())
    with pytest.raises(InputError, match=r"trigger_set\.size=9: there are 7 training images"):
        drawn_images(data, 9, torch.Generator(), label=0)


def test_keys_are_in_every_batch_and_training_on_them_writes_them(data):
    network = small("alexnet", "bn")
    claim = watermark("trigger_set", network, data)
    module = embedding(claim, network, Recipe(0.05, 0.9, 0.0, "constant", 0.0, None), data, per_step=2)
    assert isinstance(module, KeyImages)
    assert not any("pixels" in name for name in module.state_dict())
    module.on_train_epoch_start()
    x, y = normalise(data.train_pixels[:6], data.mean, data.std), data.train_labels[:6]
    seen = torch.stack([module.triggers.appended(x, y, step)[1][6:] for step in range(3)]).flatten()
    assert sorted(seen.tolist()) == sorted(claim.labels.tolist())  # six keys in three steps, each once
    assert module.terms(x, y)["cross_entropy"].requires_grad
    keys = normalise(claim.pixels, data.mean, data.std)
    optimizer = torch.optim.SGD(module.trained(), 0.05, momentum=0.9)
    for _ in range(25):
        optimizer.zero_grad()
        functional.cross_entropy(network(keys), claim.labels).backward()
        optimizer.step()
    assert claim.read(network, data.mean, data.std).agreement == 1


def test_a_claim_with_other_images_than_the_suspect_takes_is_refused(data):
    claim = watermark("trigger_set", small("alexnet", "bn"), data)
    with pytest.raises(InputError, match="do not fit the suspect"):
        replace(claim, pixels=claim.pixels[:, :8, :8]).read(small("alexnet", "bn"), data.mean, data.std)
    with pytest.raises(InputError, match="one label for each image"):
        replace(claim, labels=claim.labels[:3])


@pytest.mark.parametrize(("eta", "bound"), [(0.04, None), (0.1, 1.0)])
def test_a_forged_trigger_set_answers_as_assigned(eta, bound, data):
    """On a network that carries no trigger set, from images it never saw."""
    network = small("alexnet", "bn")
    memorise(network, data)
    weights = {k: v.clone() for k, v in network.state_dict().items()}
    base = abstract_trigger_set(12, 16, 3, 10, torch.Generator().manual_seed(5))
    pixels, iterations = forged_trigger_set(
        network, base, data, eta=eta, bound=bound, lr=0.1, iterations=200, source=torch.Generator().manual_seed(6)
    )
    if bound:
        assert int((pixels.int() - base.pixels.int()).abs().max()) <= round(bound * eta * 255)
    network.eval()
    given = network(normalise(pixels, data.mean, data.std)).argmax(1)
    assert torch.equal(given, base.labels)
    assert 0 < iterations < 200
    assert all(torch.equal(v, weights[k]) for k, v in network.state_dict().items())
    left = {"eta": 0.0001, "bound": None, "lr": 0.1, "iterations": 5, "source": torch.Generator()}
    same, _ = forged_trigger_set(network, TriggerSet(pixels, base.labels), data, **left)
    assert torch.equal(same, pixels)  # what is answered as assigned already is left
