"""`ipr calibrate`: independent networks and wrong claims, and what `ipr verify` makes of them."""

import json
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from scipy import stats

from ipr.claims.base import Thresholds
from ipr.claims.commitment import commit, save_commitment
from ipr.judging.calibration_file import KIND, seal_calibration
from ipr.judging.claim_kinds import load_claim
from ipr.judging.signing import envelope_text, judge_key, keyid, make_key, public_key, read_envelope, seal, unseal
from ipr.judging.wrong_claims import WRONG
from ipr.watermarks.key_images import TriggerSetClaim
from ipr.workflows.missed_claims import changes
from one_line import assert_one_line

JUDGE = "IPR_JUDGE_KEY"


def sealed(name, facts):
    """A calibration that this judge seals, whatever it says."""
    Path(name).write_text(json.dumps(facts))
    Path(name).with_suffix(".dsse.json").unlink(missing_ok=True)
    seal_calibration(Path(name), judge_key(Path(os.environ[JUDGE])))
    return f"calibration={name}"


FEW = (
    "calibrate", "claim=owned/claim", "dataset.image_size=8", "dataset.limit_test=40", "optimizer.batch_size=64",
    "trainer.max_epochs=3", "trainer.accelerator=cpu", "networks=3", "wrong=12", "rate=0.5", "copies=1",
    "rule.fidelity=0.2", "processes=1",
)  # fmt: skip


@pytest.mark.slow
def test_a_calibration_counts_and_is_used(ipr, owner):
    outcome = ipr(*FEW, "suspect=owned/public.safetensors")
    assert outcome.code == 0, outcome.err
    (path,) = Path("runs/calibration").glob("passport-*/calibration.json")
    assert path.parent.stat().st_mode & 0o777 == 0o700
    facts = json.loads(path.read_text())
    rows = {(row["evidence"], row["kind"], row["suspects"]): row for row in facts["wrong"]}
    signatures = [name for name, kind in WRONG.items() if kind.evidence == "signature"]
    assert set(rows) == {
        *(("signature", kind, sort) for kind in signatures for sort in ("independent", "marked")),
        *(("images", "another_trigger_set", sort) for sort in ("independent", "marked")),
        *((evidence, "genuine", "independent") for evidence in ("signature", "images")),
    }
    counted = [row for row in rows.values() if row["kind"] == "genuine" or WRONG[row["kind"]].dated]
    assert all(row["verified"] == 0 for row in counted)
    assert rows["signature", "spelled", "marked"]["most_agreeing"] == 224  # whatever it spells is read
    assert rows["signature", "spelled", "marked"]["faithful"] == 0
    same = rows["signature", "another_signature", "marked"]
    assert same["faithful"] == same["judged"]  # the genuine passport keeps fidelity; the bits do not agree
    assert same["most_agreeing"] < 150
    spelled = rows["signature", "lifted", "marked"]
    assert (spelled["consistent"], spelled["verified"]) == (spelled["judged"], 0)  # what refuses it is its date
    missed = {(row["change"], row["evidence"]): row for row in facts["missed"]}
    assert {change for change, _ in missed} == set(changes(1))
    free = [missed[change, "signature"] for change in ("turned", "permuted", "rescaled")]
    assert all(row["missed"] == 0 and row["fewest_agreeing"] >= 222 for row in free)
    for row in missed.values():
        assert row["lower"] <= row["missed"] / row["judged"] <= row["upper"]
    for rate in facts["rates"]:
        judged = sum(row["judged"] for row in counted if row["evidence"] == rate["evidence"])
        assert rate["judged"] == judged >= 12
        assert rate["upper"] == pytest.approx(1 - 0.05 ** (1 / judged))
    null = facts["null"]
    assert len(null["agreeing"]) == len(facts["networks"]) == len(set(facts["networks"])) == 3
    worst = max(null["agreeing"])
    assert null["rate"] == pytest.approx(stats.beta.ppf(1 - 0.01 / 3, worst + 1, 40 - worst), rel=1e-9)
    assert "hush" not in path.read_text()
    table = path.with_name("calibration.md").read_text()
    assert table.strip() in outcome.out
    judge = public_key(Path(os.environ[JUDGE]))
    envelope = path.with_name("calibration.dsse.json")
    assert unseal(read_envelope(envelope), KIND, judge) == path.read_bytes()
    assert keyid(judge) in outcome.out
    assert Path(os.environ[JUDGE]).stat().st_mode & 0o777 == 0o600
    seen = envelope.read_bytes()
    trained = sorted(Path("runs/train").iterdir())
    before = {folder: (folder / "record.json").read_bytes() for folder in trained}
    again = ipr(*FEW, "suspect=owned/public.safetensors")
    assert f"written: {path}" in again.out  # the same networks are found, and the same comes out
    assert {folder: (folder / "record.json").read_bytes() for folder in Path("runs/train").iterdir()} == before
    assert envelope.read_bytes() == seen

    assert ipr(*owner, f"calibration={path}", "rule.null=required", "rule.networks=3", "out=judged").code == 0
    verdict = json.loads(Path("judged/verdict.json").read_text())
    assert verdict["trigger_set"]["null"]["most_agreeing"] == worst
    assert ipr(*owner, f"calibration={path}", "rule.null=required", "out=few").code == 3  # 20 networks are asked for

    load_claim(Path("owned/claim")).forged(text_bytes=0).save(Path("other"))
    others = [a for a in owner if not a.startswith("claim=")]
    assert_one_line(ipr(*others, "claim=other", f"calibration={path}"), "calibration=", "another claim")
    more = [a for a in owner if not a.startswith("dataset.limit_test")]
    moved = sealed("moved.json", facts | {"data_fingerprint": "0"})
    assert_one_line(ipr(*more, moved), "calibration=moved.json", "other images")
    for damage in (
        {"null": {"agreeing": [101], "total": 100, "choices": 10}},
        {"seed": "x"},
        {"rates": [{}]},
        {"schema_version": 9},
    ):
        damaged = sealed("damaged.json", facts | damage)
        assert_one_line(ipr(*owner, damaged), "calibration=damaged.json", "is damaged")


