"""Watermarks from the command line: trained, recorded, judged, attacked and reported."""

import hashlib
import json
import re
from pathlib import Path

import pytest

from ipr.attacks.base import schemes_of
from ipr.judging.binomial import power_of_ten
from ipr.judging.claim_kinds import load_claim
from ipr.schemes.base import abouts
from ipr.store.record import load_record
from references import BY_IMAGES

WATERMARKS = [scheme for scheme in abouts() if scheme not in (*schemes_of("passport", "adapter"), "baseline")]
FEW = ("trigger_set.size=4", "scheme.epochs=1", "scheme.epsilon=0.1", "trainer.max_epochs=20")


def hashes(folder):
    return {str(p): hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.rglob("*")) if p.is_file()}


def few(scheme):
    if scheme == "deepsigns":
        return ("scheme.images=4",)
    if scheme in schemes_of("fingerprint"):
        return (FEW[0], FEW[3])  # of a network that has learned something
    return FEW[: 4 if scheme == "frontier_stitching" else 1] if scheme in BY_IMAGES else ()


@pytest.mark.sampled(4)
@pytest.mark.parametrize("scheme", WATERMARKS)
def test_a_watermark_is_trained_recorded_and_found_and_its_reading_alone_verifies_nothing(
    scheme, ipr, tiny, run_folder
):
    extra = few(scheme)
    outcome = ipr("train", *tiny, f"scheme={scheme}", *extra, "passport.key=secret-of-mine")
    assert outcome.code == 0, outcome.err
    assert "forged passports" not in outcome.out
    assert ("trigger set" in outcome.out) == (scheme in BY_IMAGES)
    assert ("correlation" in outcome.out) == (scheme in ("deepmarks", "lineage"))
    folder = run_folder(scheme)
    record = load_record(folder / "record.json")
    assert (record.bits_total is None) == (scheme in BY_IMAGES) == (record.trigger_accuracy is not None)
    assert record.accuracy_genuine is record.passport is record.forged is None
    assert (folder / "claim").stat().st_mode & 0o777 == 0o700
    assert "secret-of-mine" not in (folder / "config.yaml").read_text()
    again = ipr("train", *tiny, f"scheme={scheme}", *extra, "passport.key=secret-of-mine")
    assert "found:" in again.out
    sized = ("dataset.image_size=8", "dataset.limit_train=96", "dataset.limit_test=40")
    judge = ("verify", f"suspect={folder}/public.safetensors", f"claim={folder}/claim", *sized)
    assert record.mark_read == (record.p_value <= record.p_value_threshold)
    assert record.consistent == (record.mark_read and record.fidelity_holds)
    for table in (outcome.out, again.out):
        answer = re.search(r"consistent with the claim\W+(yes|no)\b", table)
        assert answer is not None
        assert answer[1] == ("yes" if record.consistent else "no")
    judged = ipr(*judge)  # without a commitment: a watermark that was forged afterwards is read as well
    assert judged.code in (1, 3), judged.err
    assert judged.out.splitlines()[-1] != "verified"
    assert power_of_ten(record.p_value_log10) in judged.out  # the same is read


def test_a_passport_between_adapters_is_judged_with_random_ones_beside_it(ipr, tiny, run_folder):
    outcome = ipr("train", *tiny, "scheme=seal", "passport.key=secret-of-mine")
    assert outcome.code == 0, outcome.err
    assert "forged passports" in outcome.out
    folder = run_folder("seal")
    record = load_record(folder / "record.json")
    assert record.accuracy_genuine is not None
    assert record.forged is not None
    assert record.bits_total == 192
    sized = ("dataset.image_size=8", "dataset.limit_train=96", "dataset.limit_test=40")
    judged = ipr("verify", f"suspect={folder}/public.safetensors", f"claim={folder}/claim", *sized, "forged=3")
    assert judged.code in (1, 3), judged.err
    words = " ".join(judged.out.replace("│", " ").split())
    assert "the best random passport reaches" in words
    assert "adapters: trained, and not drawn" in words


