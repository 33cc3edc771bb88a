"""What turning, rescaling and permuting channels does to signs that are read relative to the public scales'."""

import copy
from dataclasses import replace

import pytest
import torch
from torch import nn

from ipr.claims.base import Thresholds
from ipr.data.images import LabelledImages
from ipr.judging.verdict import judge_claims
from ipr.passport.bound import Binding, bound_signature
from ipr.passport.claim import PassportClaim
from ipr.passport.layer import filters, patch_mean
from ipr.passport.normal_form import public_signs, relative_to
from ipr.passport.surgery import find_layers, protect
from ipr.signature import detect

EXAMPLE = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(5))
KIND = Binding(bytes(32), slow=False)
LAYERS = {"0": "1", "3": "4"}


class Relative(PassportClaim):
    """A claim bound by the fast hash, its signs read as those of a slow one: a second less each."""

    relative = True


def plain(norm):
    """Two protected layers and a classifier, with statistics and scales of their own, two of them negative."""
    norms = [nn.BatchNorm2d(16), nn.BatchNorm2d(24)] if norm == "bn" else [nn.GroupNorm(4, 16), nn.GroupNorm(6, 24)]
    network = nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1), norms[0], nn.ReLU(),
        nn.Conv2d(16, 24, 3, padding=1), norms[1], nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(24, 10),
    )  # fmt: skip
    network.train()(torch.randn(64, 3, 8, 8))
    for one in norms:
        nn.init.uniform_(one.weight, 0.5, 1.5)
        nn.init.normal_(one.bias)
        one.weight.data[3:5] *= -1
    return network.eval().requires_grad_(False)


def turned(network, signs, factors):
    """A copy with channels turned, group by group, and rescaled (by one factor a group): its answers stay."""
    network = copy.deepcopy(network)
    for (conv, norm), sign, factor in zip(LAYERS.items(), signs, factors, strict=True):
        conv, norm = network.get_submodule(conv), network.get_submodule(norm)
        conv.weight *= (sign * factor)[:, None, None, None]
        conv.bias *= sign * factor
        norm.weight *= sign
        if isinstance(norm, nn.BatchNorm2d):
            norm.running_mean *= sign * factor
            norm.running_var *= factor**2
    return network


def passport_claim(seed=3):
    source = torch.Generator().manual_seed(seed)
    passport = {"0": torch.randn(2, 3, 8, 8, generator=source), "3": torch.randn(2, 16, 8, 8, generator=source)}
    signature = bound_signature(passport, {"0": 16, "3": 24}, "Ada", KIND)
    return Relative(passport, signature, thresholds=Thresholds(0.9), owner="Ada", binding=str(KIND))


