"""What W&B is told, read back from the files of offline runs."""

import itertools
import json
import os
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from PIL import Image

from ipr.judging.claim_kinds import load_claim
from ipr.judging.outcome import nearest
from ipr.tracking.wandb_run import bits_share
from ipr.training.metrics import read_metrics
from ipr.workflows.attack import attack
from ipr.workflows.train import train
from wandb_files import read_finished

pytestmark = pytest.mark.system


def curves_of(path):
    """The columns of a metrics.csv that are curves."""
    return [
        {name: float(value) for name, value in row.items() if name == "epoch" or name.startswith("train/")}
        for row in read_metrics(path)
    ]


def curves(told, start=""):
    rows = told.having(f"{start}train/loss")
    return [{k.removeprefix(start): v for k, v in row.items() if not k.startswith("_")} for row in rows]


def test_a_training_tells_its_record_and_its_curves(request_for):
    run = train(request_for("scheme=passport_v2", "logger=wandb", "tags=[mine]"))
    told = read_finished(run.folder.path)
    assert told.about.run_group == told.config["key"] == run.folder.key
    digest = run.folder.key.rpartition("-")[2]
    assert told.about.display_name == f"V2 alexnet bn digits w0.25 s0 {digest[:6]}"
    assert told.about.job_type == "train"
    assert set(told.about.tags) == {"passport_v2", "alexnet", "bn", "digits", "mine"}
    assert {name: told.summary[name] for name in asdict(run.record)} == asdict(run.record)
    assert curves(told) == curves_of(run.folder.metrics)
    assert len(curves(told)) == 2  # one an epoch
    assert {"train/loss", "train/accuracy", "train/sign_loss"} <= curves(told)[0].keys()
    assert told.axes["train/*"] == "epoch"
    assert told.config["seed"] == 0
    assert told.exits == [0]


def test_each_run_of_a_process_has_its_own(request_for):
    first = train(request_for("scheme=passport_v1", "passport=shuffled", "logger=wandb"))
    runs = list(first.folder.path.parent.glob("*/wandb/offline-run-*"))
    assert len(runs) == 2  # the baseline's and the scheme's
    assert len({path.parent for path in runs}) == 2


def test_an_attack_tells_every_point_and_the_curves_of_its_trainings(request_for):
    asked = request_for(
        "scheme=passport_v2", "attack=fake3", "attack.dissimilarity=[0,0.5]", "attack.epochs=2", "logger=wandb",
        "tags=[mine]", command="attack",
    )  # fmt: skip
    run = attack(asked)
    told = read_finished(run.folder.path)
    victim = run.rows[0].victim
    assert told.config["key"] == run.folder.key
    digest = run.folder.key.rpartition("-")[2]
    assert told.about.display_name == f"fake3 on V2 alexnet bn digits w0.25 s0 {digest[:6]}"
    assert told.about.run_group == victim == read_finished(Path("runs/train") / victim).about.run_group
    assert told.about.job_type == "attack"
    assert set(told.about.tags) == {"fake3", "passport_v2", "alexnet", "bn", "digits", "mine"}
    points = told.having("point")
    assert [{name: row[name] for name in asdict(run.rows[0])} for row in points] == [asdict(row) for row in run.rows]
    assert [(row["point_index"], row["point/dissimilarity"]) for row in points] == [(0, 0.0), (1, 0.5)]
    assert told.axes["accuracy_after"] == told.axes["point/dissimilarity"] == "point_index"
    chosen = nearest(run.rows)
    assert {name: told.summary[name] for name in asdict(chosen)} == asdict(chosen)
    assert curves(told) == curves_of(run.folder.path / "metrics-fake3.csv")
    assert len(curves(told)) == 2
    terms = {f"train/dissimilarity-{share}/{term}" for share in ("0", "0.5") for term in ("cross_entropy", "closeness")}
    assert terms < curves(told)[0].keys()
    assert told.axes["train/*"] == "epoch"
    steps = [row["_step"] for row in told.history]
    assert steps == sorted(set(steps))  # W&B drops what goes back
    assert told.exits == [0]
    (table,) = run.folder.path.glob("wandb/offline-run-*/files/media/table/*.json")
    assert list(run.folder.path.glob("wandb/offline-run-*/artifacts/staging/*"))  # and not in the home folder
    assert "WANDB_DATA_DIR" not in os.environ
    content = json.loads(table.read_text())
    assert [dict(zip(content["columns"], row, strict=True)) for row in content["data"]] == [
        asdict(row) for row in run.rows
    ]


