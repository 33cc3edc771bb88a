"""`ipr attack`, from the command line to its rows."""

import csv
import hashlib
import json
import runpy
from pathlib import Path

import pytest
import torch

from ipr.judging.claim_kinds import load_claim
from one_line import assert_one_line


def hashes(folder):
    return {str(p): hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.rglob("*")) if p.is_file()}


def rows(folder):
    return [json.loads(line) for line in (folder / "rows.jsonl").read_text().splitlines()]


def attacked(name, scheme):
    (folder,) = Path("runs").glob(f"attack/{name}-{scheme}-*")
    return folder


def test_a_sweep_trains_its_victim_once_and_leaves_it_untouched(ipr, tiny, run_of):
    victim = run_of(*tiny, "scheme=passport_v1")
    before = hashes(victim)
    outcome = ipr("attack", "-m", *tiny, "scheme=passport_v1", "attack=prune,fake1,flip_signs,partial_signature")
    assert outcome.code == 0, outcome.err
    assert hashes(victim) == before
    assert len(list(Path("runs").glob("train/*"))) == 1
    assert [row["point"] for row in rows(attacked("prune", "passport_v1"))][:2] == ["rate=0", "rate=0.1"]
    for row in rows(attacked("fake1", "passport_v1")):
        assert row["victim"] == victim.name
        assert row["kind"] == "ambiguity"
        assert row["mark_read"]
        assert row["bits_agreeing"] == row["bits_total"]
        assert row["attack_succeeded"] == (row["forged"] and row["mark_read"] and row["fidelity_kept"])