@pytest.mark.parametrize("norm", ["bn", "gn"])
def test_turning_and_rescaling_changes_neither_an_answer_nor_a_bit(norm):
    network, claim = plain(norm), passport_claim()
    places = find_layers(network, EXAMPLE, list(LAYERS))
    size = 1 if norm == "bn" else 4
    signs = [(torch.arange(count // size) % 2 * 2.0 - 1).repeat_interleave(size) for count in (16, 24)]
    factors = [torch.rand(count // size).add(0.5).repeat_interleave(size) for count in (16, 24)]
    thief = turned(network, signs, factors)
    torch.testing.assert_close(thief(EXAMPLE), network(EXAMPLE), rtol=1e-3, atol=1e-4)  # eps of the norms is not scaled
    before, after = claim.signed_scales(network, places), claim.signed_scales(thief, places)
    free = claim.affines(thief)
    for name, sign, factor in zip(LAYERS, signs, factors, strict=True):
        torch.testing.assert_close(after[name], before[name] * factor)
        assert torch.equal(detect(after[name]), detect(before[name]))
        changed = detect(free[name][0][0]) != detect(claim.affines(network)[name][0][0])
        assert torch.equal(changed, sign < 0)  # as Algorithm 5 reads them
    images = LabelledImages(
        torch.randint(256, (20, 8, 8, 3), dtype=torch.uint8), torch.arange(20) % 10, (0.5,) * 3, (0.25,) * 3
    )
    one, other = (judge_claims(suspect, [claim], images)[0].reading for suspect in (network, thief))
    assert one.agreeing == other.agreeing
    assert one.agreeing == {n: int((detect(before[n]) == bits).sum()) for n, bits in claim.signature.items()}


def test_the_signs_are_the_public_scales():
    network = plain("bn")
    places = find_layers(network, EXAMPLE, list(LAYERS))
    network.get_submodule("1").weight[0] = 0.0
    expected = torch.ones(16)
    expected[3:5] = -1
    assert torch.equal(public_signs(network, places)["0"], expected)
    locked = protect(network, passport_claim().passport, EXAMPLE, public_affine=False)
    assert all(bool((signs == 1).all()) for signs in public_signs(locked, places).values())
    scales = {"0": torch.arange(-8.0, 8.0)}
    assert torch.equal(relative_to({"0": expected}, scales)["0"], scales["0"] * expected)


def test_a_claim_that_was_chosen_is_read_as_published():
    network = plain("gn")
    places = find_layers(network, EXAMPLE, list(LAYERS))
    claim = passport_claim().forged()
    free = PassportClaim(claim.passport, claim.signature, thresholds=claim.thresholds)
    read = free.signed_scales(network, places)
    assert all(torch.equal(read[name], gamma[0]) for name, (gamma, _) in free.affines(network).items())


def lifted(network, places, weight):
    """A forger's passport: it gives the public scales and shifts, and `weight` of what no filter sees beside."""
    passport, unseen = {}, {}
    for place in places:
        conv, norm = network.get_submodule(place.conv), network.get_submodule(place.norm)
        count = torch.Size(place.input_shape).numel()
        means = patch_mean(torch.eye(count, dtype=torch.float64).reshape(count, *place.input_shape), conv)[:, 0]
        scales = means @ filters(conv.weight).double().T  # of every single pixel
        solved = [
            torch.linalg.lstsq(scales.T, part.double()[:, None], driver="gelsd").solution[:, 0]
            for part in (norm.weight, norm.bias)
        ]
        other = torch.randn(count, dtype=torch.float64)
        other -= torch.linalg.pinv(scales.T) @ (scales.T @ other)
        other *= weight / (other @ means).norm()
        passport[place.conv] = torch.stack([solved[0] + other, solved[1]]).reshape(2, *place.input_shape)
        unseen[place.conv] = other @ means
    return passport, unseen


def test_what_is_lifted_says_plus_one_everywhere_and_the_hash_does_not():
    """Whatever a forger turns or permutes, so that he has to find a hash that says so, too."""
    network = plain("bn")
    places = find_layers(network, EXAMPLE, list(LAYERS))
    passport, _ = lifted(network, places, 0.0)
    signature = bound_signature(passport, {"0": 16, "3": 24}, "Eve", KIND)
    forged = Relative(passport, signature, thresholds=Thresholds(0.9), owner="Eve", binding=str(KIND))
    for name, (gamma, beta) in forged.affines(network).items():
        norm = network.get_submodule(LAYERS[name])
        torch.testing.assert_close(gamma[0], norm.weight, rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(beta[0], norm.bias, rtol=1e-3, atol=1e-3)
    assert all(bool((detect(read) == 1).all()) for read in forged.signed_scales(network, places).values())
    assert 10 < int((forged.marks() == 1).sum()) < 30  # half of 40, within three deviations


def test_a_copy_that_its_forger_may_alter_reads_whatever_was_hashed():
    """The limit of every bound signature: it costs something on a file that the claimant could not touch."""
    network = plain("gn")
    places = find_layers(network, EXAMPLE, list(LAYERS))
    passport, unseen = lifted(network, places, 1000.0)
    signature = bound_signature(passport, {"0": 16, "3": 24}, "Eve", KIND)
    forged = Relative(passport, signature, thresholds=Thresholds(0.9), owner="Eve", binding=str(KIND))
    altered = copy.deepcopy(network)
    for name, gamma in forged.signed_scales(network, places).items():
        conv = altered.get_submodule(name)
        step = torch.where(signature[name] > 0, 0.0, -2.0) * gamma * public_signs(network, places)[name]
        change = step[:, None] * unseen[name].float() / unseen[name].float().square().sum()
        assert bool((change.norm(dim=1) < 0.02 * filters(conv.weight).norm(dim=1)).all())
        conv.weight += change.reshape(conv.out_channels, 3, 3, -1).permute(0, 3, 1, 2)
    assert float((altered(EXAMPLE) - network(EXAMPLE)).norm() / network(EXAMPLE).norm()) < 0.01
    read = forged.signed_scales(altered, places)
    assert all(torch.equal(detect(read[name]), bits) for name, bits in signature.items())


def test_a_public_direction_decides_nothing():
    """Why signs are not compared with those of <W, R>, R public: a reflection turns them all for a few percent."""
    conv = nn.Conv2d(96, 64, 3).requires_grad_(False)
    weight = filters(conv.weight)
    direction = torch.sign(torch.randn(weight.shape[1]))
    along = weight @ direction / direction.square().sum()
    reflected = weight - 2 * along[:, None] * direction
    assert bool((torch.sign(reflected @ direction) == -torch.sign(weight @ direction)).all())
    assert float((reflected - weight).norm() / weight.norm()) < 0.1


def test_changes_of_the_claim_keep_how_it_is_read():
    claim = passport_claim()
    assert replace(claim, thresholds=Thresholds(0.5)).relative
