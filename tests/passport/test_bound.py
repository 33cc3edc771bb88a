import hashlib
import json
import struct
from dataclasses import replace

import pytest
import torch

from ipr.claims.base import Thresholds
from ipr.errors import InputError
from ipr.judging.claim_kinds import load_claim
from ipr.judging.verdict import claim_of_signs, forged_at_random
from ipr.passport.bound import NONCE_BYTES, Binding, bound_signature, expanded, stretched
from ipr.passport.claim import PassportClaim
from ipr.signature import binomial_tail

NONCE = bytes(range(32))
SLOW, RELATIVE, FAST = Binding(NONCE), Binding(NONCE, relative=True), Binding(NONCE, slow=False)
KINDS = {"scrypt-17:": SLOW, "scrypt-17-relative:": RELATIVE, "": FAST}
CAPACITIES = {"conv2": 13, "conv10": 6}


@pytest.fixture
def passport():
    return {"conv2": torch.randn(2, 3, 4, 4), "conv10": torch.randn(2, 5, 2, 2, dtype=torch.float64)}


@pytest.fixture
def claim(passport):
    signature = bound_signature(passport, CAPACITIES, "Ada", SLOW)
    return PassportClaim(passport, signature, thresholds=Thresholds(0.9), owner="Ada", binding=str(SLOW))


@pytest.mark.parametrize("before", KINDS)
def test_it_is_the_hash_that_is_described(passport, before):
    """Computed anew, from the description, with nothing of ours."""
    text = b""
    for part in (
        *((b"ipr bound signature 2", before[:-1].encode()) if before else (b"ipr bound signature 1", NONCE)),
        "Zoë".encode(),
        b"conv2", b"13", b"float32", b"2 3 4 4", struct.pack("<96f", *passport["conv2"].flatten().tolist()),
        b"conv10", b"6", b"float64", b"2 5 2 2", struct.pack("<40d", *passport["conv10"].flatten().tolist()),
    ):  # fmt: skip
        text += struct.pack(">Q", len(part)) + part
    if before:
        password = hashlib.sha256(text).digest()
        text = hashlib.scrypt(password, salt=NONCE, n=131072, r=8, p=2, maxmem=2**28, dklen=32)
    number = int.from_bytes(hashlib.shake_256(text).digest(3), "big")
    expected = [1 if number >> (23 - i) & 1 else -1 for i in range(19)]
    bits = bound_signature(passport, CAPACITIES, "Zoë", KINDS[before])
    assert list(bits) == ["conv2", "conv10"]
    assert torch.cat(list(bits.values())).tolist() == expected
    assert {b.dtype for b in bits.values()} == {torch.int8}


@pytest.mark.parametrize("before", ["scrypt-17-relative:", ""])
def test_fewer_bits_are_the_hash_that_is_described(passport, before):
    """As above, with how many, and a rank of each channel behind the bits."""
    text = b""
    for part in (
        *((b"ipr bound signature 2", before[:-1].encode()) if before else (b"ipr bound signature 1", NONCE)),
        "Zoë".encode(),
        b"conv2", b"13", b"float32", b"2 3 4 4", struct.pack("<96f", *passport["conv2"].flatten().tolist()),
        b"conv10", b"6", b"float64", b"2 5 2 2", struct.pack("<40d", *passport["conv10"].flatten().tolist()),
        b"11 bits",
    ):  # fmt: skip
        text += struct.pack(">Q", len(part)) + part
    if before:
        password = hashlib.sha256(text).digest()
        text = hashlib.scrypt(password, salt=NONCE, n=131072, r=8, p=2, maxmem=2**28, dklen=32)
    octets = hashlib.shake_256(text).digest(2 + 8 * 19)
    number, ranks = int.from_bytes(octets[:2], "big"), struct.unpack(">19Q", octets[2:])
    carrying = sorted(sorted(range(19), key=lambda channel: ranks[channel])[:11])
    expected = [0] * 19
    for i, channel in enumerate(carrying):
        expected[channel] = 1 if number >> (15 - i) & 1 else -1
    bits = bound_signature(passport, CAPACITIES, "Zoë", KINDS[before], 11)
    assert torch.cat(list(bits.values())).tolist() == expected
    assert {name: (b.numel(), b.dtype) for name, b in bits.items()} == {
        "conv2": (13, torch.int8), "conv10": (6, torch.int8),
    }  # fmt: skip


def test_a_claim_of_fewer_bits_holds_those_of_its_number_alone(passport):
    signature = bound_signature(passport, CAPACITIES, "Ada", SLOW, 11)
    claim = PassportClaim(passport, signature, thresholds=Thresholds(0.9), owner="Ada", binding=str(SLOW))
    assert claim.marks().numel() == 11
    everywhere = bound_signature(passport, CAPACITIES, "Ada", SLOW)
    fewer = {name: bits * (signature[name] != 0) for name, bits in everywhere.items()}
    moved = {name: bits.flip(0) for name, bits in signature.items()}
    for other in (fewer, moved):
        with pytest.raises(InputError, match="does not follow from passport"):
            replace(claim, signature=other)