def test_a_text_is_read_back_and_never_shown_in_the_folder(ipr, tiny, run_folder):
    asked = ("train", *tiny, "scheme=uchida", "scheme.signature=mine", "scheme.weight=1", "scheme.bits=40")
    asked += ("passport.key=key-of-tests",)
    outcome = ipr(*asked)
    assert outcome.code == 0, outcome.err
    (line,) = [line for line in outcome.err.splitlines() if line.startswith("ipr: ")]
    assert line.startswith("ipr: warning: ")
    assert "do not use it as a secret" in line
    assert "ipr: " not in ipr(*asked).err  # found
    assert "text read back" in outcome.out
    config = (run_folder("uchida") / "config.yaml").read_text()
    assert "mine" not in config
    assert "<hidden>" in config
    other = ipr("train", *tiny, "scheme=uchida", "scheme.signature=yours", "scheme.weight=1", "scheme.bits=40")
    assert "made:" in other.out


def test_a_trigger_set_that_was_not_learned_is_told_in_a_line_on_stderr(ipr, tiny):
    for epochs, told in ((1, 1), (40, 0)):
        asked = (*(one for one in tiny if "epochs" not in one), f"trainer.max_epochs={epochs}", "trigger_set.size=20")
        for outcome in (ipr("train", *asked, "scheme=trigger_set"), ipr("train", *asked, "scheme=trigger_set")):
            assert outcome.code == 0, outcome.err  # made, and found
            lines = [line for line in outcome.err.splitlines() if "triggers learned: FAILED" in line]
            assert len(lines) == told, outcome.err
            for line in lines:
                assert line.startswith("ipr: warning: trigger_set-")
                assert "each was shown 1.2 times" in line
                assert "more epochs (trainer.max_epochs=1 now)" in line


def test_another_message_is_another_pattern(tiny, run_of):
    sized = (*tiny, "scheme=guo_potkonjak", "trigger_set.size=4")
    for message in ("scheme.signature=one", "scheme.signature=other", "scheme.signature=null"):
        run_of(*sized, message)
    claims = [load_claim(folder / "claim") for folder in sorted(Path("runs/train").glob("guo_potkonjak-*"))]
    assert len({claim.fingerprint() for claim in claims}) == len(claims) == 3
    for folder in Path("runs/train").glob("guo_potkonjak-*"):
        assert "other" not in (folder / "config.yaml").read_text()


def test_frontier_stitching_counts_the_training_of_the_network_it_starts_from(tiny, run_folder, run_of):
    run_of(*tiny, "scheme=frontier_stitching", *FEW)
    plain = load_record(run_folder("baseline") / "record.json")
    tuned = load_record(run_folder("frontier_stitching") / "record.json")
    assert tuned.train_seconds > plain.train_seconds


@pytest.mark.slow
def test_attacks_on_a_watermark_and_their_table(ipr, tiny):
    attacks = "attack=prune,forge_uchida,forge_trigger_set,fake1,overwrite"
    arguments = (*tiny, "attack_epochs=1", "skip_inapplicable=true", "trigger_set.size=4", "tags=[both]")
    trained = (*tiny, "trigger_set.size=4", "tags=[both]", "scheme=uchida,trigger_set")
    assert ipr("train", "-m", *trained).code == 0
    before = hashes(Path("runs/train"))
    outcome = ipr("attack", "-m", *arguments, "scheme=uchida,trigger_set", attacks)
    assert outcome.code == 0, outcome.err
    assert hashes(Path("runs/train")) == before  # no attack touches its victim
    assert "fake1 on uchida: does not apply, because the scheme has no passport" in outcome.out
    (folder,) = Path("runs").glob("attack/forge_uchida-*")
    rows = [json.loads(line) for line in (folder / "rows.jsonl").read_text().splitlines()]
    assert [row["point"] for row in rows] == ["way=gradient", "way=closed_form"]
    for row in rows:
        assert row["bits_agreeing"] == row["bits_total"] == 256
        assert row["attack_succeeded"]
        assert row["iterations"] == (0 if row["point"] == "way=closed_form" else row["iterations"])
        assert row["share_of_training"] > 0
    report = ipr("report", "tag=both")
    assert report.code == 0, report.err
    text = Path("runs/report/both/attacks.md").read_text()
    assert "| forge_uchida | **2/2**; " in text
    assert "n/a (a)" in text
    assert "does not apply, because nothing in it is read by a projection" in text
    (others,) = [line for line in text.splitlines() if line.startswith("Not tried here: ")]
    assert "finetune" in others
    assert len(Path("runs/report/both/attacks.csv").read_text().splitlines()) > 20