def test_only_the_judges_own_calibration_counts(ipr, owner, monkeypatch):
    """Not one that a claimant wrote, sealed himself, took from another file, or changed."""
    claim = load_claim(Path("owned/claim"))
    made = {"claim": claim.fingerprint(), "schema_version": 1}  # whatever it says: the seal is looked at first
    Path("mine").mkdir()
    path = Path("mine/calibration.json")
    path.write_text(json.dumps(made))
    asked = (*owner, f"calibration={path}")
    with monkeypatch.context() as patch:  # a judge who never calibrated
        patch.setenv(JUDGE, "none/judge.pem")
        assert_one_line(ipr(*asked), f"calibration={path}", "who has no key yet", "ipr calibrate")
        assert not Path("none").exists()
    judge = judge_key(Path(os.environ[JUDGE]))
    who = keyid(judge.public_key())[:16]
    refused = (f"calibration={path}", f"was not made by this judge (key {who}", "make it yourself with ipr calibrate")
    assert_one_line(ipr(*asked), *refused, "calibration.dsse.json cannot be read")
    envelope, claimant = path.with_name("calibration.dsse.json"), make_key(Path("claimant.pem"))
    theirs = seal(path.read_bytes(), KIND, claimant)
    as_mine = theirs | {"signatures": [{**theirs["signatures"][0], "keyid": keyid(judge.public_key())}]}
    for content, words in (
        (theirs, "is sealed with the key"),
        (as_mine, "its signature does not fit"),
        (seal(path.read_bytes(), "application/vnd.in-toto+json", judge), "not application/vnd.ipr.calibration+json"),
    ):
        envelope.write_bytes(envelope_text(content))
        assert_one_line(ipr(*asked), *refused, words)
    envelope.write_bytes(envelope_text(seal(b"{}", KIND, judge)))
    assert_one_line(ipr(*asked), f"calibration={path}", "is not what this judge sealed", "holds other bytes")
    envelope.unlink()
    envelope.symlink_to("/dev/zero")
    assert_one_line(ipr(*asked), *refused)
    assert not Path("runs").exists()  # nothing was judged


def test_a_bad_key_is_told_before_anything_is_trained(ipr, owner, monkeypatch):
    Path("judge.pem").write_text("hello")
    Path("judge.pem").chmod(0o600)
    monkeypatch.setenv(JUDGE, "judge.pem")
    assert_one_line(ipr(*FEW), "paths.judge=judge.pem", "holds no private key")
    assert not Path("runs").exists()
    assert Path("judge.pem").read_text() == "hello"


@pytest.mark.slow
def test_images_that_every_network_answers_so_are_not_claimed(ipr, owner, digits):
    """A forger in time: ordinary images under the labels that networks give them anyway, committed to."""
    pixels, labels = digits.test_pixels[40:140], digits.test_labels[40:140]
    architecture = load_claim(Path("owned/claim")).architecture
    forged = TriggerSetClaim(
        pixels=pixels, labels=labels, choices=10, thresholds=Thresholds(0.9), architecture=architecture
    )
    forged.save(Path("forged"))
    save_commitment(commit(forged, load_file("owned/public.safetensors")), Path("forged"))
    digest = json.loads(Path("forged/commitment.json").read_text())["digest"]
    judge = [a for a in owner if not a.startswith("claim=") and a != "rule=paper"]
    judge += ["claim=forged", f"commitment.digest={digest}", "rule.networks=3", "rule.drawn=reported"]
    judge += ["commitment.registered=2026-01-01", "commitment.released=2026-01-02"]
    assert ipr(*judge, "out=bare").code == 3
    assert ipr(*judge, "rule.null=reported", "out=fooled").code == 0  # a guess among ten explains nothing
    few = [a for a in FEW if not a.startswith("claim=")]
    assert ipr(*few, "claim=forged", "out=known").code == 0
    assert ipr(*judge, "calibration=known/calibration.json", "rule.null=reported", "out=asked").code == 1
    verdict = json.loads(Path("asked/verdict.json").read_text())
    assert [one["name"] for one in verdict["conditions"] if one["required"] and not one["holds"]] == [
        "trigger set", "independent networks",
    ]  # fmt: skip
    assert verdict["trigger_set"]["p_guess_log10"] < -50


