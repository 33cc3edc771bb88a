import hashlib
import json
import math
import stat
from collections import OrderedDict
from dataclasses import replace

import pytest
import torch
from torch import nn

from ipr.claims.base import Thresholds
from ipr.claims.origin import Origin
from ipr.data.trigger_sets import TriggerSet
from ipr.errors import InputError
from ipr.judging.claim_kinds import load_claim
from ipr.passport.claim import PassportClaim
from ipr.passport.presented import ScalesClaim


@pytest.fixture
def claim():
    return PassportClaim(
        passport={"conv1": torch.randn(2, 3, 4, 4), "a.b": torch.randn(2, 5, 2, 2)},
        signature={"conv1": torch.tensor([1, -1, 1, 1], dtype=torch.int8), "a.b": -torch.ones(6, dtype=torch.int8)},
        thresholds=Thresholds(0.9, 0.03, 2**-40),
        text_bytes=1,
        triggers=TriggerSet(torch.randint(256, (5, 4, 4, 3), dtype=torch.uint8), torch.arange(5)),
        architecture={"model": {"name": "alexnet", "width": 0.25}},
    )


def test_round_trip(claim, tmp_path):
    claim.save(tmp_path / "claim")
    loaded = load_claim(tmp_path / "claim")
    assert loaded.fingerprint() == claim.fingerprint()
    assert loaded.facts() == claim.facts()
    assert list(loaded.passport) == ["conv1", "a.b"]
    assert all(torch.equal(tensor, claim.tensors()[name]) for name, tensor in loaded.tensors().items())


def test_channels_that_carry_no_bit_round_trip(claim, tmp_path):
    fewer = replace(
        claim,
        text_bytes=0,
        signature={"conv1": torch.tensor([0, -1, 0, 1], dtype=torch.int8), "a.b": torch.zeros(6, dtype=torch.int8)},
    )
    fewer.save(tmp_path / "claim")
    loaded = load_claim(tmp_path / "claim")
    assert loaded.fingerprint() == fewer.fingerprint()
    assert loaded.marks().tolist() == [-1, 1]
    assert [bits.tolist() for bits in loaded.signature.values()] == [[0, -1, 0, 1], [0] * 6]
    with pytest.raises(InputError, match="is no length of text in 2 bits"):
        replace(fewer, text_bytes=1)
    with pytest.raises(InputError, match="claim=signature: has no bit"):
        replace(fewer, signature={name: torch.zeros_like(bits) for name, bits in fewer.signature.items()})


OF_BEFORE = {
    "passport": ("128afd3c5b6cec2e", "ac65ef22ff4df491", "d9e0226251d6831f"),
    "triggers": ("52a2bb1774cacd20", "8f2e9a25fb63bc11", "ea86d9566bf53647"),
    "scales": ("d1e0fe7eac475403", "ac65ef22ff4df491", "284a36b36b848366"),
    "both": ("522b4f1018555886", "ac65ef22ff4df491", "923d19a66ebc4770"),
}
"""Fingerprints, and the SHA-256 of the files, of claims as they were stored when scales and triggers were fields of a
PassportClaim."""


@pytest.mark.parametrize("name", OF_BEFORE)
def test_claims_are_stored_as_ever(name, tmp_path):
    def maps(*shape):
        return (torch.arange(math.prod(shape), dtype=torch.float32).mul(7).remainder(11) - 5).reshape(shape) / 8

    bits = {
        "a": torch.tensor([1, -1, 1, 1], dtype=torch.int8),
        "b.c": torch.tensor([-1, -1, 1, 1, -1, 1], dtype=torch.int8),
    }
    passport = {"a": maps(2, 3, 4, 4), "b.c": maps(2, 5, 2, 2)}
    scales = {"a": maps(2, 4), "b.c": maps(2, 6)}
    pixels = torch.arange(3 * 4 * 4 * 3).remainder(256).to(torch.uint8).reshape(3, 4, 4, 3)
    triggers = TriggerSet(pixels, torch.tensor([2, 0, 1]))
    about = {"thresholds": Thresholds(0.5), "architecture": {"num_classes": 3}, "owner": "Ada"}
    drawn = Origin({"signature": 5}, False, "00", 7, None)
    claim = {
        "passport": lambda: PassportClaim(passport, bits, **about),
        "triggers": lambda: PassportClaim(passport, bits, text_bytes=1, triggers=triggers, origin=drawn, **about),
        "scales": lambda: ScalesClaim(scales, bits, **about),
        "both": lambda: ScalesClaim(scales, bits, triggers=triggers, **about),
    }[name]()
    claim.save(tmp_path / "claim")
    files = [(tmp_path / "claim" / name).read_bytes() for name in ("claim.json", "secrets.safetensors")]
    assert (claim.fingerprint()[:16], *(hashlib.sha256(file).hexdigest()[:16] for file in files)) == OF_BEFORE[name]
    again = PassportClaim.from_parts(claim.facts(), claim.tensors(), claim.thresholds)
    assert (type(again), again.fingerprint()) == (type(claim), claim.fingerprint())


