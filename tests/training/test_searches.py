"""`fake2_signature` and `fake3` with many points at once, against one point after the other."""

import json
import shutil
from pathlib import Path

import lightning as L
import pytest
import torch

from ipr.errors import InputError
from ipr.training.metrics import read_metrics
from ipr.workflows import carrying_out as attacking
from ipr.workflows.attack import attack

CLOCKS = {"finished", "seconds", "share_of_training", "judge_seconds", "key"}
TRAINED = {"fake2_signature": ("gamma", "beta"), "fake3": ("forged",)}


@pytest.fixture
def asked(request_for):
    def make(name, shares, *more):
        words = ["scheme=passport_v1", f"attack={name}", f"attack.dissimilarity={shares}", "attack.epochs=2"]
        given = {word.split("=")[0] for word in more}
        words = [word for word in words if word.split("=")[0] not in given]
        return request_for("trainer.checkpoint_seconds=0", *words, *more, command="attack")

    return make


def sought(run, training, start=""):
    """What a training's checkpoint holds of what a search trains."""
    path = run.folder.path / "checkpoints" / training / "last.ckpt"
    state = torch.load(path, map_location="cpu", weights_only=True)["state_dict"]
    own = {name.removeprefix(start): value for name, value in state.items() if name.startswith(start)}
    return {name: own[name] for name in own if name.split(".")[0] in TRAINED[run.rows[0].attack]}


def bare(row):
    return {name: value for name, value in vars(row).items() if name not in CLOCKS}


CAPTURED = pytest.param(("trainer.capture=true", "trainer.precision=bf16-mixed"), marks=pytest.mark.slow)


@pytest.mark.parametrize("more", [(), CAPTURED], ids=str)
@pytest.mark.parametrize("name", TRAINED)
@pytest.mark.sampled(2)
def test_points_side_by_side_have_the_bits_of_points_one_after_the_other(name, more, asked):
    both = attack(asked(name, "[0,0.5]", *more))
    alone = [attack(asked(name, f"[{share}]", *more)) for share in ("0", "0.5")]
    assert [bare(row) for row in both.rows] == [bare(row) for run in alone for row in run.rows]
    for number, (share, run) in enumerate(zip(("0", "0.5"), alone, strict=True)):
        mine = sought(both, name, f"searches.{number}.")
        own = sought(run, f"dissimilarity-{share}")
        assert own.keys() == mine.keys() != set()
        assert all(torch.equal(mine[parameter], own[parameter]) for parameter in own)
        curves = read_metrics(run.folder.path / f"metrics-dissimilarity-{share}.csv")
        together = read_metrics(both.folder.path / f"metrics-{name}.csv")
        for row, all_of_it in zip(curves, together, strict=True):
            for term in row.keys() - {"epoch", "step", "seconds", "learning_rate", "train/loss", "train/accuracy"}:
                assert all_of_it[term.replace("train/", f"train/dissimilarity-{share}/")] == row[term]
    spent = sum(float(row["seconds"]) for row in read_metrics(both.folder.path / f"metrics-{name}.csv"))
    assert both.rows[0].seconds == both.rows[1].seconds >= round(spent / 2, 3)


@pytest.fixture
def interrupted(asked, monkeypatch):
    """Carries an attack out until the second epoch of a training begins."""

    class Interrupt(L.Callback):
        def on_train_epoch_start(self, trainer, module):
            if trainer.current_epoch == 1:
                raise KeyboardInterrupt

    def until(*words):
        fit = attacking.fit
        with monkeypatch.context() as patch:
            patch.setattr(
                attacking, "fit", lambda *a, callbacks, **k: fit(*a, callbacks=[*callbacks, Interrupt()], **k)
            )
            with pytest.raises(KeyboardInterrupt):
                attack(asked(*words))

    return until


@pytest.mark.slow
def test_an_interrupted_attack_goes_on_to_the_same_points(asked, interrupted, capsys):
    whole = attack(asked("fake3", "[0.1,0.5]"))
    expected = sought(whole, "fake3", "searches.1.")
    shutil.rmtree(whole.folder.path)
    interrupted("fake3", "[0.1,0.5]")
    capsys.readouterr()
    gone_on = attack(asked("fake3", "[0.1,0.5]"))
    assert "1 of 2 epochs are done" in " ".join(capsys.readouterr().err.split())
    assert [bare(row) for row in gone_on.rows] == [bare(row) for row in whole.rows]
    assert all(torch.equal(value, expected[name]) for name, value in sought(gone_on, "fake3", "searches.1.").items())
    assert [row["epoch"] for row in read_metrics(gone_on.folder.path / "metrics-fake3.csv")] == ["0", "1"]


@pytest.mark.slow
def test_rows_that_are_there_are_kept_and_what_is_missing_is_trained_alone(asked, interrupted, capsys):
    """As an attack of an earlier version goes on, which trained one point after the other."""
    wanted = ("fake3", "[0.1,0.5,1]")
    whole = attack(asked(*wanted))
    folder = whole.folder.path
    (kept, *_) = (folder / "rows.jsonl").read_text().splitlines(keepends=True)
    (folder / "rows.jsonl").write_text(kept)
    (folder / "finished").unlink()
    shutil.rmtree(folder / "checkpoints")
    interrupted(*wanted)
    capsys.readouterr()
    again = attack(asked(*wanted))
    assert "1 of 2 epochs are done" in " ".join(capsys.readouterr().err.split())
    assert [bare(row) for row in again.rows] == [bare(row) for row in whole.rows]
    assert (folder / "rows.jsonl").read_text().startswith(kept)
    assert len((folder / "rows.jsonl").read_text().splitlines()) == 3
    trained = {path.parent.name for path in folder.glob("checkpoints/*/last.ckpt")}
    assert trained == {"dissimilarity-0.5", "dissimilarity-1"}


def test_an_attack_ends_with_the_first_search_that_diverges_and_names_it(asked):
    with pytest.raises(InputError, match=r"diverged: train/dissimilarity-0\.5/\w+ is nan in epoch 0"):
        attack(asked("fake3", "[0.5,1]", "attack.lr=1e30", "attack.clip_norm=1e30"))
    (failed,) = Path("runs/attack").glob("fake3-*/failure.json")
    assert json.loads(failed.read_text())["what"].startswith("train/dissimilarity-0.5/")
