"""Uchida, DeepMarks and DeepSigns: losses, readings and forgeries against values worked out another way."""

import math
from dataclasses import replace

import pytest
import torch
from scipy.stats import binom
from torch import nn

from ipr.attacks.ambiguity.forge_projection import bits_as_values, by_gradient, least_change
from ipr.attacks.base import Victim
from ipr.config.recipe import Recipe
from ipr.config.registry import load
from ipr.errors import InputError
from ipr.models.inspection import classifier_of, convolution_of
from ipr.schemes import deepmarks, deepsigns, uchida
from ipr.schemes.deepmarks import DeepMarks
from ipr.schemes.deepsigns import DeepSigns
from ipr.schemes.uchida import Uchida
from ipr.watermarks.projection import mean_filter
from references import embedding, small, watermark

MEAN, STD = (0.5,) * 3, (0.25,) * 3
RECIPE = Recipe(0.1, 0.9, 0.0, "constant", 0.0, None)


def test_the_mean_filter_averages_over_output_channels():
    convolution = nn.Conv2d(3, 5, 2)
    expected = sum(convolution.weight[i].reshape(-1) for i in range(5)) / 5
    torch.testing.assert_close(mean_filter(convolution), expected)


def test_uchidas_loss_is_equation_2():
    """Against the sum of the paper, written out with its b in {0, 1}; and its gradient."""
    w = torch.randn(7, dtype=torch.float64, requires_grad=True)
    projection, bits = torch.randn(5, 7, dtype=torch.float64), torch.tensor([1, -1, -1, 1, 1], dtype=torch.int8)
    expected = 0.0
    gradient = [0.0] * 7
    for x, bit in zip(projection.tolist(), bits.tolist(), strict=True):
        b = (bit + 1) // 2
        y = 1 / (1 + math.exp(-sum(a * c for a, c in zip(x, w.tolist(), strict=True))))
        expected -= b * math.log(y) + (1 - b) * math.log(1 - y)
        gradient = [g + (y - b) * a for g, a in zip(gradient, x, strict=True)]
    loss = uchida.embedding_loss(w, projection, bits)
    loss.backward()
    assert loss.item() == pytest.approx(expected)
    assert w.grad.tolist() == pytest.approx(gradient)


def test_deepmarks_code_book_is_a_projective_plane():
    words = deepmarks.code_book(5)
    lines = (words == -1).int()
    assert words.shape == (31, 31)
    assert (lines.sum(1) == 6).all()  # points of a line
    common = lines @ lines.T
    assert (common - torch.diag(common.diag()) == 1 - torch.eye(31, dtype=torch.int32)).all()  # any two meet once
    for order in (0, 1, 4, 6):
        with pytest.raises(InputError, match=rf"scheme\.order={order}"):
            deepmarks.code_book(order)
    for order in (2, 3, 5, 7, 11):
        assert deepmarks.order_of(order * order + order + 1) == order


def test_who_shared_an_averaged_fingerprint_is_told_from_the_points_of_their_lines():
    words = deepmarks.code_book(5)
    colluders = [3, 11, 20]
    mixed = (words[colluders] == -1).any(0)  # where the average of their fingerprints is pulled down
    inside = [user for user in range(31) if mixed[words[user] == -1].all()]
    assert inside == colluders


def test_deepmarks_loss_is_the_squared_distance():
    w, projection, wanted = torch.randn(6), torch.randn(4, 6), torch.randn(4)
    values = [sum(a * b for a, b in zip(row, w.tolist(), strict=True)) for row in projection.tolist()]
    expected = sum((f - value) ** 2 for f, value in zip(wanted.tolist(), values, strict=True))
    assert deepmarks.embedding_loss(w, projection, wanted).item() == pytest.approx(expected, rel=1e-4)


