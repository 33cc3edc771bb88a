import hashlib
import struct
from dataclasses import replace

import pytest
import torch

from ipr.claim import Thresholds
from ipr.errors import InputError
from ipr.passport.bound import bound_signature
from ipr.passport.claim import PassportClaim
from ipr.verification.claims import load_claim
from ipr.verification.verdict import claim_of_signs, forged_at_random

NONCE = bytes(range(32))
CAPACITIES = {"conv2": 13, "conv10": 6}


@pytest.fixture
def passport():
    return {"conv2": torch.randn(2, 3, 4, 4), "conv10": torch.randn(2, 5, 2, 2, dtype=torch.float64)}


@pytest.fixture
def claim(passport):
    signature = bound_signature(passport, CAPACITIES, "Ada", NONCE)
    return PassportClaim(passport, signature, thresholds=Thresholds(0.9), owner="Ada", binding=NONCE.hex())


def test_it_is_the_hash_that_is_described(passport):
    """Computed anew, from the description, with nothing of ours."""
    text = b""
    for part in (
        b"ipr bound signature 1", NONCE, "Zoë".encode(),
        b"conv2", b"13", b"float32", b"2 3 4 4", struct.pack("<96f", *passport["conv2"].flatten().tolist()),
        b"conv10", b"6", b"float64", b"2 5 2 2", struct.pack("<40d", *passport["conv10"].flatten().tolist()),
    ):  # fmt: skip
        text += struct.pack(">Q", len(part)) + part
    number = int.from_bytes(hashlib.shake_256(text).digest(3), "big")
    expected = [1 if number >> (23 - i) & 1 else -1 for i in range(19)]
    bits = bound_signature(passport, CAPACITIES, "Zoë", NONCE)
    assert list(bits) == ["conv2", "conv10"]
    assert torch.cat(list(bits.values())).tolist() == expected
    assert {b.dtype for b in bits.values()} == {torch.int8}


def test_everything_it_is_bound_to_changes_it():
    passport = {"a": torch.randn(2, 3, 4, 4), "b": torch.randn(2, 5, 2, 2)}
    sizes = {"a": 128, "b": 64}

    def bits(passport=passport, sizes=sizes, owner="Ada", nonce=NONCE):
        return torch.cat(list(bound_signature(passport, sizes, owner, nonce).values()))

    touched = {n: p.clone() for n, p in passport.items()}
    touched["b"][1, 4, 1, 1] = torch.nextafter(touched["b"][1, 4, 1, 1], torch.tensor(9.0))
    swapped = {"a": passport["b"], "b": passport["a"]}
    reshaped = passport | {"a": passport["a"].reshape(2, 3, 2, 8)}
    others = [bits(touched), bits(swapped), bits(reshaped), bits(owner="Adb"), bits(owner=""), bits(nonce=NONCE[::-1]),
              bits(sizes={"a": 64, "b": 128}),
              bits({"aa": passport["a"], "b": passport["b"]}, {"aa": 128, "b": 64})]  # fmt: skip
    for other in others:
        assert 50 < int((other != bits()).sum()) < 142  # half of 192, within six deviations
    assert torch.equal(bits(), bits())


def test_a_claim_keeps_its_binding(claim, tmp_path):
    assert claim.bound
    claim.save(tmp_path / "claim")
    loaded = load_claim(tmp_path / "claim")
    assert loaded.bound
    assert (loaded.owner, loaded.binding, loaded.fingerprint()) == ("Ada", NONCE.hex(), claim.fingerprint())
    assert replace(loaded, thresholds=Thresholds(0.5)).bound


@pytest.mark.parametrize(
    "change",
    [
        lambda c: {"signature": c.signature | {"conv10": -c.signature["conv10"]}},
        lambda c: {"passport": c.passport | {"conv2": c.passport["conv2"] + 1}},
        lambda c: {"passport": {n: p.double() for n, p in c.passport.items()}},
        lambda c: {"owner": "Eve"},
        lambda c: {"binding": NONCE[::-1].hex()},
        lambda c: {"binding": NONCE.hex().upper() + "0"},
        lambda c: {"binding": ""},
        lambda c: {"passport": {}, "scales": {n: torch.ones(2, b.numel()) for n, b in c.signature.items()}},
    ],
)
def test_a_signature_that_does_not_follow_is_refused(claim, change):
    with pytest.raises(InputError, match="binding"):
        replace(claim, **change(claim))


def test_a_forgery_is_another_partys_and_bound_to_nothing(claim):
    forged = claim.forged(signature={n: -b for n, b in claim.signature.items()})
    assert (forged.owner, forged.binding, forged.bound) == ("", None, False)
    assert claim.bound


def test_forgers_of_a_bound_claim_bring_unbound_ones():
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3, padding=1), torch.nn.BatchNorm2d(8)).eval()
    passport = {"0": torch.randn(2, 3, 6, 6)}
    owner = PassportClaim(
        passport, bound_signature(passport, {"0": 8}, "Ada", NONCE), thresholds=Thresholds(0.9), owner="Ada",
        binding=NONCE.hex(),
    )  # fmt: skip
    for forged in [*forged_at_random(network, owner, torch.randn(1, 3, 6, 6), 2, 0), claim_of_signs(owner, network)]:
        assert not forged.bound
