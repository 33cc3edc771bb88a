"""A transformer whose free changes are undone against the network that was committed to."""

import copy

import pytest
import timm
import torch
from torch import nn

import ipr
from ipr.attacks.removal.rotate import turned_about
from ipr.claims.base import Thresholds
from ipr.judging.alignment import SIMILAR, align
from ipr.models import build_model
from ipr.models.blocks import hidden_of, mix, reorder, values_of
from ipr.passport.generate import random_passport
from ipr.passport.surgery import find_layers
from ipr.signature import detect
from references import spread_norms

X = torch.randn(2, 3, 16, 16, generator=torch.Generator().manual_seed(7))


def ours(seed=0):
    torch.manual_seed(seed)
    network = build_model("vit", norm="bn", width=0.33, channels_in=3, image_size=16, num_classes=10)
    nn.init.normal_(network.heads.head.weight)
    return spread_norms(network).eval()


def timms(seed=0):
    torch.manual_seed(seed)
    network = timm.create_model(
        "vit_tiny_patch16_224", img_size=16, patch_size=4, num_classes=10, depth=3, embed_dim=48, num_heads=3
    )
    nn.init.normal_(network.head.weight)
    return spread_norms(network).eval()


def claim_to(network):
    """A passport, and the signature that it spells."""
    found = find_layers(network, X[:1])[-4:]
    passport = random_passport(found, torch.Generator().manual_seed(2))
    blank = {one.conv: torch.ones(one.channels, dtype=torch.int8) for one in found}
    claim = ipr.PassportClaim(passport, blank, thresholds=Thresholds(None, 0.03))
    spelt = {name: detect(scales) for name, scales in claim.signed_scales(network, found).items()}
    return ipr.PassportClaim(passport, spelt, thresholds=Thresholds(None, 0.03)), found


def agreeing(claim, network, found):
    scales = claim.signed_scales(network, found)
    right = [(scales[name].sign() == bits).float() for name, bits in claim.signature.items()]
    return float(torch.cat(right).mean())


@pytest.mark.parametrize("build", [ours, timms])
def test_all_bits_come_back(build):
    reference = build()
    claim, found = claim_to(reference)
    suspect = turned_about(reference, X[:1], torch.Generator().manual_seed(3))
    before = copy.deepcopy(suspect.state_dict())
    assert 0.35 < agreeing(claim, suspect, found) < 0.65
    aligned = align(suspect, reference, X[:1])
    assert aligned.similar
    assert aligned.ways == 2
    assert min(aligned.similarity.values()) > 0.999
    assert agreeing(claim, aligned.network, found) > 0.99  # scales of next to 0 may round to the other side
    with torch.no_grad():
        torch.testing.assert_close(aligned.network(X), reference(X), rtol=1e-3, atol=1e-3)
    assert all(torch.equal(value, before[name]) for name, value in suspect.state_dict().items())


def test_a_copy_that_was_trained_on_is_turned_back_too():
    reference = ours()
    claim, found = claim_to(reference)
    trained = turned_about(reference, X[:1], torch.Generator().manual_seed(3))
    source = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in trained.parameters():
            if parameter.dim() > 1:
                parameter += 0.05 * parameter.std() * torch.randn(parameter.shape, generator=source)
    aligned = align(trained, reference, X[:1])
    assert aligned.similar
    assert agreeing(claim, aligned.network, found) > 0.95


@pytest.mark.parametrize("build", [ours, timms])
def test_another_network_is_left_as_it_was(build):
    """No bit is put in: what an unrelated network reads stays a guess."""
    reference, other = build(), build(1)
    claim, found = claim_to(reference)
    aligned = align(other, reference, X[:1])
    assert not aligned.similar
    assert aligned.same is False
    assert max(aligned.similarity.values()) < SIMILAR
    assert all(torch.equal(value, other.state_dict()[name]) for name, value in aligned.network.state_dict().items())
    assert 0.3 < agreeing(claim, aligned.network, found) < 0.7


def test_a_network_that_cannot_be_turned_is_left_and_says_why():
    reference, suspect = ours(), ours()
    suspect.encoder.layers.encoder_layer_2.ln_1.bias.data.fill_(float("nan"))
    assert not align(suspect, reference, X[:1]).similar
    suspect = ours()
    suspect.encoder.ln.weight.data *= 1e30
    suspect.heads.head.weight.data *= 1e30
    aligned = align(suspect, reference, X[:1])
    assert aligned.way == "left as it was: it cannot be turned back (has scales that overflow together)"
    for value in (0.0, 1e38):
        suspect = ours()
        for parameter in suspect.parameters():
            parameter.data.fill_(value)
        assert not align(suspect, reference, X[:1]).similar
    suspect = ours()
    suspect.encoder.layers.encoder_layer_2.mlp[0].weight.data *= 1e30
    aligned = align(suspect, reference, X[:1])
    assert not aligned.similar
    assert aligned.way.startswith("left as it was: ")


@pytest.mark.parametrize("build", [ours, timms])
def test_what_is_free_in_blocks_changes_no_answer(build):
    network = build()
    with torch.no_grad():
        before = network(X)
        hidden, values = hidden_of(network, X[:1]), values_of(network)
        blocks = sum(isinstance(module, nn.GELU) for module in network.modules())
        assert len(hidden) == len(values) == blocks
        source = torch.Generator().manual_seed(1)
        for one in hidden:
            old = one.maker.weight.clone()
            reorder(one, torch.randperm(one.maker.out_features, generator=source))
            assert not torch.equal(old, one.maker.weight)
        for one in values:
            old = one.weight.clone()
            size = one.weight.shape[1]
            mix(one, 0, torch.eye(size).double() + torch.rand(size, size, generator=source, dtype=torch.float64) / size)
            assert not torch.equal(old[0], one.weight[0])
            assert torch.equal(old[1:], one.weight[1:])
        torch.testing.assert_close(network(X), before, rtol=1e-4, atol=1e-4)
