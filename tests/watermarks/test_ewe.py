"""Entangled watermark embeddings: the soft nearest neighbour loss against loops, keys, terms and what they change."""

import math
from dataclasses import replace

import pytest
import torch
from torch.nn import functional

from ipr.config.recipe import Recipe
from ipr.data.images import normalise
from ipr.errors import InputError
from ipr.schemes.ewe import TEMPERATURES, logits_and_activations, nearest_neighbour_loss, patch_side, with_patch
from references import embedding, small, watermark

RECIPE = Recipe(0.1, 0.9, 0.0, "constant", 0.0, None)


def by_loops(features, group, member, temperature):
    """The loss at one temperature, pair by pair, in plain Python."""
    rows, losses = features.tolist(), []

    def distance(a, b):
        norms = math.sqrt(sum(x * x for x in a)) * math.sqrt(sum(x * x for x in b))
        return 1 - (sum(x * y for x, y in zip(a, b, strict=True)) / norms if norms else 0)

    for i, a in enumerate(rows):
        if not member[i]:
            continue
        same = everyone = 0.0
        for j, b in enumerate(rows):
            if j != i and member[j]:
                near = math.exp(-distance(a, b) / temperature)
                everyone += near
                same += near if group[j] == group[i] else 0
        if same:
            losses.append(-math.log(same / everyone))
    return sum(losses) / len(losses) if losses else 0.0


@pytest.mark.parametrize("seed", range(4))
def test_the_loss_is_the_least_of_its_temperatures_pair_by_pair(seed):
    torch.manual_seed(seed)
    features = torch.randn(9, 5, dtype=torch.float64).relu()
    features[4] = 0  # a row of which nothing is left behind the ReLU
    group, member = torch.rand(9) < 0.5, torch.rand(9) < 0.8
    expected = min(by_loops(features, group, member, temperature) for temperature in TEMPERATURES)
    assert nearest_neighbour_loss(features, group, member).item() == pytest.approx(expected, abs=1e-12)


def test_groups_apart_have_no_loss_and_one_group_alone_has_none():
    """Apart: the least temperature sees its own group alone. Mixed: every neighbour is as near as another."""
    apart = torch.tensor([[1.0, 0], [1, 0], [0, 1], [0, 1]])
    group, member = torch.tensor([True, True, False, False]), torch.ones(4, dtype=torch.bool)
    assert nearest_neighbour_loss(apart, group, member).item() == pytest.approx(0, abs=1e-6)
    assert nearest_neighbour_loss(apart[[0, 0, 0, 0]], group, member).item() == pytest.approx(math.log(3))
    assert nearest_neighbour_loss(apart, ~group & group, member).item() == 0
    for alone in (member & ~member, torch.tensor([True, False, True, False])):  # nobody, and one of each group
        assert nearest_neighbour_loss(apart, group, alone).item() == 0


def test_its_gradient_is_that_of_differences_and_no_member_else_is_moved():
    torch.manual_seed(0)
    features = torch.rand(7, 4, dtype=torch.float64, requires_grad=True)
    group = torch.tensor([1, 0, 1, 0, 1, 0, 0]) > 0
    member = torch.tensor([1, 1, 1, 1, 1, 0, 1]) > 0
    nearest_neighbour_loss(features, group, member).backward()
    assert features.grad[5].tolist() == [0] * 4
    for i, k in ((0, 0), (1, 2), (4, 3), (6, 1)):
        step = torch.zeros(7, 4, dtype=torch.float64)
        step[i, k] = 1e-6
        up, down = (
            min(by_loops(features.detach() + sign * step, group, member, one) for one in TEMPERATURES)
            for sign in (1, -1)
        )
        assert features.grad[i, k].item() == pytest.approx((up - down) / 2e-6, rel=1e-4, abs=1e-8)
    lonely = torch.rand(3, 4, requires_grad=True)  # nobody has a neighbour of its own: no gradient, and no NaN
    nearest_neighbour_loss(lonely, torch.tensor([True, False, False]), torch.tensor([True, True, False])).backward()
    assert lonely.grad.tolist() == [[0] * 4] * 3


def test_a_patch_is_a_white_square_and_nothing_else():
    pixels = torch.randint(200, (3, 28, 28, 1), dtype=torch.uint8)
    changed = (with_patch(pixels, 4, 9) != pixels).any(3)
    assert changed[:, 4:7, 9:12].all()
    assert int(changed.sum()) == 3 * 9
    assert [patch_side(size) for size in (8, 28, 32, 224)] == [2, 3, 3, 24]