def test_deepsigns_losses_class_by_class():
    """Against a loop over classes and images; a class that the batch lacks counts for nothing."""
    features, labels = torch.randn(9, 5), torch.tensor([0, 3, 3, 1, 0, 0, 4, 3, 9])
    chosen, projection = torch.tensor([0, 3, 7]), torch.randn(4, 5)
    bits = torch.tensor([[1, -1, 1, 1], [-1, -1, 1, -1], [1, 1, 1, 1]], dtype=torch.int8)
    near, wrong = deepsigns.embedding_losses(features, labels, chosen, projection, bits)
    distances, entropies = [], []
    for row, label in enumerate(chosen.tolist()):
        members = [features[i] for i in range(9) if labels[i] == label]
        if not members:
            continue
        mean = sum(members) / len(members)
        distances += [float((f - mean) @ (f - mean)) for f in members]
        for t in range(4):
            y = 1 / (1 + math.exp(-float(projection[t] @ mean)))
            entropies.append(-math.log(y if bits[row, t] > 0 else 1 - y))
    assert near.item() == pytest.approx(sum(distances) / len(distances), rel=1e-4)
    assert wrong.item() == pytest.approx(sum(entropies) / len(entropies), rel=1e-4)
    none = deepsigns.embedding_losses(features, torch.full((9,), 8), chosen, projection, bits)
    assert [term.item() for term in none] == [0, 0]


@pytest.mark.parametrize("model", ["alexnet", pytest.param("resnet18", marks=pytest.mark.slow)])
@pytest.mark.parametrize("scheme", ["uchida", "deepmarks", "deepsigns"])
def test_training_on_the_regulariser_alone_writes_every_bit(scheme, model, data):
    """And only there: an unrelated network reads what chance gives."""
    network = small(model, "bn")
    claim = watermark(scheme, network, data)
    before = claim.read(network, MEAN, STD)
    assert before.p_value > 1e-6
    module = embedding(claim, network, RECIPE, data)
    optimizer = torch.optim.Adam(module.trained(), 0.003)
    x = data.train_pixels.permute(0, 3, 1, 2).float().div(255).sub(0.5).div(0.25)
    for _ in range(150):
        optimizer.zero_grad()
        module.terms(x, data.train_labels)["watermark"].backward()
        optimizer.step()
    network.eval()
    if scheme == "deepsigns":
        network.train()  # its bits are read from activations, and the statistics were not trained
        with torch.no_grad():
            network(x)
    after = claim.read(network, MEAN, STD)
    assert after.agreement > (0.9 if scheme == "deepsigns" else 0.999)
    assert after.p_value < before.p_value
    if scheme == "deepmarks":
        assert after.correlation > 0.95 > abs(before.correlation)
    if scheme == "uchida":
        assert after.text == "me"


def test_each_scheme_says_its_terms_by_name(data):
    network = small("alexnet", "bn")
    x, y = torch.randn(8, 3, 16, 16), torch.arange(8)
    for kind, scheme in ((Uchida, "uchida"), (DeepMarks, "deepmarks"), (DeepSigns, "deepsigns")):
        claim = watermark(scheme, network, data)
        once, twice = embedding(claim, network, RECIPE, data), embedding(claim, network, RECIPE, data, weight=1.0)
        assert isinstance(once, kind)
        network.eval()
        terms, heavier = once.terms(x, y), twice.terms(x, y)
        assert terms["watermark"].item() == pytest.approx(once.weight * heavier["watermark"].item(), rel=1e-4)
        assert terms["cross_entropy"].item() == pytest.approx(nn.functional.cross_entropy(network(x), y).item())
        assert not any("projection" in name or "bits" in name for name in once.state_dict())
        with pytest.raises(InputError, match=r"scheme\.weight=-1"):
            embedding(claim, network, RECIPE, data, weight=-1)


@pytest.mark.parametrize("kind", ["uchida", "deepmarks", "deepsigns"])
def test_bits_are_embedded_in_full_precision_under_autocast(kind, data, device):
    """Of what the network computed in bfloat16 for DeepSigns; the filters alone decide for the others."""
    network = small("alexnet", "bn")
    scheme = embedding(watermark(kind, network, data), network, RECIPE, data).to(device)
    x, y = torch.randn(8, 3, 16, 16).to(device), torch.arange(8, device=device)
    plain = scheme.terms(x, y)["watermark"]
    with torch.autocast(device.type, torch.bfloat16):
        mixed = scheme.terms(x, y)["watermark"]
    assert mixed.dtype == torch.float32
    if kind == "deepsigns":
        assert not torch.equal(mixed, mixed.bfloat16().float())
    else:
        assert torch.equal(mixed, plain)


def test_an_unrelated_networks_bits_are_fair_coins(data):
    """Agreement over many drawn claims against the binomial distribution that the p-value assumes."""
    network = small("alexnet", "bn")
    for scheme in ("uchida", "deepmarks", "deepsigns"):
        agreeing = total = 0
        for seed in range(40):
            read = watermark(scheme, network, data, seed).read(network, MEAN, STD)
            agreeing, total = agreeing + sum(read.agreeing.values()), total + sum(read.total.values())
        low, high = binom.interval(1 - 1e-6, total, 0.5)
        assert low <= agreeing <= high, scheme