def test_the_same_attack_is_found_and_an_interrupted_one_goes_on(ipr, tiny):
    arguments = (
        *tiny,
        "scheme=passport_v2",
        "attack=fake2_signature",
        "attack.epochs=1",
        "attack.dissimilarity=[0.1,0.5]",
    )
    first = ipr("attack", *arguments)
    assert first.code == 0, first.err
    folder = attacked("fake2_signature", "passport_v2")
    assert (folder / "checkpoints").stat().st_mode & 0o777 == 0o700
    assert "found:" in ipr("attack", *arguments).out
    whole = rows(folder)
    # killed while the second row was being written
    lines = (folder / "rows.jsonl").read_text().splitlines(keepends=True)
    (folder / "rows.jsonl").write_text(lines[0] + lines[1][:40])
    (folder / "finished").unlink()
    again = ipr("attack", *arguments)
    assert again.code == 0, again.err
    assert "made:" in again.out
    kept = [json.loads(line) for line in (folder / "rows.jsonl").read_text().splitlines()]
    changing = {"finished", "seconds", "share_of_training", "judge_seconds"}
    assert [{k: v for k, v in r.items() if k not in changing} for r in kept] == [
        {k: v for k, v in r.items() if k not in changing} for r in whole
    ]
    assert kept[1]["seconds"] > 0
    with (folder / "metrics-dissimilarity-0.5.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == 1


@pytest.mark.sampled(3)
@pytest.mark.parametrize("scheme", ["passport_v1", "passport_v2", "passport_v3"])
def test_forgers_of_a_trained_network(scheme, ipr, tiny):
    """A lifted passport has the accuracy of the network as it is given away, exactly, where no norm has statistics."""
    small = ("attack.share=[0.1,1]", "attack.block=[plain,ierb]", "attack.epochs=1", "attack_seed=1")
    trained = ipr("attack", *tiny, f"scheme={scheme}", "attack=erb", *small)
    assert trained.code == 0, trained.err
    found = rows(attacked("erb", scheme))
    assert [row["point"] for row in found] == [
        f"block={b} share={s}{how}"
        for s in ("0.1", "1")
        for b in ("plain", "ierb")
        for how in ("", " lift=positive", " lift=natural")
    ]
    assert all(row["bits_agreeing"] == row["bits_total"] and row["forged"] for row in found)
    for name in ("ones", "singular_vectors"):
        outcome = ipr("attack", *tiny, f"scheme={scheme}", f"attack={name}")
        assert outcome.code == 0, outcome.err
        assert all(row["bits_agreeing"] == row["bits_total"] for row in rows(attacked(name, scheme)))
    outcome = ipr("attack", *tiny, f"scheme={scheme}", "attack=lift_passport", "model.norm=gn")
    if scheme == "passport_v1":
        assert outcome.code == 2
        assert_one_line(outcome, "attack=lift_passport", "no scale or shift is given away")
        return
    assert outcome.code == 0, outcome.err
    row, *others = rows(attacked("lift_passport", scheme))
    assert [other["point"] for other in others] == ["lift=positive", "lift=natural"]
    assert all(other["bits_agreeing"] == other["bits_total"] for other in others)
    (record,) = (json.loads(path.read_text()) for path in Path("runs").glob(f"train/{scheme}-*-gn-*/record.json"))
    assert row["accuracy_claimed"] == record["accuracy_without"]
    assert row["bits_agreeing"] == row["bits_total"]


def _freed(attack, victim):
    """The bits of the owner's signature that the signs of the attacked network's own scales spell."""
    state = torch.load(attack / "checkpoints" / "finetune" / "last.ckpt", weights_only=True)["state_dict"]
    signature = load_claim(victim / "claim").signature
    scales = {name: state[f"network.{name.replace('conv', 'norm')}.weight"] for name in signature}
    assert all(0 < (scale > 0).float().mean() < 1 for scale in scales.values())
    return sum(int(((scales[name] > 0) == (bits > 0)).sum()) for name, bits in signature.items())


def image_folder(root, classes):
    from PIL import Image

    for split, count in (("train", 16), ("test", 4)):
        for label in range(classes):
            folder = Path(root, split, str(label))
            folder.mkdir(parents=True)
            for i in range(count):
                Image.new("RGB", (8, 8), (60 * label + i, 99, 9 * i)).save(folder / f"{i}.png")


def test_finetuning_to_another_data_set(ipr, tiny):
    """Four classes, then three of another folder: fidelity does not apply, and the bits are read in both ways."""
    image_folder("one", 4)
    image_folder("other", 3)
    whole = [argument for argument in tiny if "limit_" not in argument]
    outcome = ipr(
        "attack", *whole, "dataset=image_folder", "dataset.root=one", "scheme=passport_v1",
        "attack=finetune", "attack.epochs=1",
        "dataset@transfer=image_folder", "transfer.root=other", "transfer.image_size=8",
    )  # fmt: skip
    assert outcome.code == 0, outcome.err
    (row,) = rows(attacked("finetune", "passport_v1"))
    assert (row["dataset"], row["transfer"]) == ("image_folder", "image_folder")
    assert row["fidelity_kept"] is None
    assert row["bits_total"] == 224
    assert row["bits_freed"] == _freed(attacked("finetune", "passport_v1"), Path("runs/train") / row["victim"])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["scheme=baseline", "attack=prune"],
            "attack=prune: does not apply to scheme=baseline, because nothing is embedded in it",
        ),
        (["attack=nonsense"], "attack=nonsense: there is no such choice; choose among: "),
        (["attack=prune", "attack.rates=[2]"], "attack.rates=2: must be at most 1"),
        (["attack=combined", "attack.steps=[prune,fake1]"], "attack.steps=[prune,fake1]: fake1 forges claims"),
        (["attack=combined", "attack.steps=[]"], "attack.steps=[]: is out of range"),
        (["attack=prune", "attack.rate=[0.2]"], "attack.rate: there is no such key"),
        (
            ["attack=prune", "dataset@transfer=digits_parity", "transfer.image_size=8"],
            "transfer=digits_parity: attack=prune needs images of the victim's task",
        ),
    ],
)
def test_bad_input_is_one_line(ipr, tiny, arguments, said):
    outcome = ipr("attack", *tiny, *arguments)
    assert outcome.code == 2
    assert said in outcome.err
    assert outcome.err.count("\n") == 1
    assert not Path("runs").exists()