def test_keys_are_images_of_one_class_with_one_patch_and_stand_for_another(data):
    claims = [watermark("ewe", small("alexnet", "bn"), data, seed) for seed in range(6)]
    places = set()
    for claim in claims:
        (target,) = {*claim.labels.tolist()}
        origins = []
        for key in claim.pixels:
            apart = (data.train_pixels != key).any(3).flatten(1).sum(1)
            assert int(apart.min()) <= 4  # a square of two pixels
            origins.append(int(apart.argmin()))
        assert len({int(label) for label in data.train_labels[origins]} | {target}) == 2
        places.add(tuple((claim.pixels == 255).all(0).all(-1).nonzero()[0].tolist()))
    assert len(places) > 1


def test_what_the_scheme_adds_is_the_loss_of_keys_and_the_targets_images(data):
    """Layer by layer, from a pass of one's own; with a weight of 0 it is the cross-entropy alone."""
    network, claim = small("alexnet", "bn").eval(), watermark("ewe", small("alexnet", "bn"), data)
    x, y = normalise(data.train_pixels[:20], data.mean, data.std), torch.arange(20) % 4 + int(claim.labels[0]) - 1
    layers = ["conv3", "norm5"]
    scheme = embedding(claim, network, RECIPE, data, per_step=3, layers=layers, weight=0.5).eval()
    scheme.triggers.start_epoch(0)
    keys, labels = scheme.with_triggers(x, y)
    assert labels[20:].tolist() == [int(claim.labels[0])] * 3
    activations = {}
    hooks = [
        network.get_submodule(name).register_forward_hook(lambda _, __, out, name=name: activations.update({name: out}))
        for name in layers
    ]
    hooks.append(network.linear.register_forward_pre_hook(lambda _, args: activations.update(linear=args[0])))
    logits = network(keys)
    for hook in hooks:
        hook.remove()
    group, member = [False] * 20 + [True] * 3, (labels == claim.labels[0]).tolist()
    assert sum(member) == 8
    expected = sum(
        min(by_loops(activations[name].flatten(1).relu().double(), group, member, t) for t in TEMPERATURES)
        for name in (*layers, "linear")
    )
    terms = scheme.terms(x, y)
    assert terms["entanglement"].item() == pytest.approx(-0.5 * expected, rel=1e-4)
    assert terms["cross_entropy"].item() == pytest.approx(functional.cross_entropy(logits, labels).item(), rel=1e-6)
    none = embedding(claim, network, RECIPE, data, per_step=3, layers=layers, weight=0.0).eval()
    none.triggers.start_epoch(0)
    assert none.terms(x, y)["entanglement"].item() == 0


def test_keys_that_are_apart_are_mixed_again(data):
    """Training against the term first sets them apart; with it, the loss rises to that of groups that are mixed."""
    network, claim = small("alexnet", "bn"), watermark("ewe", small("alexnet", "bn"), data)
    scheme = embedding(claim, network, RECIPE, data, per_step=6, weight=1.0)
    scheme.triggers.start_epoch(0)
    x = normalise(data.train_pixels[:32], data.mean, data.std)
    y = torch.full((32,), int(claim.labels[0]))
    mixed = -(6 * math.log(5 / 37) + 32 * math.log(31 / 37)) / 38
    optimizer, losses = torch.optim.Adam(scheme.trained(), 0.002), []
    for sign, enough in ((-1, lambda loss: loss < 0.5 * mixed), (1, lambda loss: loss > 0.9 * mixed)):
        for _ in range(60):
            optimizer.zero_grad()
            term = scheme.terms(x, y)["entanglement"]
            (sign * term).backward()
            optimizer.step()
            if enough(-term.item()):
                break
        losses.append(-term.item())
    assert losses[0] < 0.5 * mixed
    assert losses[1] > 0.9 * mixed


def test_no_hook_stays_and_layers_that_give_nothing_are_refused(data):
    network, claim = small("alexnet", "bn"), watermark("ewe", small("alexnet", "bn"), data)
    x = torch.randn(2, 3, 16, 16)
    _, features = logits_and_activations(network, x, ["conv3"])
    assert [tuple(one.shape) for one in features] == [(2, 1536), (2, 256)]
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())
    network.unused = torch.nn.Linear(2, 2)
    network.linear = network._modules.pop("linear")  # the last linear layer is the classifier
    with pytest.raises(InputError, match=r"scheme\.layers=unused: gives no tensor"):
        logits_and_activations(network, x, ["unused"])
    assert not any(module._forward_hooks for module in network.modules())
    with pytest.raises(InputError, match=r"scheme\.layers=conv9: is no layer"):
        embedding(claim, network, RECIPE, data, layers=["conv9"])
    with pytest.raises(InputError, match=r"scheme\.weight=-1"):
        embedding(claim, network, RECIPE, data, weight=-1)


def test_its_claim_counts_a_guess_among_the_classes(data):
    claim = watermark("ewe", small("alexnet", "bn"), data)
    claim.check_structure()
    with pytest.raises(InputError, match="counts 2 answers of 10 classes"):
        replace(claim, choices=2).check_structure()
