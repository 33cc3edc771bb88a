"""Passports for users: all of the owner's hash, and from the trapdoor alone."""

from dataclasses import replace

import pytest
import torch

from ipr.claims.base import Thresholds
from ipr.data.opening import open_images
from ipr.errors import InputError
from ipr.judging.claim_kinds import load_claim
from ipr.passport.accessory import draw_f
from ipr.passport.chameleon import Q, exponent, key_of
from ipr.passport.surgery import find_layers
from ipr.schemes.chip import Chameleon, ChipClaim, bits_of_value, message_of, trapdoor_of
from ipr.schemes.licences import Licence, door_of, licences
from ipr.schemes.start import example_image, plain_network
from references import protected, small

X = exponent(b"the owner's")


@pytest.fixture
def layers():
    return find_layers(small("alexnet", "bn"), torch.randn(1, 3, 16, 16), ["conv3", "conv4", "conv5"])


@pytest.fixture
def claim(layers):
    _, _, passport = protected("alexnet", "bn")
    capacities = {layer.conv: layer.channels for layer in layers}
    how = Chameleon(key_of(X), exponent(b"r"))
    bits = bits_of_value(how.value(passport, capacities, "Ada"), capacities)
    source = torch.Generator().manual_seed(1)
    own = {name: draw_f(c, source) for name, c in capacities.items()}
    return ChipClaim(passport, bits, accessories=own, binding=str(how), owner="Ada", thresholds=Thresholds(None))


def test_every_user_is_let_in_by_a_passport_of_his_own(claim, layers):
    door, made = door_of(claim), licences(claim, X, ["Bob", "Eve", "Zoë"], layers, seed=0)
    assert all(door.accepts(one) for one in made)
    assert len({one.digest for one in made}) == 3
    for one in made:  # a claim with this passport has the very signature
        own = replace(claim, passport=one.passport, owner=one.user, binding=str(Chameleon(door.key, one.blinding)))
        assert own.fingerprint() != claim.fingerprint()
        assert own.dissimilarity(claim) == 0
    again = licences(claim, X, ["Eve"], layers, seed=0)
    assert again[0].digest == made[1].digest


def test_nobody_else_is(claim, layers):
    door, (bob, eve) = door_of(claim), licences(claim, X, ["Bob", "Eve"], layers, seed=0)
    changed = {name: maps + 1e-6 for name, maps in bob.passport.items()}
    for licence in (
        replace(bob, user="Mallory"), replace(bob, passport=eve.passport), replace(bob, blinding=eve.blinding),
        replace(bob, passport=changed), replace(bob, blinding=bob.blinding + 1), Licence("Bob", bob.passport, 0),
    ):  # fmt: skip
        assert not door.accepts(licence)
    with pytest.raises(InputError, match=r"trapdoor=.*is of another key"):
        licences(claim, X + 1, ["Mallory"], layers, seed=0)


def test_a_licence_that_is_revoked_holds_no_more(claim, layers):
    door, (bob, eve) = door_of(claim), licences(claim, X, ["Bob", "Eve"], layers, seed=0)
    assert not door.accepts(bob, revoked=[bob.digest])
    assert door.accepts(eve, revoked=[bob.digest])


def test_two_users_together_have_the_trapdoor(claim, layers):
    """As the articles on chameleon hashes say: nobody may see two licences."""
    bob, eve = licences(claim, X, ["Bob", "Eve"], layers, seed=0)
    capacities = door_of(claim).capacities
    one, two = (message_of(licence.passport, capacities, licence.user) for licence in (bob, eve))
    stolen = (bob.blinding - eve.blinding) * pow(two - one, -1, Q) % Q
    assert stolen == X
    (mallory,) = licences(claim, stolen, ["Mallory"], layers, seed=1)
    assert door_of(claim).accepts(mallory)


def test_what_cannot_be_licensed_is_refused(claim, layers):
    with pytest.raises(InputError, match="twice"):
        licences(claim, X, ["Bob", "Bob"], layers, seed=0)
    with pytest.raises(InputError, match="has no chameleon hash"):
        door_of(claim.insiders())


def test_a_licence_says_nothing_of_its_secrets(claim, layers):
    (bob,) = licences(claim, X, ["Bob"], layers, seed=0)
    assert repr(bob) == "Licence(user='Bob')"


def test_the_owner_of_a_run_makes_licences(request_for, trained):
    """The trapdoor follows from seed and key, and is in no file of the run."""
    asked = request_for("scheme=chip", "passport.key=a long secret of mine")
    run = trained(asked)
    claim, x = load_claim(run.folder.claim), trapdoor_of(asked)
    data = open_images(asked.dataset, asked.paths)
    found = find_layers(plain_network(asked.model, data, 0), example_image(data), claim.layers)
    (bob,) = licences(claim, x, ["Bob"], found, seed=3)
    assert door_of(claim).accepts(bob)
    assert trapdoor_of(request_for("scheme=chip")) != x
    for path in run.folder.path.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            assert f"{x:x}".encode() not in content
            assert str(x).encode() not in content
            assert x.to_bytes(256, "big").lstrip(b"\0") not in content