def test_everything_it_is_bound_to_changes_it(monkeypatch):
    """The slow hash is left out here: what it is given differs, and the test above computes it."""
    monkeypatch.setattr("ipr.passport.bound.stretched", lambda digest, nonce: digest + nonce)
    passport = {"a": torch.randn(2, 3, 4, 4), "b": torch.randn(2, 5, 2, 2)}
    sizes = {"a": 128, "b": 64}

    def bits(passport=passport, sizes=sizes, owner="Ada", binding=SLOW):
        return torch.cat(list(bound_signature(passport, sizes, owner, binding).values()))

    touched = {n: p.clone() for n, p in passport.items()}
    touched["b"][1, 4, 1, 1] = torch.nextafter(touched["b"][1, 4, 1, 1], torch.tensor(9.0))
    swapped = {"a": passport["b"], "b": passport["a"]}
    reshaped = passport | {"a": passport["a"].reshape(2, 3, 2, 8)}
    others = [bits(touched), bits(swapped), bits(reshaped), bits(owner="Adb"), bits(owner=""),
              bits(binding=Binding(NONCE[::-1])), bits(binding=RELATIVE), bits(binding=FAST),
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
    assert (loaded.owner, loaded.binding, loaded.fingerprint()) == (
        "Ada",
        f"scrypt-17:{NONCE.hex()}",
        claim.fingerprint(),
    )
    assert replace(loaded, thresholds=Thresholds(0.5)).bound


@pytest.mark.parametrize(
    "change",
    [
        lambda c: {"signature": c.signature | {"conv10": -c.signature["conv10"]}},
        lambda c: {"passport": c.passport | {"conv2": c.passport["conv2"] + 1}},
        lambda c: {"passport": {n: p.double() for n, p in c.passport.items()}},
        lambda c: {"owner": "Eve"},
        lambda c: {"binding": f"scrypt-17:{NONCE[::-1].hex()}"},
        lambda c: {"binding": str(RELATIVE)},
        lambda c: {"binding": NONCE.hex()},
        lambda c: {"binding": f"scrypt-16:{NONCE.hex()}"},
        lambda c: {"binding": f"scrypt-17-relative:{NONCE.hex()}\n"},
        lambda c: {"binding": NONCE.hex().upper() + "0"},
        lambda c: {"binding": ""},
    ],
)
@pytest.mark.sampled(3)
def test_a_signature_that_does_not_follow_is_refused(claim, change):
    with pytest.raises(InputError, match="binding"):
        replace(claim, **change(claim))


def test_bare_scales_bind_no_signature(claim, tmp_path):
    """A claim of scales has no binding; one that is written into its folder is refused."""
    claim.with_scales({n: torch.ones(2, b.numel()) for n, b in claim.signature.items()}).save(tmp_path / "claim")
    facts = json.loads((tmp_path / "claim" / "claim.json").read_text())
    assert facts["binding"] is None
    (tmp_path / "claim" / "claim.json").write_text(json.dumps(facts | {"binding": str(SLOW)}))
    with pytest.raises(InputError, match="binds a signature to no passport"):
        load_claim(tmp_path / "claim")


def test_a_forgery_is_another_partys_and_bound_to_nothing(claim):
    forged = claim.forged(signature={n: -b for n, b in claim.signature.items()})
    assert (forged.owner, forged.binding, forged.bound) == ("", None, False)
    assert claim.bound


def test_forgers_of_a_bound_claim_bring_unbound_ones():
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3, padding=1), torch.nn.BatchNorm2d(8)).eval()
    passport = {"0": torch.randn(2, 3, 6, 6)}
    owner = PassportClaim(
        passport, bound_signature(passport, {"0": 8}, "Ada", RELATIVE), thresholds=Thresholds(0.9), owner="Ada",
        binding=str(RELATIVE),
    )  # fmt: skip
    for forged in [*forged_at_random(network, owner, torch.randn(1, 3, 6, 6), 2, 0), claim_of_signs(owner, network)]:
        assert not forged.bound
        assert not forged.relative


def test_a_binding_is_told_and_read_back():
    for before, binding in KINDS.items():
        assert str(binding) == before + NONCE.hex()
        assert Binding.parse(str(binding)) == binding
    assert [Binding.parse(str(b)).says.split(" by ")[1] for b in KINDS.values()] == [
        "a slow hash", "a slow hash, its signs relative to the public scales'", "a fast hash"
    ]  # fmt: skip
    for wrong in ({"nonce": NONCE[:-1]}, {"nonce": NONCE, "slow": False, "relative": True}):
        with pytest.raises(ValueError, match="no binding"):
            Binding(**wrong)


def test_a_claim_of_version_1_is_still_read(passport, tmp_path):
    """As `ipr train` wrote them: 64 digits and nothing before them."""
    signature = bound_signature(passport, CAPACITIES, "Ada", FAST)
    old = PassportClaim(passport, signature, thresholds=Thresholds(0.9), owner="Ada", binding=NONCE.hex())
    old.save(tmp_path / "claim")
    loaded = load_claim(tmp_path / "claim")
    assert loaded.fingerprint() == old.fingerprint()
    assert (loaded.bound, loaded.relative) == (True, False)
    assert loaded.says_of_signature == "bound to passport and owner by a fast hash"


def test_the_slow_hash_is_computed_once(claim):
    stretched.cache_clear()
    for target in (0.1, 0.2, 0.3):
        again = replace(claim, thresholds=Thresholds(target))
    assert again.bound
    assert stretched.cache_info()[:2] == (2, 1)  # found, computed


def test_bits_are_as_likely_as_guesses():
    """3,000 tries of a forger, without the slow hash: how often so many of 64 bits are what he wants."""
    wanted = torch.ones(64, dtype=torch.int8)
    counts = torch.zeros(65)
    for i in range(3000):
        seed = hashlib.sha256(i.to_bytes(4)).digest()
        assert len(seed) == NONCE_BYTES
        counts[int((expanded(seed, {"a": 40, "b": 24})["a"] == wanted[:40]).sum())] += 1
    reached = counts.flip(0).cumsum(0).flip(0)
    for agreeing in (17, 20, 23, 26, 28):
        expected = 3000 * binomial_tail(agreeing, 40)[0]
        assert abs(float(reached[agreeing]) - expected) < 4 * expected**0.5 + 1