def test_a_claim_for_another_network_is_refused(data):
    claim = watermark("uchida", small("alexnet", "bn"), data)
    with pytest.raises(InputError, match="the layer's mean filter has"):
        replace(claim, layer="conv1").read(small("alexnet", "bn"), MEAN, STD)
    with pytest.raises(InputError, match="is no convolution"):
        replace(claim, layer="conv9").read(small("alexnet", "bn"), MEAN, STD)
    signs = watermark("deepsigns", small("alexnet", "bn"), data)
    with pytest.raises(InputError, match="the classifier sees"):
        signs.read(small("resnet18", "bn"), MEAN, STD)


def test_the_closed_form_is_the_nearest_projection_that_fits():
    """Against a minimum-norm solver of another library path, and against every other solution nearby."""
    vectors, start, target = torch.randn(3, 12), torch.randn(5, 12), torch.randn(3, 5)
    found = least_change(vectors, start, target)
    torch.testing.assert_close(vectors @ found.T, target, rtol=1e-4, atol=1e-4)
    missing = target - vectors @ start.T
    expected = start + torch.linalg.lstsq(vectors, missing, driver="gelsd").solution.T
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    _, _, rows = torch.linalg.svd(vectors)
    torch.testing.assert_close((found - start) @ rows[3:].T, torch.zeros(5, 9), rtol=0, atol=1e-5)


def test_values_for_bits_keep_the_magnitudes_of_a_fresh_projection():
    vectors, start = torch.randn(2, 30), torch.randn(50, 30)
    bits = torch.randint(0, 2, (2, 50)) * 2 - 1
    values, fresh = bits_as_values(start, vectors, bits), vectors @ start.T
    assert torch.equal(values.sign(), bits.float())
    large = fresh.abs() > 0.1 * fresh.square().mean().sqrt()
    torch.testing.assert_close(values.abs()[large], fresh.abs()[large])
    assert (values.abs()[~large] >= 0.0999 * fresh.square().mean().sqrt()).all()


@pytest.mark.parametrize("model", ["alexnet", "resnet18"])
@pytest.mark.parametrize("scheme", ["uchida", "deepmarks", "deepsigns"])
def test_both_forgeries_are_read_in_full_on_a_network_that_carries_nothing(scheme, model, data):
    network = small(model, "bn")
    owner = watermark(scheme, network, data)
    victim = Victim(network, owner, scheme)
    attack = load("attack", f"forge_{scheme}")(name=f"forge_{scheme}")
    for attacked in attack.run(victim, data, None, 0):
        ((way, claim),) = attacked.claims.items()
        read = claim.read(network, data.mean, data.std)
        assert read.agreement == 1, way
        assert claim.dissimilarity(owner) > 0.1
        assert (attacked.iterations > 0) == (way == "way=gradient")
        if scheme == "deepmarks":
            assert read.correlation > 0.98
        if scheme == "uchida":  # hardly distinguishable from a fresh one (Figure 2a): still of mean 0 and deviation 1
            assert abs(claim.projection.mean()) < 0.03
            assert abs(claim.projection.std() - 1) < 0.03


def test_a_gradient_forgery_that_runs_out_says_how_far_it_came(data):
    network = small("alexnet", "bn")
    attack = load("attack", "forge_uchida")(name="forge_uchida", iterations=1)
    first, _ = attack.run(Victim(network, watermark("uchida", network, data), "uchida"), data, None, 0)
    assert first.iterations == 1
    assert first.claims["way=gradient"].read(network, MEAN, STD).agreement < 1
    forgery = attack.forgery(Victim(network, watermark("uchida", network, data), "uchida"), data, torch.Generator())
    _, iterations = by_gradient(forgery, 0.01, 500)
    assert iterations < 500


def test_parts_of_a_network_by_name():
    assert classifier_of(small("alexnet", "bn"))[0] == "linear"
    assert convolution_of(small("resnet18", "bn"), "conv5_x")[0].startswith("conv5_x.0.")
    with pytest.raises(InputError, match="has no linear classifier"):
        classifier_of(nn.Sequential(nn.ReLU()))
