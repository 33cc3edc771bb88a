"""The control of a verdict, and wrong claims: forgers who train nothing."""

from dataclasses import replace

import pytest
import torch

from ipr.claims.base import Thresholds
from ipr.config.rule import Rule
from ipr.data.images import LabelledImages
from ipr.errors import InputError
from ipr.judging.control import SAYS, control, forgeries
from ipr.judging.fidelity import accuracy
from ipr.judging.verdict import claim_of_signs, judge_claims
from ipr.judging.wrong_claims import WRONG, kinds_for
from ipr.models.inspection import convolution_of
from ipr.passport.claim import PassportClaim
from ipr.passport.generate import energies
from ipr.passport.layer import passport_layers
from ipr.passport.surgery import strip
from ipr.signature import detect
from ipr.watermarks.projection import mean_filter
from references import protected, small, watermark

ORDINARY = [kind for kind in SAYS if kind != "accessory"]
"""Of a claim whose scales pass through nothing."""


@pytest.fixture
def owned(device):
    """On each device: a plain network with scales of its own, as V2 gives away, and a claim to it."""
    network, _, passport = protected("alexnet", "gn")
    suspect = strip(network)
    for name, parameter in suspect.named_parameters():
        if "norm" in name:
            torch.nn.init.normal_(parameter, 1 if name.endswith("weight") else 0, 0.5)
    signature = {n: detect(layer.passport_affine()[0][0]) for n, layer in passport_layers(network).items()}
    return suspect.to(device), PassportClaim(passport, signature, thresholds=Thresholds(0.5, 0.03))


def images_of(data):
    return LabelledImages(data.test_pixels, data.test_labels, data.mean, data.std)


def test_a_control_is_what_every_forgery_gets_alone(owned, data):
    """One pass against a pass for each, and the lifted one against the network as it was given away."""
    suspect, claim = owned
    before = {k: v.clone() for k, v in suspect.state_dict().items()}
    images = images_of(data)
    verdict, rows = control(suspect, claim, images, random=3, seed=1)
    assert replace(verdict, accuracy_forged=()) == judge_claims(suspect, [claim], images)[0]
    forged = forgeries(suspect, claim, images, random=3, seed=1)
    assert [row.kind for row in rows] == list(forged) == ORDINARY
    for row in rows:
        alone = [judge_claims(suspect, [one], images)[0] for one in forged[row.kind]]
        reached = [one.fidelity.accuracy for one in alone]
        assert row.tried == len(alone)
        assert row.best == max(reached)
        assert row.mean == pytest.approx(sum(reached) / len(reached))
        if row.kind == "random":
            assert verdict.accuracy_forged == tuple(reached)
        assert row.shared == max(1 - one.dissimilarity(claim) for one in forged[row.kind])
    lifted = next(row for row in rows if row.kind == "lifted")
    assert lifted.best == accuracy(suspect, images)
    assert all(torch.equal(v, before[k]) for k, v in suspect.state_dict().items())


def test_fidelity_decides_which_forgeries_are_consistent(owned, data):
    suspect, claim = owned
    images = images_of(data)
    target = accuracy(suspect, images)
    strict = replace(claim, thresholds=Thresholds(target, 0.0))
    _, rows = control(suspect, strict, images, rule=Rule("paper"), random=3)
    for kind, claims in forgeries(suspect, strict, images, random=3).items():
        reached = [verdict.fidelity.accuracy for verdict in judge_claims(suspect, claims, images)]
        (row,) = (row for row in rows if row.kind == kind)
        assert row.consistent == reached.count(target)
    assert sum(row.consistent for row in rows) > 0
    unreadable = replace(claim, thresholds=Thresholds(target, 1.0, 0.0))
    assert all(row.consistent == 0 for row in control(suspect, unreadable, images, rule=Rule("paper"), random=3)[1])


def test_forgeries_bring_passports_of_the_claims_energies_and_nothing_of_its_owner(owned, data):
    suspect, claim = owned
    claim = replace(claim, owner="Ada")
    forged = forgeries(suspect, claim, images_of(data), random=2, seed=1)
    again = forgeries(suspect, claim, images_of(data), random=2, seed=1)
    other = forgeries(suspect, claim, images_of(data), random=2, seed=2)
    genuine = energies(claim.passport, suspect)
    for kind, claims in forged.items():
        assert [c.fingerprint() for c in claims] == [c.fingerprint() for c in again[kind]]
        for one in claims:
            assert (one.owner, one.binding) == ("", None)
            assert one.layers == claim.layers
            spelled = claim_of_signs(one, suspect).signature
            assert all(torch.equal(bits, spelled[n]) for n, bits in one.signature.items())
            if kind in ("random", "ones", "positive_noise"):
                for name, energy in energies(one.passport, suspect).items():
                    torch.testing.assert_close(energy, genuine[name], rtol=1e-4, atol=0)
    for kind in ("random", "positive_noise"):
        assert {c.fingerprint() for c in forged[kind]}.isdisjoint(c.fingerprint() for c in other[kind])


def test_no_random_passports_no_row(owned, data):
    suspect, claim = owned
    assert [row.kind for row in control(suspect, claim, images_of(data), random=0)[1]] == ORDINARY[1:]