def test_the_one_training_of_an_attack_has_the_names_of_any_training(request_for):
    """And an attack with another data set carries its tag."""
    for place in (Path("other"), Path("data/cifar10")):
        for split, label in itertools.product(("train", "test"), range(10)):
            (place / split / str(label)).mkdir(parents=True)
            for number in range(4):
                image = Image.new("RGB", (8, 8), (25 * label, 60 * number, 0))
                image.save(place / split / str(label) / f"{number}.png")
    asked = request_for(
        "scheme=passport_v1", "dataset=image_folder", "dataset.root=other", "dataset.limit_train=40",
        "dataset@transfer=cifar10", "transfer.image_size=8", "attack=finetune", "attack.epochs=2", "logger=wandb",
        command="attack",
    )  # fmt: skip
    run = attack(asked)
    told = read_finished(run.folder.path)
    assert set(told.about.tags) == {"finetune", "passport_v1", "alexnet", "bn", "image_folder", "cifar10"}
    assert curves(told) == curves_of(run.folder.path / "metrics-finetune.csv")
    assert len(curves(told)) == 2


def test_what_was_done_before_an_interruption_is_told_again(request_for):
    asked = request_for(
        "scheme=passport_v2", "attack=fake2_signature", "attack.dissimilarity=[0.1,0.5]", "attack.epochs=2",
        "logger=wandb", command="attack",
    )  # fmt: skip
    run = attack(asked)
    (before,) = run.folder.path.glob("wandb/offline-run-*")
    whole = read_finished(run.folder.path)
    before.rename(run.folder.path / "before")
    (run.folder.path / "rows.jsonl").unlink()
    (run.folder.path / "finished").unlink()
    again = attack(asked)
    told = read_finished(again.folder.path)
    assert [row["point"] for row in told.having("point")] == ["dissimilarity=0.1", "dissimilarity=0.5"]
    assert curves(told) == curves(whole)
    assert len(curves(told)) == 2


def test_points_judged_before_an_interruption_are_told_again_and_the_others_under_their_names(request_for):
    asked = request_for(
        "scheme=passport_v2", "attack=fake2_signature", "attack.dissimilarity=[0.1,0.5]", "attack.epochs=2",
        "logger=wandb", command="attack",
    )  # fmt: skip
    run = attack(asked)
    rows = run.folder.path / "rows.jsonl"
    rows.write_text(rows.read_text().splitlines(keepends=True)[0])
    (run.folder.path / "finished").unlink()
    for session in run.folder.path.glob("wandb/offline-run-*"):
        session.rename(run.folder.path / "before")
    told = read_finished(attack(asked).folder.path)
    assert [row["point"] for row in told.having("point")] == ["dissimilarity=0.1", "dissimilarity=0.5"]
    name = "dissimilarity-0.5"
    assert curves(told, f"{name}/") == curves_of(run.folder.path / f"metrics-{name}.csv")
    assert len(curves(told, f"{name}/")) == 2
    assert told.axes[f"{name}/train/*"] == "epoch"


def test_a_run_that_is_judged_anew_tells_its_curves_again(request_for):
    first = train(request_for("scheme=passport_v2", "logger=csv"))
    again = train(request_for("scheme=passport_v2", "logger=wandb", "verification.forged=2"))
    assert again.folder == first.folder
    told = read_finished(again.folder.path)
    assert curves(told) == curves_of(first.folder.metrics)
    assert len(curves(told)) == 2
    assert told.summary["forged"] == 2


def test_a_long_tag_is_cut_to_what_wandb_takes(request_for):
    run = train(request_for("scheme=baseline", "logger=wandb", f"tags=[{'long' * 30}]"))
    assert ("long" * 30)[:64] in read_finished(run.folder.path).about.tags


