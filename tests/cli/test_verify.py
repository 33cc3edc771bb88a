"""`ipr verify`: what it decides, what it writes, and what it refuses."""

import json
import os
import subprocess
import sys
from dataclasses import replace
from importlib import resources
from pathlib import Path

import jsonschema
import pytest
import torch
from safetensors.torch import load_file

from inference_server import serving
from ipr.claims.commitment import commit, save_commitment
from ipr.data.images import LabelledImages
from ipr.judging.claim_kinds import load_claim
from ipr.watermarks.key_images import answers as key_answers
from one_line import assert_one_line

SCHEMA = json.loads((resources.files("ipr.reports") / "assets" / "verdict.schema.json").read_text())


def read(folder="runs/verdicts/*"):
    (path,) = Path().glob(f"{folder}/verdict.json")
    facts = json.loads(path.read_text())
    jsonschema.validate(facts, SCHEMA)
    return facts


def condition(facts, name):
    (found,) = (one for one in facts["conditions"] if one["name"] == name)
    return found


def test_a_verdict_tells_everything_but_secrets(ipr, owner):
    outcome = ipr(*owner)
    assert outcome.code == 0, outcome.err
    assert outcome.out.splitlines()[-1] == "verified"
    facts = read()
    assert facts["decision"] == "verified"
    assert facts["suspect"]["format"] == "safetensors"
    claim = load_claim(Path("owned/claim"))
    assert facts["claim"]["fingerprint"] == claim.fingerprint()
    signature = facts["signature"]
    assert (signature["agreeing"], signature["total"]) == (224, 224)
    assert signature["p_value_log10"] == pytest.approx(-224 * 0.30102999566398, rel=1e-9)
    assert [layer["total"] for layer in signature["layers"]] == [96, 64, 64]
    assert facts["fidelity"]["holds"]
    assert facts["forged"]["count"] == 3
    assert facts["trigger_set"]["total"] == 40
    assert facts["data"] == {**facts["data"], "name": "digits", "images": 40}
    (folder,) = Path("runs/verdicts").iterdir()
    assert folder.stat().st_mode & 0o777 == 0o700
    page = (folder / "verdict.html").read_text()
    for text in (page, (folder / "verdict.json").read_text()):
        assert "hush" not in text
        assert claim.signature["conv3"].tolist().__repr__()[1:40] not in text
        assert str(Path.cwd()) not in text
    assert "hush" in outcome.out  # on the owner's terminal
    for word in ("verified", facts["claim"]["fingerprint"], facts["suspect"]["sha256"], "commitment", "ipr verify"):
        assert word in page
    assert "http" not in page.replace("http-equiv", "")


@pytest.mark.system
def test_the_same_input_gives_the_same_bytes_but_for_the_date(ipr, owner):
    assert ipr(*owner, "out=here").code == 0
    other = [sys.executable, "-c", "from ipr.cli import main; main()", *owner, "out=there"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    assert subprocess.run(other, env=environment, capture_output=True, timeout=300).returncode == 0
    one, same = ((Path(name) / "verdict.json").read_bytes().split(b"\n", 2) for name in ("here", "there"))
    assert one[1].startswith(b'  "date": ')
    assert (one[0], one[2]) == (same[0], same[2])
    before = Path("here/verdict.json").read_bytes()
    assert ipr(*owner, "out=here").code == 0
    assert Path("here/verdict.json").read_bytes() == before  # found, its date with it
    assert_one_line(ipr(*owner, "out=here", "tried=2"), "out=here/verdict.json", "another document")
    assert Path("here/verdict.json").read_bytes() == before


def test_tries_are_paid_for_and_names_are_text(ipr, owner):
    replace(load_claim(Path("owned/claim")), owner="<b>Ann</b>").save(Path("named"))
    judge = [a for a in owner if not a.startswith("claim=")]
    assert ipr(*judge, "claim=named", "tried=1000", "out=judged").code == 0
    facts = read("judged")
    assert facts["claim"]["owner"] == "<b>Ann</b>"
    assert "&lt;b&gt;Ann&lt;/b&gt;" in Path("judged/verdict.html").read_text()
    assert facts["tried"] == facts["signature"]["tried"] == 1000
    assert facts["signature"]["corrected_p_value_log10"] == pytest.approx(facts["signature"]["p_value_log10"] + 3)


def test_a_commitment_counts_if_it_was_registered_in_time(ipr, owner):
    required = (*owner, "rule.commitment=required")
    assert ipr(*required, "out=none").code == 3
    assert condition(read("none"), "commitment")["value"] == "none"
    claim = load_claim(Path("owned/claim"))
    save_commitment(commit(claim, load_file("owned/public.safetensors")), Path("owned/claim"))
    digest = json.loads(Path("owned/claim/commitment.json").read_text())["digest"]
    days = ("commitment.registered=2026-01-31", "commitment.released=2026-02-01")
    assert ipr(*required, f"commitment.digest={digest}", *days, "out=good").code == 0
    facts = read("good")
    assert facts["commitment"]["same_weights"] is True
    assert facts["commitment"]["registered"] == "2026-01-31"
    late = "commitment.registered=2026-02-02"
    assert ipr(*required, f"commitment.digest={digest}", late, days[1], "out=late").code == 1
    assert condition(read("late"), "commitment")["value"] == "not registered before the release"
    assert ipr(*required, f"commitment.digest={'0' * 64}", *days, "out=other").code == 1
    same = ("commitment.registered=2026-02-01", f"commitment.digest={digest}", days[1])
    assert ipr(*required, *same, "out=same-day").code == 1
    assert ipr(*owner, f"commitment.digest={digest}", late, days[1], "out=reported").code == 0


def test_claims_of_forgers_are_refused(ipr, owner):
    """Random passports with the signature they spell; bare scales that work; a signature of one's own."""
    claim = load_claim(Path("owned/claim"))
    network = plain("owned/public.safetensors")
    source = torch.Generator().manual_seed(0)
    passport = {name: torch.rand(maps.shape, generator=source) * 2 - 1 for name, maps in claim.passport.items()}
    random = claim.forged(passport=passport)
    with torch.no_grad():
        spelled = {n: ((g[0] > 0) * 2 - 1).to(torch.int8) for n, (g, _) in random.affines(network).items()}
        scales = {n: torch.cat(pair) for n, pair in claim.affines(network).items()}
    free = {"text_bytes": 0, "triggers": None}
    flipped = {name: -bits for name, bits in claim.signature.items()}
    for name, forged, fails in (
        ("fake1", replace(random, signature=spelled, **free), ["fidelity"]),
        ("scales", claim.with_scales(scales, **free), ["passport"]),
        ("signature", claim.forged(signature=flipped, **free), ["signature"]),
    ):
        forged.save(Path(name))
        outcome = ipr(*(f"claim={name}" if a.startswith("claim=") else a for a in owner), f"out=of-{name}")
        assert outcome.code == 1, outcome.err
        assert outcome.out.splitlines()[-1] == "not verified"
        facts = read(f"of-{name}")
        assert [one["name"] for one in facts["conditions"] if one["required"] and not one["holds"]] == fails


def plain(path):
    from ipr.models import build_model

    network = build_model("alexnet", norm="bn", width=0.25, channels_in=1, image_size=8, num_classes=10)
    network.load_state_dict(load_file(path))
    return network


@pytest.mark.sampled(4)
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["tried=0"], ["tried=0", "at least 1"]),
        (["forged=-1"], ["forged=-1", "must not be negative"]),
        (["rule.null=maybe"], ["rule.null=maybe", "auto, required or reported"]),
        (["rule.networks=0"], ["rule.networks=0"]),
        (["commitment.digest=12ab"], ["commitment.digest=12ab", "64 hexadecimal digits"]),
        (["commitment.released=tomorrow"], ["commitment.released=", "tomorrow", "YYYY-MM-DD"]),
        (["calibration=nothing.json"], ["calibration=nothing.json", "cannot be read", "ipr calibrate"]),
        (["dataset.image_size=16"], ["dataset.image_size=16", "give dataset.image_size=8"]),
        (["dataset=digits_parity"], ["dataset=2", "10 classes"]),
        (["out=/dev/null/here"], ["out=/dev/null/here", "cannot be written"]),
    ],
)
def test_what_cannot_be_judged_is_one_line_and_writes_nothing(ipr, owner, arguments, words):
    assert_one_line(ipr(*(a for a in owner if a.split("=")[0] != arguments[0].split("=")[0]), *arguments), *words)
    assert not Path("runs").exists()