def test_scales_go_to_where_the_network_is(claim):
    """The device `meta` stands for any that is not the one where claims are read."""
    network = nn.Sequential(OrderedDict(conv1=nn.Conv2d(3, 4, 3), a=nn.Sequential(OrderedDict(b=nn.Conv2d(5, 6, 1)))))
    claim = claim.with_scales(scales={"conv1": torch.randn(2, 4), "a.b": torch.randn(2, 6)})
    affines = claim.affines(network.to("meta"))
    assert {t.device.type for pair in affines.values() for t in pair} == {"meta"}
    assert {name: pair[0].shape for name, pair in affines.items()} == {"conv1": (1, 4), "a.b": (1, 6)}


def test_only_the_owner_can_read_it(claim, tmp_path):
    claim.save(tmp_path / "claim")
    assert stat.S_IMODE((tmp_path / "claim").stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "claim").iterdir()} == {0o600}
    assert [path.name for path in tmp_path.iterdir()] == ["claim"]  # nothing left aside


def test_every_part_changes_the_fingerprint(claim):
    others = [
        replace(claim, passport=claim.passport | {"conv1": claim.passport["conv1"] + 1}),
        replace(claim, signature=claim.signature | {"a.b": -claim.signature["a.b"]}),
        replace(claim, thresholds=replace(claim.thresholds, fidelity=0.04)),
        replace(claim, triggers=TriggerSet(claim.triggers.pixels, claim.triggers.labels.flip(0))),
        replace(claim, text_bytes=0),
        replace(claim, architecture={}),
        replace(claim, owner="Ada Lovelace"),
    ]
    assert len({c.fingerprint() for c in [claim, *others]}) == 8


def test_a_claim_of_version_2_is_read_as_one_of_version_3(claim, tmp_path):
    """As runs made before have them; such a run may be judged anew with other thresholds."""
    folder = tmp_path / "claim"
    claim.save(folder)
    facts = json.loads((folder / "claim.json").read_text())
    assert (facts["schema_version"], facts.pop("owner"), facts.pop("binding")) == (3, "", None)
    (folder / "claim.json").write_text(json.dumps(facts | {"schema_version": 2}))
    old = load_claim(folder)
    assert old.fingerprint() == claim.fingerprint()
    assert (old.owner, old.bound) == ("", False)
    replace(old, thresholds=Thresholds(0.5)).save(folder)
    assert json.loads((folder / "claim.json").read_text())["schema_version"] == 3
    assert load_claim(folder).thresholds.target_accuracy == 0.5


@pytest.mark.parametrize("owner", ["two\nlines", "\x1b[2J", "a" * 201, "\ud800", None, 5])
def test_an_owner_is_one_line_that_can_be_seen(claim, owner):
    assert replace(claim, owner="Zoë O'Neil, 東京").owner
    with pytest.raises(InputError, match="one line"):
        replace(claim, owner=owner)


def test_another_claim_is_never_overwritten(claim, tmp_path):
    claim.save(tmp_path / "claim")
    claim.save(tmp_path / "claim")  # the same again is no harm
    other = replace(claim, signature=claim.signature | {"a.b": -claim.signature["a.b"]})
    with pytest.raises(InputError, match="another claim is already there"):
        other.save(tmp_path / "claim")
    assert load_claim(tmp_path / "claim").fingerprint() == claim.fingerprint()
    measured = replace(claim, thresholds=replace(claim.thresholds, target_accuracy=0.5))
    measured.save(tmp_path / "claim")  # thresholds are measured after the secrets are drawn
    assert load_claim(tmp_path / "claim").thresholds.target_accuracy == 0.5


def _truncate(folder):
    path = folder / "secrets.safetensors"
    path.write_bytes(path.read_bytes()[:-20])


def _change(key, value):
    def change(folder):
        facts = json.loads((folder / "claim.json").read_text())
        facts[key] = value
        (folder / "claim.json").write_text(json.dumps(facts))

    return change


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_truncate, "is damaged"),
        (lambda f: (f / "claim.json").write_text("{"), "is damaged"),
        (lambda f: (f / "claim.json").write_bytes(b"\xff\xfe"), "is damaged"),
        (lambda f: (f / "claim.json").unlink(), "cannot be read"),
        (lambda f: (f / "secrets.safetensors").unlink(), "cannot be read"),
        (_change("layers", ["conv1", "conv2"]), "is damaged"),
        (_change("layers", 5), "is damaged"),
        (_change("schema_version", 99), "schema version 99, not 2 to 5"),
        (_change("thresholds", {"target_accuracy": "high"}), "is damaged|is not a fraction"),
        (_change("thresholds", {"target_accuracy": 7, "fidelity": 0.03, "p_value": 0}), "is not a fraction"),
    ],
)
def test_a_damaged_claim_is_refused_in_one_line(claim, tmp_path, damage, message):
    folder = tmp_path / "claim"
    claim.save(folder)
    damage(folder)
    with pytest.raises(InputError, match=message) as error:
        load_claim(folder)
    assert "\n" not in str(error.value)


def test_a_claim_must_fit_together(claim):
    with pytest.raises(InputError, match=r"\['a.b'\].*passport but no signature"):
        replace(claim, signature={"conv1": claim.signature["conv1"]})
    with pytest.raises(InputError, match=r"signature of a\.b"):
        replace(claim, signature=claim.signature | {"a.b": torch.full((6,), 2, dtype=torch.int8)})
