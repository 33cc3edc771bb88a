"""`ipr verify sign=` and `ipr verdict`: what a judge signs, and what anybody can check of it."""

import base64
import hashlib
import json
from pathlib import Path

import pytest

from ipr.judging.claim_kinds import load_claim
from ipr.judging.signing import envelope_text, keyid, load_key, make_key, public_key, public_pem, seal
from ipr.reports.signed_verdict import KIND, PREDICATE, STATEMENT, statement
from one_line import assert_one_line

CHECK = ("verdict", "check", "envelope=out/verdict.dsse.json", "key=judge.pub.pem")


@pytest.fixture
def signed(ipr, owner):
    """A signed verdict in `out`, of a judge whose key is `judge.pem`; what `ipr verify` said."""
    made = ipr("verdict", "key", "key=judge.pem")
    assert made.code == 0, made.err
    return ipr(*owner, "sign=judge.pem", "out=out")


def test_a_verdict_is_signed_and_checked(ipr, owner, signed):
    assert signed.code == 0, signed.err
    who = keyid(load_key(Path("judge.pem")).public_key())
    assert f"signed:  out/verdict.dsse.json with the key {who}" in signed.out
    envelope, verdict = Path("out/verdict.dsse.json"), json.loads(Path("out/verdict.json").read_text())
    found = json.loads(base64.b64decode(json.loads(envelope.read_text())["payload"]))
    weights = hashlib.sha256(Path("owned/public.safetensors").read_bytes()).hexdigest()
    fingerprint = load_claim(Path("owned/claim")).fingerprint()
    assert found == {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [
            {"name": "suspect", "digest": {"sha256": weights}},
            {"name": "claim", "digest": {"sha256": fingerprint}},
        ],
        "predicateType": "https://ipr.invalid/verdict/v1",
        "predicate": verdict,
    }
    assert "hush" not in envelope.read_text() + base64.b64decode(json.loads(envelope.read_text())["payload"]).decode()

    for suspect in ((), ("suspect=owned/public.safetensors",)):
        checked = ipr(*CHECK, *suspect)
        assert (checked.code, checked.err) == (0, "")
        for words in (who, verdict["decision"], verdict["date"], weights, fingerprint, "networks=20"):
            assert words in checked.out
    assert ipr(*CHECK[:3], "key=judge.pem").code == 0  # a private key holds the public one

    before = envelope.read_bytes()
    assert ipr(*owner, "sign=judge.pem", "out=out").code == 0  # the same verdict, the same signature
    assert envelope.read_bytes() == before
    make_key(Path("other.pem"))
    refused = ipr(*owner, "sign=other.pem", "out=out")
    assert_one_line(refused, "out=out/verdict.dsse.json", "another content")
    assert envelope.read_bytes() == before


def test_a_verdict_of_no_is_signed_too(ipr, owner):
    assert ipr("verdict", "key", "key=judge.pem").code == 0
    assert ipr(*owner, "rule.commitment=required", "sign=judge.pem", "out=out").code != 0
    checked = ipr(*CHECK)
    assert checked.code == 0  # the seal holds; that it says no is no fault of it
    assert json.loads(Path("out/verdict.json").read_text())["decision"] in checked.out


def resealed(change, key="judge.pem", kind=KIND):
    """The envelope again, with what was signed changed, by whoever has the key."""
    verdict = json.loads(Path("out/verdict.json").read_text())
    payload = json.dumps(change(statement(verdict))).encode()
    Path("out/verdict.dsse.json").write_bytes(envelope_text(seal(payload, kind, load_key(Path(key)))))