def test_nothing_secret_of_an_attack_is_told(request_for):
    """An insider's attack: the owner's and the forged signature and passport stay in `claim` and `checkpoints`."""
    signature, key = "the secret of the owner", "a key that nobody knows"
    asked = request_for(
        "scheme=passport_v2", f"scheme.signature={signature}", f"passport.key={key}", "attack=fake3",
        "attack.dissimilarity=[0.1]", "attack.epochs=1", "logger=wandb", command="attack",
    )  # fmt: skip
    run = attack(asked)
    read_finished(run.folder.path)
    claim = load_claim(Path("runs/train") / run.rows[0].victim / "claim")
    secrets = [signature.encode(), key.encode(), *(t.numpy().tobytes()[8:56] for t in claim.tensors().values())]
    searched = [
        path
        for path in run.folder.path.rglob("*")
        if path.is_file() and not path.is_symlink() and run.folder.path / "checkpoints" not in path.parents
    ]
    assert any(path.suffix == ".wandb" for path in searched)
    for path in searched:
        assert not any(secret in path.read_bytes() for secret in secrets), path


def test_csv_and_disabled_leave_no_trace(request_for):
    for asked in (["logger=csv"], ["logger=wandb", "logger.mode=disabled", "seed=1"]):
        run = train(request_for("scheme=baseline", *asked))
        assert not (run.folder.path / "wandb").exists()
        assert replace(run.record, tags="") == run.record


NAMING = {
    "WANDB_RUN_ID": "fixed", "WANDB_NAME": "mine", "WANDB_RESUME": "must", "WANDB_RUN_GROUP": "ours",
    "WANDB_JOB_TYPE": "job", "WANDB_TAGS": "x,y", "WANDB_NOTES": "a note", "WANDB_SWEEP_ID": "sweep",
}  # fmt: skip


def test_variables_of_wandb_name_no_run(request_for, monkeypatch, wandb_at):
    """With one WANDB_RUN_ID for a process, each of its runs is still one of its own, in its own folder."""
    wandb_at("http://127.0.0.1:1", key=None)
    for name, value in NAMING.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("WANDB_DIR", str(Path("elsewhere").absolute()))
    runs = [train(request_for("scheme=baseline", "logger=wandb", f"seed={seed}", "tags=[my run]")) for seed in (0, 1)]
    told = [read_finished(run.folder.path) for run in runs]
    assert len({one.about.run_id for one in told} | {"fixed"}) == 3
    for run, one in zip(runs, told, strict=True):
        assert one.about.run_group == one.config["key"] == run.folder.key
        assert one.about.display_name.startswith("baseline alexnet bn digits w0.25 s")
        assert (one.about.job_type, one.about.notes, one.about.sweep_id) == ("train", "", "")
        assert set(one.about.tags) == {"baseline", "alexnet", "bn", "digits", "my run"}
        assert one.about.project == "ipr"
    assert not Path("elsewhere").exists()
    assert os.environ["WANDB_RUN_ID"] == "fixed"


def test_its_variables_say_what_the_request_does_not(request_for, monkeypatch, wandb_at):
    wandb_at("http://127.0.0.1:1", key=None)
    monkeypatch.setenv("WANDB_MODE", "disabled")
    off = train(request_for("scheme=baseline", "logger=wandb"))
    assert not (off.folder.path / "wandb").exists()
    monkeypatch.setenv("WANDB_MODE", "dryrun")
    monkeypatch.setenv("WANDB_PROJECT", "1.10")
    told = read_finished(train(request_for("scheme=baseline", "logger=wandb", "seed=1")).folder.path)
    assert told.about.project == "1.10"
    monkeypatch.setenv("WANDB_MODE", "disabled")
    asked = request_for("scheme=baseline", "logger=wandb", "logger.mode=offline", "logger.project=own", "seed=2")
    assert read_finished(train(asked).folder.path).about.project == "own"


@pytest.mark.parametrize(
    ("values", "share"),
    [
        ({"bits_agreeing": 3, "bits_total": 4}, {"bits_share": 0.75}),
        ({"bits_agreeing": 0, "bits_total": 4}, {"bits_share": 0.0}),
        ({"bits_agreeing": None, "bits_total": None}, {}),
        ({"bits_agreeing": None, "bits_total": 4}, {}),
        ({"bits_agreeing": 0, "bits_total": 0}, {}),
        ({}, {}),
    ],
)
def test_bits_are_told_as_a_share_too(values, share):
    assert bits_share(values) == share