@pytest.mark.sampled(5)
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["scheme=uchida", "scheme.layer=conv9"], ["scheme.layer=conv9", "choose among: conv1"]),
        (["scheme=uchida", "scheme.weight=-1"], ["scheme.weight=-1", "negative"]),
        (["scheme=uchida", "scheme.bits=0"], ["scheme.bits=0"]),
        (["scheme=uchida", "scheme.bits=8", "scheme.signature=toolong"], ["scheme.signature", "scheme.bits"]),
        (["scheme=deepmarks", "scheme.order=4"], ["scheme.order=4", "prime"]),
        (["scheme=deepsigns", "scheme.classes=11"], ["scheme.classes=11", "10 classes"]),
        (["scheme=deepsigns", "scheme.images=90"], ["scheme.images=90", "training images of"]),
        (["scheme=deepsigns", "scheme.bits=0"], ["scheme.bits=0"]),
        (["scheme=zhang_content", "trigger_set.size=90"], ["trigger_set.size=90", "training images"]),
        (["scheme=guo_potkonjak", "trigger_set.size=0"], ["trigger_set.size=0", "must be at least 1"]),
        (["scheme=trigger_set", "trigger_set.size=4", "trigger_set.per_step=5"], ["trigger_set.per_step=5"]),
        (["scheme=frontier_stitching", "scheme.epochs=0"], ["scheme.epochs=0"]),
        (["scheme=frontier_stitching", "scheme.lr=0"], ["scheme.lr=0"]),
        (["scheme=frontier_stitching", "scheme.epsilon=0", "trigger_set.size=4"], ["scheme.epsilon=0", "true advers"]),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_in_one_line(arguments, words, ipr, tiny):
    outcome = ipr("train", *tiny, *arguments)
    assert outcome.code == 2, outcome
    lines = [line for line in outcome.err.splitlines() if "begins with a trained plain network" not in line]
    assert len(lines) == 1, outcome.err
    for word in words:
        assert word in lines[0]


def test_keys_of_a_part_of_the_images_are_drawn_again_by_a_judge_who_has_them(ipr, tiny, run_of):
    """Whichever part the judge himself takes: those that the claim names are picked from his own copy."""
    asked = [a for a in tiny if not a.startswith("dataset.limit_train")]
    parted = ("scheme=zhang_content", "trigger_set.size=6", "passport.key=k", "dataset.part=2/3")
    folder = run_of(*asked, *parted, "dataset.limit_train=96")
    sized = ("dataset.image_size=8", "dataset.limit_test=40")
    judge = ("verify", f"suspect={folder}/public.safetensors", f"claim={folder}/claim", *sized)

    def drawn(out: str, *more: str) -> bool | None:
        assert ipr(*judge, *more, f"out={out}").code in (1, 3)
        verdict = json.loads(Path(out, "verdict.json").read_text())
        (found,) = (one["holds"] for one in verdict["conditions"] if one["name"] == "drawn secrets")
        return found

    assert drawn("whole") is True
    assert drawn("parted", "dataset.part=1/2", "dataset.limit_train=50") is True
    told = Path(folder, "claim", "claim.json")
    facts = json.loads(told.read_text())
    told.write_text(json.dumps(facts | {"origin": facts["origin"] | {"part": "1/3"}}))
    assert drawn("other") is False
    told.write_text(json.dumps(facts | {"origin": facts["origin"] | {"part": "2/30"}}))  # holds fewer than 96
    assert drawn("smaller") is None