def test_what_does_not_hold_is_one_line(ipr, signed):
    envelope = Path("out/verdict.dsse.json")
    right = envelope.read_bytes()
    make_key(Path("mallory.pem"))
    Path("mallory.pub.pem").write_bytes(public_pem(public_key(Path("mallory.pem"))))
    assert_one_line(ipr(*CHECK[:3], "key=mallory.pub.pem"), f"envelope={envelope}", "is sealed with the key")
    forged = json.loads(right)
    verdict = json.loads(base64.b64decode(forged["payload"]))
    verdict["predicate"]["claim"]["owner"] = "Mallory"
    forged["payload"] = base64.b64encode(json.dumps(verdict).encode()).decode()
    envelope.write_text(json.dumps(forged))
    assert_one_line(ipr(*CHECK), f"envelope={envelope}", "was changed")
    resealed(lambda found: found, key="mallory.pem")
    assert_one_line(ipr(*CHECK), f"envelope={envelope}", "is sealed with the key")
    resealed(lambda found: found, kind="application/json")
    assert_one_line(ipr(*CHECK), f"envelope={envelope}", "not application/vnd.in-toto+json")
    for change in (
        lambda found: found | {"subject": found["subject"][::-1]},
        lambda found: found | {"subject": [{"name": "suspect", "digest": {"sha256": "0" * 64}}, found["subject"][1]]},
        lambda found: found | {"_type": "https://in-toto.io/Statement/v0.1"},
        lambda found: found | {"predicateType": "https://slsa.dev/provenance/v1"},
        lambda found: found | {"note": "believe me"},
        lambda found: found | {"predicate": None},
        lambda found: found | {"predicate": {**found["predicate"], "rule": "none"}},
        lambda found: {**found, "predicate": {k: v for k, v in found["predicate"].items() if k != "date"}},
        lambda found: [found],
        lambda found: "verified",
    ):
        resealed(change)
        assert_one_line(ipr(*CHECK), f"envelope={envelope}", "holds no verdict")
    envelope.write_bytes(right)
    assert ipr(*CHECK).code == 0
    weights = Path("owned/public.safetensors").read_bytes()
    Path("other.safetensors").write_bytes(weights[:-1] + bytes([weights[-1] ^ 1]))
    assert_one_line(ipr(*CHECK, "suspect=other.safetensors"), "suspect=other.safetensors", "is not what was judged")
    assert_one_line(ipr(*CHECK, "suspect=nowhere"), "suspect=nowhere", "cannot be read")


def test_a_black_box_has_no_digest():
    verdict = {"suspect": {"sha256": None, "url": "http://x"}, "claim": {"fingerprint": "f"}}
    assert statement(verdict) == {
        "_type": STATEMENT,
        "subject": [{"name": "claim", "digest": {"sha256": "f"}}],
        "predicateType": PREDICATE,
        "predicate": verdict,
    }


def test_the_verdict_on_a_black_box_is_of_no_file(ipr, signed):
    def answers(found):
        verdict = found["predicate"]
        return statement(verdict | {"suspect": verdict["suspect"] | {"sha256": None, "url": "http://127.0.0.1/v2"}})

    resealed(answers)
    checked = ipr(*CHECK)
    assert checked.code == 0, checked.err
    assert "http://127.0.0.1/v2" in checked.out
    assert_one_line(
        ipr(*CHECK, "suspect=owned/public.safetensors"), "suspect=", "about the answers of http://127.0.0.1"
    )


def test_a_key_that_cannot_sign_is_told_before_anything_is_judged(ipr, owner):
    assert_one_line(ipr(*owner, "sign=nowhere.pem", "out=out"), "sign=nowhere.pem", "cannot be read")
    make_key(Path("judge.pem"))
    Path("judge.pem").chmod(0o644)
    assert_one_line(ipr(*owner, "sign=judge.pem", "out=out"), "sign=judge.pem", "by others")
    assert not Path("out").exists()


def test_keys_are_made_once(ipr, monkeypatch):
    monkeypatch.setenv("IPR_JUDGE_KEY", "own/judge.pem")
    for arguments, path in (((), "own/judge.pem"), (("key=more/of.pem",), "more/of.pem")):
        made = ipr("verdict", "key", *arguments)
        assert made.code == 0, made.err
        before = Path(path).read_bytes()
        public = Path(path).with_suffix(".pub.pem")
        assert public.read_bytes() == public_pem(load_key(Path(path)).public_key())
        assert keyid(public_key(public)) in made.out
        assert str(public) in made.out
        assert ipr("verdict", "key", *arguments).out == made.out
        assert Path(path).read_bytes() == before
        assert before.splitlines()[1].decode() not in made.out
    Path("own/judge.pub.pem").write_text("another")
    assert_one_line(ipr("verdict", "key"), "own/judge.pub.pem", "another content")
    assert Path("own/judge.pub.pem").read_text() == "another"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], ["verb=", "ipr verdict check|key"]),
        (["chekc"], ["verb=chekc", "ipr verdict check|key"]),
        (["check"], ["envelope=null", "must be given"]),
        (["check", "envelope=x"], ["key=null", "must be given"]),
        (["check", "envelope=nowhere", "key=nowhere"], ["key=nowhere", "cannot be read"]),
        (["check", "envelop=x"], ["envelop", "did you mean envelope"]),
        (["key", "key=."], ["key=."]),
    ],
)
def test_what_is_wrong_is_one_line(ipr, arguments, words):
    assert_one_line(ipr("verdict", *arguments), *words)
    assert not [*Path().iterdir()]