def test_a_claim_of_bare_scales_has_no_control(owned, data):
    suspect, claim = owned
    scales = {n: torch.cat(pair) for n, pair in claim.affines(suspect).items()}
    with pytest.raises(InputError, match="brings no passport"):
        control(suspect, claim.with_scales(scales), images_of(data), random=1)


@pytest.mark.sampled(3)
@pytest.mark.parametrize("name", [name for name, kind in WRONG.items() if kind.evidence == "signature"])
def test_wrong_claims_are_as_many_as_asked_different_and_drawn_by_seed(name, owned, data):
    suspect, claim = owned
    for count in (1, 9):
        found = WRONG[name].drawn(claim, suspect, data, count, 5)
        assert len({one.fingerprint() for one in found}) == count
        assert all(one.thresholds == claim.thresholds and one.binding is None for one in found)
        assert [one.fingerprint() for one in WRONG[name].drawn(claim, suspect, data, count, 5)] == [
            one.fingerprint() for one in found
        ]
    judge_claims(suspect, found, images_of(data))
    assert claim.fingerprint() not in {one.fingerprint() for one in found}


def test_only_wrong_claims_that_could_be_dated_are_the_same_whatever_the_weights(owned, data):
    """Those that are not dated change their signature or their passport with the suspect's weights."""
    suspect, claim = owned
    torch.manual_seed(5)
    other = small("alexnet", "gn")
    for parameter in other.parameters():
        torch.nn.init.normal_(parameter)
    for kind in (kind for kind in WRONG.values() if kind.evidence == "signature"):
        signatures = [kind.drawn(claim, network, data, 3, 5) for network in (suspect, other)]
        same = all(
            torch.equal(bits, theirs.signature[n])
            for mine, theirs in zip(*signatures, strict=True)
            for n, bits in mine.signature.items()
        )
        assert same == (kind.dated and not kind.foreign)  # those are drawn from a network that is not the suspect


def test_ones_of_one_sign_claim_one_bit_throughout(owned, data):
    suspect, claim = owned
    found = WRONG["ones_of_one_sign"].drawn(claim, suspect, data, 8, 0)
    assert [set(one.marks().tolist()) for one in found] == [{1}] * 4 + [{-1}] * 4


def test_lifted_wrong_claims_all_have_the_public_accuracy(owned, data):
    suspect, claim = owned
    images = images_of(data)
    verdicts = judge_claims(suspect, WRONG["lifted"].drawn(claim, suspect, data, 4, 0), images)
    assert {verdict.fidelity.accuracy for verdict in verdicts} == {accuracy(suspect, images)}
    assert all(verdict.reading.agreement == 1 for verdict in verdicts)


def test_claims_that_hold_elsewhere_hold_there_and_not_here(owned, data):
    """A quarter each: solved for, random, ones, above 0; and all of them read whole on the network that they are of."""
    there, claim = owned
    torch.manual_seed(6)
    here = small("alexnet", "gn")
    for parameter in here.parameters():
        torch.nn.init.normal_(parameter)
    claims = WRONG["elsewhere"].drawn(claim, there, data, 9, 0)
    assert len(claims) == len({one.fingerprint() for one in claims}) == 9
    found = judge_claims(there, claims, images_of(data))
    assert all(verdict.reading.agreement == 1 for verdict in found)
    assert {verdict.fidelity.accuracy for verdict in found[::4]} == {accuracy(there, images_of(data))}
    assert max(verdict.reading.agreement for verdict in judge_claims(here, claims, images_of(data))) < 0.8
    again = WRONG["elsewhere"].drawn(claim, there, data, 9, 0)
    assert [one.fingerprint() for one in again] == [one.fingerprint() for one in claims]


@pytest.mark.parametrize("scheme", ["uchida", "deepmarks", "deepsigns"])
def test_a_universal_key_is_read_from_networks_that_it_was_not_drawn_for(scheme, data):
    networks = [small("alexnet", "bn") for _ in range(3)]
    for seed, network in enumerate(networks):
        torch.manual_seed(seed)
        for name, parameter in network.named_parameters():
            if "conv" in name:
                torch.nn.init.normal_(parameter, -0.01, 0.05)  # filters whose sums lean to one sign
    genuine = watermark(scheme, networks[0], data)
    kind = kinds_for(genuine)["universal"]
    assert kind.dated
    claims = kind.drawn(genuine, networks[0], data, 4, 0)
    assert [c.fingerprint() for c in claims] == [c.fingerprint() for c in kind.drawn(genuine, networks[1], data, 4, 0)]
    assert {claim.marks().numel() for claim in claims} == {genuine.marks().numel()}
    for network in networks:
        read = [claim.read(network, data.mean, data.std).agreement for claim in claims]
        assert max(read) == 1
        assert min(read) == 0  # the same with the opposite bits
        for agreement in read[1::2]:  # rows equal but for their sign: all or nothing
            assert agreement in (0, 1)
    assert genuine.read(networks[1], data.mean, data.std).agreement < 0.8
    if scheme == "uchida":
        assert (mean_filter(convolution_of(networks[0], claims[0].layer)[1]).sum() < 0) == (read[0] == 0)
