from collections import Counter

import pytest
import torch

from ipr.claims.base import Thresholds
from ipr.data.images import LabelledImages
from ipr.data.trigger_sets import TriggerSet
from ipr.errors import InputError
from ipr.judging.fidelity import Fidelity, accuracy
from ipr.judging.verdict import judge
from ipr.models.inspection import evaluating
from ipr.passport import claim as claims
from ipr.passport.claim import PassportClaim
from ipr.passport.fork import norms_behind
from ipr.passport.generate import random_passport, with_energy
from ipr.passport.layer import passport_layers, patch_mean, presenting, scale_and_shift
from ipr.passport.surgery import find_layers, strip
from ipr.randomness import generator
from ipr.signature import detect
from references import protected, small


@pytest.fixture
def images():
    pixels = torch.randint(256, (150, 16, 16, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    return LabelledImages(pixels, torch.arange(150) % 10, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))


@pytest.fixture
def owned(device):
    """A protected network (V2) on each device, and the claim of an owner whose signature is what its signs spell."""
    network, _, passport = protected("alexnet", "gn")
    signature = {n: detect(layer.passport_affine()[0][0]) for n, layer in passport_layers(network).items()}
    return network.to(device), PassportClaim(passport, signature, thresholds=Thresholds(None, 0.03))


def test_f_is_definition_1():
    assert Fidelity(0.87, 0.90, 0.03).holds
    assert Fidelity(0.93, 0.90, 0.03).holds
    assert not Fidelity(0.8699, 0.90, 0.03).holds
    assert not Fidelity(0.9301, 0.90, 0.03).holds


def test_accuracy_against_counting_by_hand(images):
    network = small().eval()
    right = 0
    for pixels, label in zip(images.pixels, images.labels, strict=True):
        x = (pixels.permute(2, 0, 1)[None] / 255 - 0.5) / 0.25
        right += int(network(x).argmax()) == int(label)
    assert accuracy(network, images, batch_size=64) == right / 150
    assert accuracy(network, images, batch_size=7) == right / 150


def test_a_mean_patch_is_computed_once_for_each_passport(owned, images, monkeypatch):
    """Of the claimed passport and of each forged one, whoever asks; and one of its absolute values, to tell noise."""
    network, claim = owned
    suspect, computed = strip(network), Counter()
    real = claims.patch_mean

    def counting(maps, conv):
        computed[maps.flatten()[:8].double().numpy().tobytes()] += 1
        return real(maps, conv)

    monkeypatch.setattr(claims, "patch_mean", counting)
    judge(suspect, claim, images, forged=3)
    assert len(computed) == 2 * len(claim.layers) * (1 + 3)
    assert set(computed.values()) == {1}
    judge(suspect, claim, images, forged=0)
    assert set(computed.values()) == {1}


def test_one_pass_judges_as_many_passes_would(owned, images):
    """Every accuracy in the verdict, forged ones included, against one full pass per passport."""
    network, claim = owned
    verdict = judge(strip(network), claim, images, forged=3, seed=5)

    def alone(passport):
        with evaluating(network), presenting(network, _affines(network, passport)):
            return accuracy(network, images)

    plain = strip(network)
    assert verdict.accuracy_without == accuracy(plain, images)
    assert verdict.fidelity.accuracy == alone(claim.passport)
    source = generator(5, "forged passports")
    plain = plain.to("cpu")
    places = find_layers(plain, torch.zeros(1, 3, 16, 16), list(claim.passport))
    for got in verdict.accuracy_forged:
        forgery = random_passport(places, source)
        scaled = {
            name: torch.stack([
                with_energy({name: maps[[i, i]]}, plain, float(_energy(plain, name, claim.passport[name][i])))[name][0]
                for i in (0, 1)
            ])
            for name, maps in forgery.items()
        }  # fmt: skip
        assert got == alone(scaled)


def _energy(network, name, maps):
    return patch_mean(maps[None], network.get_submodule(name)).norm()


def _affines(network, passport):
    return {
        n: scale_and_shift(
            layer.conv.weight.detach(), patch_mean(passport[n].to(layer.conv.weight.device), layer.conv)[None]
        )
        for n, layer in passport_layers(network).items()
    }


def test_the_signature_is_read_from_public_weights_and_the_claim_alone(owned, images):
    network, claim = owned
    verdict = judge(strip(network), claim, images, forged=0)
    bits = sum(b.numel() for b in claim.signature.values())
    assert sum(verdict.reading.agreeing.values()) == bits == 224
    assert verdict.reading.p_value == 2.0**-224
    assert verdict.mark_read
    assert verdict.consistent
    assert verdict.accuracy_forged == ()


def test_a_wrong_claim_is_not_consistent(owned, images):
    network, claim = owned
    flipped = {name: -bits for name, bits in claim.signature.items()}
    verdict = judge(
        strip(network), PassportClaim(claim.passport, flipped, thresholds=claim.thresholds), images, forged=0
    )
    assert sum(verdict.reading.agreeing.values()) == 0
    assert verdict.reading.p_value == 1
    assert not verdict.mark_read
    assert not verdict.consistent
    stranger = {name: torch.randn_like(maps) for name, maps in claim.passport.items()}
    verdict = judge(
        strip(network), PassportClaim(stranger, claim.signature, thresholds=claim.thresholds), images, forged=0
    )
    assert 0.3 < verdict.reading.agreement < 0.7
    assert not verdict.mark_read
    assert not verdict.consistent


def test_fidelity_alone_or_a_signature_alone_is_not_enough(owned, images):
    network, claim = owned
    unreachable = PassportClaim(claim.passport, claim.signature, thresholds=Thresholds(0.99, 0.03))
    verdict = judge(strip(network), unreachable, images, forged=0)
    assert verdict.reading.agreement == 1
    assert not verdict.fidelity.holds
    assert verdict.mark_read
    assert not verdict.consistent


def test_trigger_accuracy_with_and_without_the_passport(owned, images, device):
    network, claim = owned
    plain = strip(network).eval()
    pixels = images.pixels[:20]
    x = (pixels.to(device).permute(0, 3, 1, 2) / 255 - 0.5) / 0.25
    with torch.no_grad():
        said = plain(x).argmax(1).cpu()
        with evaluating(network), presenting(network, _affines(network, claim.passport)):
            answers = network(x).argmax(1).cpu()
    said[:5] = (said[:5] + 1) % 10
    marked = PassportClaim(
        claim.passport, claim.signature, thresholds=claim.thresholds, triggers=TriggerSet(pixels, said)
    )
    verdict = judge(plain, marked, images, forged=0)
    assert verdict.trigger_accuracy == 0.75
    assert verdict.trigger_accuracy_passport == pytest.approx((answers == said).double().mean().item())
    assert verdict.trigger_accuracy_passport != 0.75
    assert judge(plain, claim, images, forged=0).trigger_accuracy is None


def test_judging_changes_nothing(owned, images):
    network, claim = owned
    suspect = strip(network).train()
    before = {k: v.clone() for k, v in suspect.state_dict().items()}
    fingerprint = claim.fingerprint()
    judge(suspect, claim, images, forged=2)
    assert suspect.training
    assert all(torch.equal(v, before[k]) for k, v in suspect.state_dict().items())
    assert claim.fingerprint() == fingerprint


def test_the_same_seed_gives_the_same_verdict(owned, images):
    network, claim = owned
    one, same, other = (judge(strip(network), claim, images, forged=6, seed=s) for s in (1, 1, 2))
    assert one == same
    assert one.accuracy_forged != other.accuracy_forged


def test_a_v1_network_is_judged_from_its_locked_weights(images, device):
    locked, _, passport = protected("alexnet", "bn", public_affine=False)
    layers = passport_layers(locked)
    claim = PassportClaim(
        passport, {n: detect(layer.passport_affine()[0][0]) for n, layer in layers.items()}, thresholds=Thresholds(None)
    )
    suspect = small("alexnet", "bn")
    suspect.load_state_dict(locked.state_dict(), strict=False)
    verdict = judge(suspect.to(device), claim, images, forged=1)
    x, _ = next(images.batches(150, device))
    locked.to(device)
    with torch.no_grad():  # the judge's statistics: those of all images in one batch, behind the first passport layer
        for norm in norms_behind(locked.eval()):
            norm.momentum = 1.0
            norm.train()
        locked(x)
    assert verdict.fidelity.accuracy == accuracy(locked, images)
    assert verdict.reading.agreement == 1


def test_a_claim_for_another_network_is_refused(owned, images):
    _, claim = owned
    with pytest.raises(InputError, match="conv3"):
        judge(small("resnet18"), claim, images, forged=0)
