"""Searches side by side against each alone: the same gradients, bit by bit, whatever they share."""

import copy

import pytest
import torch
from torch import nn

from ipr.attacks.ambiguity.fake2 import ScaleSearch
from ipr.attacks.ambiguity.fake3 import PassportSearch
from ipr.attacks.ambiguity.searches import SideBySide, missing, protected_again
from ipr.attacks.base import Victim, constant_rate, example_of, flipped
from ipr.claims.base import Thresholds
from ipr.data.images import LabelledImages
from ipr.passport.claim import PassportClaim
from ipr.passport.generate import random_passport
from ipr.passport.surgery import find_layers
from ipr.store.failure import DivergedError
from ipr.training.guards import check_weights
from references import protected

SHARES = (0.0, 0.25, 1.0)
BOUND = 0.01
"""Of a gradient's norm: below that of every search."""


class DecidesByValue(nn.Module):
    """Cannot be traced, and so not be split."""

    def __init__(self):
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.conv2, self.norm2 = nn.Conv2d(8, 10, 3, padding=1), nn.BatchNorm2d(10)

    def forward(self, x):
        x = self.norm2(self.conv2(self.norm1(self.conv1(x)).relu()))
        return x.mean((2, 3)) if x.sum() > 0 else x.amax((2, 3))


def unsplittable(data):
    """A victim whose network cannot be split."""
    network = DecidesByValue()
    places = find_layers(network, example_of(data, network), ["conv2"])
    passport = random_passport(places, torch.Generator().manual_seed(0))
    bits = {"conv2": torch.ones(10, dtype=torch.int8)}
    return Victim(network, PassportClaim(passport, bits, thresholds=Thresholds(0.1, 0.03)))


def searches_on(victim, data, kind, networks):
    """One search a network."""
    found = {}
    for share, network in zip(SHARES, networks, strict=True):
        bits = flipped(victim.claim.signature, share, torch.Generator().manual_seed(1))
        recipe, classes = constant_rate(0.1, 5e-4), len(data.classes)
        if kind == "scales":
            search = ScaleSearch(network, recipe, classes, start=bits, signature=bits)
        else:
            source = torch.Generator().manual_seed(2)
            search = PassportSearch(
                network, recipe, classes, genuine=victim.claim.passport, signature=bits,
                sign_loss_weight=0.1, source=source,
            )  # fmt: skip
        found[f"dissimilarity-{share:g}"] = search
    return found


@pytest.mark.parametrize("kind", ["scales", "passports"])
@pytest.mark.parametrize("network", ["alexnet-bn", "resnet18-gn", "unsplittable"])
def test_a_step_side_by_side_is_the_step_of_each_alone(network, kind, victim_of, data, device):
    """Terms, accuracy, gradients before and after clipping, and what SGD makes of them; statistics stay."""
    victim = unsplittable(data) if network == "unsplittable" else victim_of("passport_v2", *network.split("-"))
    victim.suspect.to(device)
    example = example_of(data, victim.suspect)
    alone = searches_on(victim, data, kind, [protected_again(victim, example) for _ in SHARES])
    shared = protected_again(victim, example)
    before = copy.deepcopy(shared.state_dict())
    together = SideBySide(searches_on(victim, data, kind, [shared] * len(SHARES)), example)
    assert together.forked.shares_trunk == (network != "unsplittable")
    schemes = [together, *alone.values()]
    optimizers = []
    for scheme in schemes:
        scheme.train()
        scheme.on_train_epoch_start()
        scheme.to(device)
        optimizers.append(torch.optim.SGD(scheme.trained(), 0.1, momentum=0.9, weight_decay=5e-4))
    images = LabelledImages(data.train_pixels, data.train_labels, data.mean, data.std)
    for x, y in list(images.batches(16, device))[:3]:
        for scheme, optimizer in zip(schemes, optimizers, strict=True):
            optimizer.zero_grad()
            scheme.loss(x, y).backward()
            norms = torch.stack([parameter.grad.norm() for parameter in scheme.trained()])
            assert norms.norm() > BOUND
            scheme.clip(scheme.trained(), BOUND)
            optimizer.step()
    means = {name: value.cpu() for name, value in together.means.means().items()}
    own = {name: search.means.means() for name, search in alone.items()}
    right, answers = together.means.answers()
    counted = [search.means.answers() for search in alone.values()]
    assert (int(right), answers) == (sum(int(one) for one, _ in counted), sum(count for _, count in counted))
    for name, search in alone.items():
        for term in own[name].keys() - {"loss"}:
            assert torch.equal(means[f"{name}/{term}"], own[name][term].cpu()), (name, term)
        for mine, its in zip(together.by_name[name].trained(), search.trained(), strict=True):
            assert torch.equal(mine.grad, its.grad)
            assert torch.equal(mine, its)
    assert all(torch.equal(value, before[name]) for name, value in shared.state_dict().items())
    assert not any(parameter.requires_grad for parameter in shared.parameters())


def test_searches_over_networks_of_their_own_do_not_go_together(victim_of, data):
    victim = victim_of("passport_v2")
    example = example_of(data, victim.suspect)
    apart = searches_on(victim, data, "scales", [protected_again(victim, example) for _ in SHARES])
    with pytest.raises(ValueError, match="share one network"):
        SideBySide(apart, example)


def test_what_is_judged_or_named_twice_is_not_searched_for():
    found = missing([0.5, 0.1, 0.5, 0.1000000001, 1.0], {"dissimilarity=1"})
    assert list(found.items()) == [("dissimilarity-0.5", 0.5), ("dissimilarity-0.1", 0.1)]


def test_a_search_whose_last_step_is_no_number_is_told():
    """What it trains lies beside the network, which stays frozen."""
    network, *_ = protected("alexnet", layers=["conv3"])
    start = {"conv3": torch.ones(network.conv3.out_channels)}
    search = ScaleSearch(network, constant_rate(0.01, 0.0), 10, start=start)
    check_weights(search, 2)
    with torch.no_grad():
        search.beta[0][1] = float("nan")
    with pytest.raises(DivergedError, match=r"beta\.0 is nan in epoch 1"):
        check_weights(search, 2)