@pytest.mark.sampled(5)
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["networks=0"], ["networks=0", "independent=[FILE]"]),
        (["networks=-1"], ["networks=-1"]),
        (["processes=0"], ["processes=0", "at least 1"]),
        (["wrong=0"], ["wrong=0"]),
        (["rate=0"], ["rate=0"]),
        (["rule=paper"], ["rule.name=paper", "rule=sound"]),
        (["rate=1"], ["rate=1"]),
        (["claim=nowhere"], ["claim=nowhere"]),
        (["dataset.image_size=16"], ["dataset.image_size=16"]),
        (["suspect=nowhere"], ["suspect=nowhere"]),
        (["independent=[nowhere]", "networks=0"], ["nowhere"]),
        (["independent=[owned/public.safetensors]", "suspect=owned/public.safetensors", "networks=0"], ["given twice"]),
        (["trainer.max_epochs=0"], ["trainer.max_epochs=0"]),
    ],
)
def test_what_cannot_be_calibrated_is_one_line(ipr, owner, arguments, words):
    names = {argument.split("=")[0] for argument in arguments}
    assert_one_line(ipr(*(a for a in FEW if a.split("=")[0] not in names), *arguments), *words)
    assert not Path("runs").exists()  # nothing was trained for it


def test_networks_of_others_may_be_given(ipr, owner):
    weights = load_file("owned/public.safetensors")
    torch.manual_seed(1)
    save_file({name: torch.randn_like(w) if w.ndim > 1 else w for name, w in weights.items()}, "stranger")
    asked = [a for a in FEW if not a.startswith("networks=")]
    assert ipr(*asked, "networks=0", "independent=[stranger]", "out=given").code == 0
    facts = json.loads(Path("given/calibration.json").read_text())
    assert len(facts["networks"]) == 1
    assert not Path("runs/train").exists()
    rows = {row["kind"]: row["judged"] for row in facts["wrong"] if row["evidence"] == "signature"}
    assert "elsewhere" not in rows  # there is no other network to draw it from; the other kinds make up for it
    assert sum(rows[name] for name in rows if name == "genuine" or WRONG[name].dated) >= 12


def test_run_folders_are_asked_and_those_of_another_architecture_for_images_alone(ipr, owner, tiny):
    plain = ("train", *tiny, "scheme=baseline", "paths.runs=others")
    assert ipr(*plain, "model=resnet18", "model.width=0.0625").code == 0
    assert ipr(*plain, "seed=5").code == 0
    (resnet,), (alexnet,) = (list(Path("others/train").glob(f"*{name}*")) for name in ("resnet18", "alexnet"))
    asked = [a for a in FEW if not a.startswith("networks=")]
    asked += ["networks=0", "suspect=owned/public.safetensors", "copies=0"]
    assert ipr(*asked, f"independent=[{resnet},{alexnet}]", "out=both").code == 0
    facts = json.loads(Path("both/calibration.json").read_text())
    judged = {(row["evidence"], row["kind"], row["suspects"]): row["judged"] for row in facts["wrong"]}
    assert judged["images", "genuine", "independent"] == len(facts["null"]["agreeing"]) == len(facts["networks"]) == 2
    assert judged["signature", "genuine", "independent"] == 1
    assert judged["signature", "elsewhere", "marked"] > 0  # drawn from the one independent network of its architecture
    assert ("signature", "elsewhere", "independent") not in judged
    assert ipr(*asked, f"independent=[{resnet}]", "out=one").code == 0
    facts = json.loads(Path("one/calibration.json").read_text())
    assert len(facts["networks"]) == len(facts["null"]["agreeing"]) == 1
    assert {row["suspects"] for row in facts["wrong"] if row["kind"] != "genuine"} == {"marked"}
    (alexnet / "config.yaml").write_text("model: [")
    assert_one_line(ipr(*asked, f"independent=[{alexnet}]", "out=bad"), "independent=", "is no run folder")


def test_a_judges_networks_are_trained_on_images_that_the_owner_did_not_have(ipr, owner, digits):
    few = [a for a in FEW if not a.startswith(("networks=", "trainer.max_epochs"))]
    few += ["networks=1", "trainer.max_epochs=1", "copies=0"]
    assert ipr(*few, "dataset.part=2/2", "out=parted").code == 0
    (folder,) = Path("runs/train").iterdir()
    assert json.loads((folder / "record.json").read_text())["train_images"] == 718
    facts = json.loads(Path("parted/calibration.json").read_text())
    assert facts["data_fingerprint"] == digits.fingerprint  # so that it counts for whoever judges on the test images