JUDGED = ("dataset.image_size=8", "dataset.limit_test=40")


@pytest.mark.system
def test_a_black_box_is_judged_by_its_answers_a_commitment_and_a_null(ipr, owner, digits):
    """No weights are opened: what is asked for is the address, and no fidelity is measured."""
    network = plain("owned/public.safetensors").eval()

    def answers(images):
        with torch.no_grad():
            return network(torch.from_numpy(images)).numpy()

    claim = load_claim(Path("owned/claim"))
    save_commitment(commit(claim, load_file("owned/public.safetensors")), Path("owned/claim"))
    digest = json.loads(Path("owned/claim/commitment.json").read_text())["digest"]
    committed = (f"commitment.digest={digest}", "commitment.registered=2026-01-01", "commitment.released=2026-01-02")
    few = (
        "networks=2",
        "wrong=6",
        "rate=0.5",
        "rule.fidelity=0.2",
        "trainer.max_epochs=1",
        "trainer.accelerator=cpu",
        "out=known",
    )
    assert ipr("calibrate", "claim=owned/claim", *JUDGED, *few).code == 0
    with serving(answers, [-1, 1, 8, 8]) as server:
        judge = (*(a for a in owner if not a.startswith(("suspect=", "forged="))), f"suspect={server.url}")
        judge = [a for a in judge if a != "rule=paper"]
        assert ipr(*judge, "endpoint.test_images=20", "out=alone").code == 3
        assert len(server.sizes) == 2
        whole = (*judge, *committed, "rule.drawn=reported", "calibration=known/calibration.json", "rule.networks=2")
        outcome = ipr(*whole, "endpoint.test_images=20", "out=judged")
    facts = read("judged")
    found = facts["trigger_set"]
    images = LabelledImages(claim.triggers.pixels, claim.triggers.labels, digits.mean, digits.std)
    expected = (key_answers(network, images) == claim.triggers.labels).sum()
    assert found["agreeing"] == int(expected)
    assert facts["suspect"] == {
        "kind": "black box", "format": None, "sha256": None, "weights_digest": None, "alignments": 1, "way": None,
        "url": server.url, "queries": 60,
    }  # fmt: skip
    assert facts["signature"] is facts["fidelity"] is facts["forged"] is None
    assert facts["data"]["images"] == 20
    assert facts["accuracy"] > 0.5
    assert condition(facts, "fidelity")["holds"] is None
    assert {one["name"] for one in facts["conditions"] if one["required"]} == {
        "trigger set", "key", "commitment", "independent networks", "null",
    }  # fmt: skip
    assert outcome.code == (0 if found["corrected_p_value_log10"] <= found["threshold_log10"] else 1)
    assert outcome.code == 0, found
    assert "black box" in Path("judged/verdict.html").read_text()