def test_which_bits_were_lost_is_read_from_what_an_attack_left(ipr, tiny, capfd):
    assert ipr("attack", *tiny, "scheme=passport_v1", "attack=finetune", "attack.epochs=2").code == 0
    script = Path(__file__).parents[2] / "benchmarks" / "lost_bits.py"
    runpy.run_path(str(script))["main"](Path("runs"))
    title, line = capfd.readouterr().out.splitlines()
    assert title.startswith("scheme norm seed")
    (row,) = rows(attacked("finetune", "passport_v1"))
    turned = line.split(" | ")[2]
    assert line.startswith("passport_v1 bn 0 - | ")
    assert row["bits_total"] - row["bits_agreeing"] == (0 if turned == "none" else turned.count("->"))


def test_a_claim_forged_before_is_judged_beside_the_owners(ipr, tiny):
    """Table I: what is read of a genuine and of a forged watermark after a removal attack."""
    asked = (*tiny, "scheme=uchida", "attack=prune", "attack.rates=[0.0,0.2]")
    assert ipr("attack", *asked).code == 0
    alone = attacked("prune", "uchida")
    outcome = ipr("attack", *asked, "attack@rival=forge_uchida")
    assert outcome.code == 0, outcome.err
    (beside,) = (path for path in Path("runs").glob("attack/prune-uchida-*") if path != alone)
    found = {row["point"]: row for row in rows(beside)}
    assert {row["point"]: row["bits_agreeing"] for row in rows(alone)} == {
        point: row["bits_agreeing"] for point, row in found.items() if "rival" not in point
    }
    for way in ("gradient", "closed_form"):
        forged = found[f"rate=0 claim=rival way={way}"]
        assert forged["forged"]
        assert forged["bits_agreeing"] == forged["bits_total"]
        assert not found["rate=0"]["forged"]


def test_a_rival_must_forge_and_the_attack_must_remove(ipr, tiny):
    for attack, rival in (("prune", "prune"), ("fake1", "fake1")):
        outcome = ipr("attack", *tiny, "scheme=passport_v2", f"attack={attack}", f"attack@rival={rival}")
        assert outcome.code == 2
        assert f"rival={rival}: is a " in outcome.err
    outcome = ipr("attack", *tiny, "scheme=passport_v2", "attack=prune", "attack@rival=forge_uchida")
    assert outcome.code == 2
    assert "does not apply to scheme=passport_v2" in outcome.err


def test_a_baseline_is_tuned_to_compare_with(ipr, tiny):
    outcome = ipr("attack", *tiny, "scheme=baseline", "attack=finetune", "attack.epochs=1")
    assert outcome.code == 0, outcome.err
    (row,) = rows(attacked("finetune", "baseline"))
    assert row["bits_total"] is None
    assert row["trigger_accuracy"] is None
    assert not row["mark_read"]
    assert not row["attack_succeeded"]
    assert round(40 * row["accuracy_after"], 9) in range(1, 41)  # a share of the test images
    assert ipr("report").code == 0


@pytest.mark.parametrize(
    ("arguments", "decisions"),
    [
        (["scheme=passport_v2", "attack=permute"], {"": "not verified", "aligned": None}),
        (["scheme=baseline", "attack=finetune", "attack_epochs=1"], {"": ""}),
        (["scheme=uchida", "attack=forge_uchida"], {"way=gradient": "not verified", "way=closed_form": "not verified"}),
    ],
    ids=["permute", "baseline", "forge_uchida"],
)
def test_rows_tell_what_would_be_decided(arguments, decisions, ipr, tiny):
    assert ipr("attack", *tiny, *arguments).code == 0
    (path,) = Path("runs").glob("attack/*/rows.jsonl")
    rows = {row["point"]: row for row in map(json.loads, path.read_text().splitlines())}
    assert rows.keys() == decisions.keys()
    for point, wanted in decisions.items():
        row = rows[point]
        if wanted == "":
            assert (row["decision"], row["deciding"]) == (None, "")
        else:
            assert row["decision"] in ("verified", "not verified", "inconclusive")
            assert row["decision"] == (wanted or row["decision"])
            assert row["deciding"]
    if "attack=forge_uchida" in arguments:
        assert all("commitment" in row["deciding"] for row in rows.values())
