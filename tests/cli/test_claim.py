"""`ipr claim show|check|commit` on the claim of a run."""

import hashlib
import json
import struct
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

TYPES = {"F32": "float32", "I8": "int8", "U8": "uint8", "I64": "int64"}


def hashed(facts: object, path: Path) -> str:
    """The fingerprint of docs/claims.md, from the files alone: no torch, nothing of ours."""
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header, elements = json.loads(content[8 : 8 + length]), content[8 + length :]
    text = json.dumps(facts, sort_keys=True).encode() + b"\n"
    for name, about in sorted(header.items()):
        if name != "__metadata__":
            first, last = about["data_offsets"]
            text += json.dumps([name, TYPES[about["dtype"]], about["shape"]]).encode() + b"\n" + elements[first:last]
    return hashlib.sha256(text).hexdigest()


def test_a_third_party_computes_fingerprint_and_commitment_from_the_files(ipr, tiny, run_folder):
    asked = ("train", *tiny, "scheme=passport_v3", "scheme.bound=true", 'owner="Zoë [red]"', "passport.key=k")
    assert ipr(*asked).code == 0
    folder = run_folder("passport_v3")
    claim = folder / "claim"
    committed = ipr("claim", "commit", f"claim={claim}")
    assert committed.code == 0, committed.err
    digest = committed.out.split()[1]
    opening = json.loads((claim / "commitment.json").read_text())
    assert opening["digest"] == digest
    assert opening["weights"] == hashed({}, folder / "public.safetensors")
    facts = json.loads((claim / "claim.json").read_text())
    fingerprint = hashed(facts, claim / "secrets.safetensors")
    text = b"ipr commitment 1" + bytes.fromhex(opening["nonce"] + fingerprint + opening["weights"])
    assert hashlib.sha256(text).hexdigest() == digest

    shown = ipr("claim", "show", f"claim={claim}")
    assert shown.code == 0
    for words in ("Zoë [red]", "bound to passport and owner", fingerprint, digest, "2 x 96 x 2 x 2 float32"):
        assert words in shown.out
    assert facts["binding"] not in shown.out
    assert opening["nonce"] not in committed.out + shown.out

    before = (claim / "commitment.json").read_bytes()
    again = ipr("claim", "commit", f"claim={claim}", f"weights={folder}/public.safetensors")
    assert again.out == committed.out
    checked = ipr("claim", "check", f"claim={claim}")
    assert (checked.code, checked.err) == (0, "")
    assert f"ok: commitment: {digest} opens" in checked.out

    weights = load_file(folder / "public.safetensors")
    save_file(weights | {"conv1.weight": weights["conv1.weight"] + 1}, "other.safetensors")
    other = ipr("claim", "commit", f"claim={claim}", "weights=other.safetensors")
    assert other.code == 2
    assert "is committed already" in other.err
    # Judged anew with another threshold the claim is another one, and its commitment does not open.
    assert ipr(*asked, "verification.fidelity_threshold=0.2").code == 0
    checked = ipr("claim", "check", f"claim={claim}")
    assert checked.code == 2
    assert "commitment.json does not open to this claim" in checked.err
    assert len(checked.err.splitlines()) == 1
    assert (claim / "commitment.json").read_bytes() == before


def test_what_is_secret_is_not_shown(ipr, tiny, run_folder):
    """Neither text nor bits nor pixels; the names of a hostile claim are not taken for markup."""
    assert ipr("train", *tiny, "scheme=uchida", 'scheme.signature="this is mine"').code == 0
    claim = run_folder("uchida") / "claim"
    facts = json.loads((claim / "claim.json").read_text())
    facts["architecture"] |= {"[/red]": "[bold]"}
    (claim / "claim.json").write_text(json.dumps(facts))
    shown = ipr("claim", "show", f"claim={claim}")
    assert shown.code == 0, shown.err
    assert "256 int8" in shown.out
    assert "[/red]=[bold]" in shown.out
    for secret in ("mine", "[-1", "tensor"):
        assert secret not in shown.out


@pytest.mark.sampled(4)
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], ["claim=???", "must be given"]),
        (["claim=x"], ["verb=", "ipr claim show|check|commit"]),
        (["shwo", "claim=x"], ["verb=shwo", "ipr claim show|check|commit"]),
        (["show"], ["claim=???", "must be given"]),
        (["show", "claim=nowhere"], ["claim=nowhere", "cannot be read"]),
        (["check", "claim=nowhere"], ["claim=nowhere", "cannot be read"]),
        (["commit", "claim=nowhere"], ["claim=nowhere", "cannot be read"]),
        (["claim=x", "show"], ["show", "key=value"]),
        (["show", "clam=x"], ["clam", "did you mean claim"]),
        (["sh{ow", "claim=x"], ["sh{ow"]),
    ],
)
def test_what_is_wrong_is_one_line(ipr, arguments, words):
    outcome = ipr("claim", *arguments)
    assert outcome.code == 2
    (line,) = outcome.err.splitlines()
    assert line.startswith("ipr: error: ")
    assert all(word in line for word in words), line


def test_a_run_without_a_key_is_told_once_and_its_claim_says_so(ipr, tiny, run_folder):
    """A warning of one line for a command, whatever is swept over; none where there is a key or no secret."""
    line = "ipr: warning: secrets follow from the seed: fit for research only; set passport.key for a release"
    sweep = ipr("train", "-m", *tiny, "scheme=baseline,uchida,trigger_set")
    told, trigger_set = sweep.err.splitlines()
    assert (sweep.code, told) == (0, line)
    assert trigger_set.startswith("ipr: warning: trigger_set-")  # that one epoch has not taught
    assert ipr("train", *tiny, "scheme=uchida").err.splitlines() == [line]  # found, and told again
    assert ipr("train", *tiny, "scheme=uchida", "passport.key=k", "paths.runs=keyed").err == ""
    assert ipr("train", *tiny, "scheme=baseline").err == ""

    claim, keyed = run_folder("uchida") / "claim", run_folder("uchida", "keyed") / "claim"
    facts = json.loads((keyed / "claim.json").read_text())
    (seed,) = facts["origin"]["seeds"].values()
    shown = ipr("claim", "show", f"claim={claim}")
    assert (shown.code, shown.err) == (0, "")
    assert "yes: follows from the run's seed, fit for research only" in shown.out
    checked = ipr("claim", "check", f"claim={claim}")
    assert (checked.code, checked.err) == (0, "")
    assert "ok: origin: keyless" in checked.out
    shown, checked = (ipr("claim", verb, f"claim={keyed}") for verb in ("show", "check"))
    assert "uchida watermark" in shown.out
    assert "yes: follows" not in shown.out
    assert "ok: origin: names seeds for: uchida watermark" in checked.out
    assert str(seed) not in shown.out + checked.out
    written = [path for path in Path("keyed").rglob("*") if path.is_file() and path.parent.name != "claim"]
    assert written
    assert not any(str(seed).encode() in path.read_bytes() for path in written)
