import json
import re
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file


def test_train_judge_and_verify_end_to_end(ipr, tiny, run_folder):
    """What the README promises: it works with the passport, the text is read back, and a stranger's file is refused."""
    asked = [a for a in tiny if not a.startswith(("dataset.limit_train", "trainer.max_epochs"))]
    text = 'scheme.signature="this is mine"'
    outcome = ipr("train", *asked, "scheme=passport_v1", "trainer.max_epochs=6", text)
    assert outcome.code == 0, outcome.err
    assert "this is mine" in outcome.out
    assert "224 of 224 bits" in outcome.out
    assert re.search(r"consistent with the claim\W+yes\b", outcome.out)
    folder = run_folder("passport_v1")
    record = json.loads((folder / "record.json").read_text())
    assert record["accuracy_genuine"] > 0.8
    assert record["accuracy_forged_mean"] < 0.3
    assert record["consistent"] is record["mark_read"] is True

    again = ipr("train", *asked, "scheme=passport_v1", "trainer.max_epochs=6", text)
    assert "found: " in again.out
    judge = (
        "verify",
        f"claim={folder}/claim",
        "dataset.image_size=8",
        "dataset.limit_test=40",
        "forged=3",
        "rule=paper",
    )
    verified = ipr(*judge, f"suspect={folder}/public.safetensors")
    assert verified.code == 0, verified.err
    assert "this is mine" in verified.out

    weights = load_file(folder / "public.safetensors")
    save_file(
        {name: torch.randn_like(tensor) if tensor.dim() == 4 else tensor for name, tensor in weights.items()}, "other"
    )
    stranger = ipr(*judge, "suspect=other")
    assert stranger.code == 1, stranger.err
    assert "not verified" in stranger.out


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: w.pop("conv1.weight"), "conv1.weight is missing"),
        (lambda w: w.update(extra=torch.zeros(1)), "extra has no place"),
        (lambda w: w.update({"conv1.weight": torch.zeros(3)}), r"conv1.weight: (3,)"),
    ],
)
def test_suspects_of_another_shape_are_refused(ipr, tiny, run_of, change, message):
    folder = run_of(*tiny)
    weights = load_file(folder / "public.safetensors")
    change(weights)
    save_file(weights, "suspect")
    outcome = ipr("verify", "suspect=suspect", f"claim={folder}/claim", "dataset.image_size=8")
    assert outcome.code == 2
    assert message in outcome.err
    assert len(outcome.err.splitlines()) == 1


def test_a_pickle_is_not_opened_as_a_suspect(ipr, tiny, run_folder, run_of):
    class Bomb:
        def __reduce__(self):
            return (Path.touch, (Path("executed"),))

    run_of(*tiny)
    torch.save({"state_dict": Bomb()}, "suspect.pt")
    outcome = ipr("verify", "suspect=suspect.pt", f"claim={run_folder('passport_v2')}/claim", "dataset.image_size=8")
    assert outcome.code == 2
    assert not Path("executed").exists()


def test_a_sweep_runs_every_job_and_its_report_has_a_row_each(ipr, tiny):
    outcome = ipr("train", "-m", *tiny, "scheme=baseline,passport_v1,passport_v3", "seed=0,1", "tags=[mine]")
    assert outcome.code == 0, outcome.err
    assert len(list(Path().glob("runs/train/*/record.json"))) == 6
    assert {path.name for path in Path().iterdir()} == {"runs"}  # a sweep leaves nothing else behind
    report = ipr("report", "tag=mine")
    assert report.code == 0, report.err
    table = Path("runs/report/mine/table.md").read_text()
    assert table.strip() in report.out
    rows = [line for line in table.splitlines() if line.startswith("| ")][1:]
    assert [row.split(" | ")[0].strip("| ") for row in rows] == ["baseline", "passport_v1", "passport_v3"]
    assert all("| 2 |" in row for row in rows)
    for name in ("accuracy.png", "accuracy.svg", "records.csv", "runs.md", "runs.csv", "runs.tex", "index.html"):
        assert (Path("runs/report/mine") / name).stat().st_size > 0
    with Image.open("runs/report/mine/accuracy.png") as picture:
        assert picture.width > 300
    assert not Path("runs/report/mine/energy.png").exists()


def test_a_report_by_tag_brings_its_baselines_along(ipr, tiny, run_of):
    run_of(*tiny, "scheme=baseline")
    run_of(*tiny, "scheme=baseline", "seed=1")
    run_of(*tiny, "scheme=passport_v2", "tags=[mine]")
    assert ipr("report", "tag=mine").code == 0
    rows = Path("runs/report/mine/table.md").read_text().splitlines()
    assert [row.split(" | ")[3] for row in rows if row.startswith("| baseline")] == ["1"]  # its own seed's, no other
    (marked,) = (row for row in rows if row.startswith("| passport_v2"))
    assert marked.split(" | ")[7][0] in "+-"  # the difference is there


def test_several_energies_give_their_figure(ipr, tiny):
    ipr("train", "-m", *tiny, "scheme=passport_v1", "passport.energy=1,null")
    assert ipr("report").code == 0
    assert Path("runs/report/all/energy.png").stat().st_size > 0
    assert "as published" in Path("runs/report/all/table.md").read_text()


@pytest.mark.sampled(5)
@pytest.mark.parametrize(
    "command",
    [
        "train",
        "protect",
        "attack",
        "verify",
        "verdict",
        "dispute",
        "calibrate",
        "claim",
        "export",
        "unlock",
        "report",
        "dashboard",
        "status",
        "gc",
    ],
)
def test_every_command_explains_itself(ipr, command):
    outcome = ipr(command, "--help")
    assert outcome.code == 0
    assert f"ipr {command}:" in outcome.out
    assert f"ipr {command} " in outcome.out.partition("Example")[2]
    listed = ipr("--help")
    assert listed.code == 0
    assert command in listed.out


def test_version(ipr):
    assert ipr("--version").out.strip() == "0.1.0"
