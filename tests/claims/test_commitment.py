import hashlib
import json
import stat
from dataclasses import replace

import pytest
import torch

from ipr.claims.base import Thresholds
from ipr.claims.commitment import commit, commit_once, load_commitment, opens, save_commitment
from ipr.errors import InputError
from ipr.passport.claim import PassportClaim


@pytest.fixture
def claim():
    bits = {"conv1": torch.tensor([1, -1, 1, 1], dtype=torch.int8)}
    return PassportClaim({"conv1": torch.randn(2, 3, 4, 4)}, bits, thresholds=Thresholds(0.9), owner="Ada")


WEIGHTS = {"conv1.weight": torch.ones(4, 3, 3, 3, dtype=torch.bfloat16)}


def test_it_is_the_hash_that_is_described(claim):
    made = commit(claim, WEIGHTS)
    head = b'{}\n["conv1.weight", "bfloat16", [4, 3, 3, 3]]\n'
    weights = hashlib.sha256(head + b"\x80\x3f" * 108).digest()
    assert made.weights == weights.hex()
    text = b"ipr commitment 1" + bytes.fromhex(made.nonce) + bytes.fromhex(claim.fingerprint()) + weights
    assert made.digest == hashlib.sha256(text).hexdigest()
    assert len(text) == 16 + 3 * 32


def test_every_commitment_has_a_nonce_of_its_own(claim):
    one, two = commit(claim, WEIGHTS), commit(claim, WEIGHTS)
    assert one.nonce != two.nonce
    assert one.digest != two.digest
    assert one.weights == two.weights


def test_it_opens_to_this_claim_alone(claim):
    made = commit(claim, WEIGHTS)
    assert opens(made, claim)
    others = [
        replace(claim, thresholds=Thresholds(0.9, fidelity=0.04)),
        replace(claim, owner="Eve"),
        replace(claim, signature={n: -b for n, b in claim.signature.items()}),
        replace(claim, passport={n: p + 1 for n, p in claim.passport.items()}),
    ]
    assert not any(opens(made, other) for other in others)
    for name in ("digest", "nonce", "weights"):
        assert not opens(replace(made, **{name: "0" * 64}), claim)


def test_it_lies_in_the_claims_folder_and_is_kept(claim, tmp_path):
    folder = tmp_path / "claim"
    claim.save(folder)
    assert load_commitment(folder) is None
    made = commit_once(folder, claim, WEIGHTS)
    content = (folder / "commitment.json").read_bytes()
    assert stat.S_IMODE((folder / "commitment.json").stat().st_mode) == 0o600
    assert load_commitment(folder) == made == commit_once(folder, claim, WEIGHTS)
    save_commitment(made, folder)
    stricter = replace(claim, thresholds=Thresholds(0.9, fidelity=0.01))
    for other, weights in ((stricter, WEIGHTS), (claim, {"conv1.weight": torch.zeros(1)})):
        with pytest.raises(InputError, match="is committed already"):
            commit_once(folder, other, weights)
    stricter.save(folder)  # other thresholds leave it alone
    assert (folder / "commitment.json").read_bytes() == content
    assert not opens(made, stricter)


@pytest.mark.parametrize(
    "damage",
    [
        lambda path, v: path.write_text("{"),
        lambda path, v: path.write_text("[]"),
        lambda path, v: path.write_text(json.dumps(v | {"schema_version": 2})),
        lambda path, v: path.write_text(json.dumps(v | {"nonce": v["nonce"][:-1]})),
        lambda path, v: path.write_text(json.dumps(v | {"digest": v["digest"].upper() + "\n"})),
        lambda path, v: path.write_text(json.dumps(v | {"weights": 5})),
        lambda path, v: path.write_text(json.dumps({k: v[k] for k in v if k != "weights"})),
        lambda path, v: path.write_text(" " * 5000 + json.dumps(v)),
        lambda path, v: path.rename(path.with_name("x")) and path.symlink_to("x"),
    ],
)
def test_a_damaged_one_is_refused_and_kept(claim, tmp_path, damage):
    folder = tmp_path / "claim"
    claim.save(folder)
    commit_once(folder, claim, WEIGHTS)
    path = folder / "commitment.json"
    damage(path, json.loads(path.read_text()))
    before = path.read_bytes()
    with pytest.raises(InputError) as error:
        commit_once(folder, claim, WEIGHTS)
    assert "\n" not in str(error.value)
    assert path.read_bytes() == before
