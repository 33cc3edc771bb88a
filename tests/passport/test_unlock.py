"""Weights without the affines of their protected norms, and the passport, give a plain network that works."""

import copy

import pytest
import torch

from ipr.errors import InputError
from ipr.models import build_model
from ipr.passport.generate import random_passport
from ipr.passport.surgery import find_layers, protect
from ipr.passport.unlock import unlock
from ipr.randomness import generator

X = torch.linspace(-2, 2, 2 * 3 * 16 * 16).reshape(2, 3, 16, 16).sin()


def locked(name, norm, layers):
    """A protected network of scheme V1, its weights as they are given away, its passport, and a plain network."""
    plain = build_model(name, norm=norm, width=0.25, channels_in=3, image_size=16, num_classes=10)
    passport = random_passport(find_layers(plain, X[:1], layers), generator(1, "a passport"))
    protected = protect(plain, passport, X[:1], public_affine=False).train()
    protected(X)  # moves running statistics
    return protected.eval(), protected.state_dict(), passport


def fresh(name, norm):
    return build_model(name, norm=norm, width=0.25, channels_in=3, image_size=16, num_classes=10).eval()


@pytest.mark.parametrize("norm", ["bn", "gn"])
@pytest.mark.parametrize(("name", "layers"), [("alexnet", ["conv3", "conv5"]), ("resnet18", ["conv5_x"])])
def test_unlocked_weights_answer_as_the_protected_network(name, layers, norm):
    protected, weights, passport = locked(name, norm, layers)
    network = fresh(name, norm)
    before, given = copy.deepcopy(network.state_dict()), copy.deepcopy(weights)
    unlocked = unlock(network, weights, passport, X[:1])
    for left, was in ((network.state_dict(), before), (weights, given)):
        assert left.keys() == was.keys()
        assert all(torch.equal(left[key], was[key]) for key in was)
    assert all(torch.equal(unlocked[key], weights[key]) for key in weights)
    assert len(unlocked.keys() - weights.keys()) == 2 * len(passport)
    network.load_state_dict(unlocked)
    with torch.no_grad():
        assert (network(X) - protected(X)).abs().max() < 1e-5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: w | {"norm3.weight": torch.ones(96)}, "norm3.weight: is there, so they are not locked"),
        (lambda w: {k: v for k, v in w.items() if k != "conv1.weight"}, "conv1.weight is missing"),
        (lambda w: w | {"extra": torch.ones(1)}, "extra has no place"),
        (lambda w: w | {"linear.bias": torch.ones(9)}, r"shape must be \(10,\), not \(9,\): linear.bias"),
    ],
)
def test_other_weights_are_refused(change, message):
    _, weights, passport = locked("alexnet", "bn", ["conv3"])
    with pytest.raises(InputError, match=message):
        unlock(fresh("alexnet", "bn"), change(weights), passport, X[:1])


def test_a_passport_for_other_sizes_is_refused():
    _, weights, passport = locked("alexnet", "bn", ["conv3"])
    with pytest.raises(InputError, match="its shape must be"):
        unlock(fresh("alexnet", "bn"), weights, {"conv3": passport["conv3"][..., :-1]}, X[:1])
