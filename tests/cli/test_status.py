"""`ipr status`: counts, reasons and costs of real studies, while they run and after they were killed."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from ipr.store.cell_run import leave_run
from ipr.store.folder import RunFolder
from ipr.store.lease import Lease

SMOKE = Path("runs/studies/smoke")
STATES = ("done", "running", "stopped", "failed", "missing")


def runs_of_cells():
    """Cell -> `<kind>/<key>` of its run."""
    return {path.stem: json.loads(path.read_text())["run"] for path in (SMOKE / "cells").glob("*.json")}


def cell_of(prefix):
    (name,) = (name for name in runs_of_cells() if name.startswith(prefix))
    return name


def asked(ipr, *arguments):
    """What a program reads: the one study, and its cells by name."""
    outcome = ipr("status", *arguments, "out=status.json")
    assert outcome.code == 0, outcome.err
    (study,) = json.loads(Path("status.json").read_text())["studies"]
    return study, {cell["cell"]: cell for cell in study["cells"]}


def counts(study):
    return {state: study[state] for state in STATES if study[state]}


def row_of(outcome, name):
    line = next(line for line in outcome.out.splitlines() if line.split()[:1] == [name])
    return re.split(r"\s{2,}", line.strip())


def test_a_finished_study(ipr, store):
    outcome = ipr("status")
    assert outcome.code == 0, outcome.err
    cells = runs_of_cells()
    assert row_of(outcome, "study") == ["study", "cells", *STATES, "spent", "left"]
    assert row_of(outcome, "mine")[:7] == ["mine", str(len(cells)), str(len(cells)), "-", "-", "-", "-"]
    assert row_of(outcome, "mine")[-1] == "-"
    study, found = asked(ipr)
    assert counts(study) == {"done": len(cells)}
    assert {name: cell["run"] for name, cell in found.items()} == cells
    assert study["seconds_spent"] == pytest.approx(sum(cell["seconds"] or 0 for cell in found.values()), abs=0.1)
    victim = cell_of("passport_v1")
    record = json.loads((Path("runs") / cells[victim] / "record.json").read_text())
    assert found[victim]["seconds"] == pytest.approx(record["train_seconds"] + record["judge_seconds"])


def test_a_study_in_every_state(ipr, store):
    """What is left is estimated from what is done: two victims of 30 and 50 seconds, an attack of 6."""
    about = {"scheme": "passport_v1", "model": "alexnet", "dataset": "cifar10"}
    victims = ["done", "also_done", "running", "stopped", "failed", "missing"]
    cells = [{"name": name, "about": about | {"seed": i}, "command": ""} for i, name in enumerate(victims)]
    cells += [{"name": f"prune-{i}", "about": about | {"attack": "prune", "seed": i}, "command": ""} for i in (0, 1)]
    planned = json.loads((SMOKE / "mine.json").read_text())
    (SMOKE / "mine.json").write_text(json.dumps(planned | {"cells": cells}))
    shutil.rmtree(SMOKE / "cells")
    runs = Path("runs")

    def begun(name, kind="train", **files):
        folder = runs / kind / f"of-{name}"
        folder.mkdir()
        for file, content in files.items():
            (folder / file.replace("_", ".")).write_text(json.dumps(content) + "\n")
        leave_run(SMOKE, name, RunFolder(folder))
        return folder

    begun("done", record_json={"train_seconds": 29.0, "judge_seconds": 1.0})
    begun("also_done", record_json={"train_seconds": 50.0, "judge_seconds": 0.0})
    (begun("prune-0", "attack", rows_jsonl={"seconds": 6.0}) / "finished").touch()
    begun("failed", config_yaml={}, failure_json={"what": "loss", "value": "nan", "epoch": 3})
    begun("stopped", config_yaml={})
    began = time.time() - 15
    os.utime(begun("running", config_yaml={}) / "config.yaml", (began, began))
    with Lease(runs / "train/of-running/.lease"):
        study, found = asked(ipr)
        outcome = ipr("status", "study=mine")
    assert counts(study) == {"done": 3, "running": 1, "stopped": 1, "failed": 1, "missing": 2}
    assert study["seconds_spent"] == 86.0
    assert found["running"]["seconds"] == pytest.approx(15, abs=14)
    assert found["running"]["seconds_left"] == pytest.approx(40 - found["running"]["seconds"])
    assert [found[name]["seconds_left"] for name in ("done", "stopped", "failed", "missing")] == [0, 40, 40, 40]
    assert found["prune-1"]["seconds_left"] == 6
    assert study["seconds_left"] == pytest.approx(3 * 40 + 6 + found["running"]["seconds_left"], abs=0.1)
    assert study["unknown"] == 0
    assert row_of(outcome, "mine")[:7] == ["mine", "8", "3", "1", "1", "1", "2"]
    assert row_of(outcome, "mine")[7:] == ["1 min", "3 min"] or row_of(outcome, "mine")[7:] == ["1 min", "2 min"]
    assert row_of(outcome, "failed") == ["failed", "failed", "-", "40 s"]
    assert "failed: failed: diverged: loss is nan in epoch 3" in outcome.out
    assert "stopped: stopped: its process is gone" in outcome.out
    assert "also_done" not in outcome.out
    assert "also_done" in ipr("status", "cells=true").out
    for name in ("done", "also_done"):
        (SMOKE / "cells" / f"{name}.json").unlink()
    study, _ = asked(ipr)
    assert study["unknown"] == 6
    assert study["seconds_left"] == 6
    assert row_of(ipr("status"), "mine")[-1] == "6 s + 6 unknown"


def test_a_cell_whose_run_was_deleted_is_missing_and_a_study_whose_file_is_gone_is_shown(ipr, store):
    name = cell_of("prune")
    shutil.rmtree(Path("runs") / runs_of_cells()[name])
    Path("mine.yaml").unlink()
    _, cells = asked(ipr)
    assert {name for name, cell in cells.items() if cell["state"] == "missing"} == {name}
    assert cells[name]["seconds_left"] is not None
    assert cells[name]["command"].startswith("ipr attack ")


@pytest.mark.system
def test_running_and_then_killed(ipr, tmp_path, cache):
    """A real `ipr reproduce`: its cell runs while it lives, and is stopped when it was killed; then it goes on."""
    study = {
        "title": "Mine", "question": "Is it found?", "source": "here", "sweeps": [{"scheme": ["uchida"]}],
        "statements": [{"name": "s", "says": "All.", "value": "mark", "at_least": 0.0}],
    }  # fmt: skip
    Path("long.yaml").write_text(yaml.safe_dump(study))
    command = ["reproduce", "study=long.yaml", "logger=csv", "model.width=0.0625", "trainer.max_epochs=40"]
    command += ["dataset.limit_train=64", "dataset.limit_test=20", "optimizer.batch_size=32"]
    command += ["trainer.checkpoint_seconds=0"]
    shell = [sys.executable, "-c", "from ipr.cli import main; main()", *command]
    with subprocess.Popen(shell, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 120
        while not list(Path("runs/train").glob("uchida-*/checkpoints/last.ckpt")) and time.monotonic() < deadline:
            time.sleep(0.01)
        process.send_signal(signal.SIGSTOP)  # it lives, and cannot end meanwhile
        living, _ = asked(ipr)
        process.send_signal(signal.SIGKILL)
    (name,) = runs_of_cells()
    assert counts(living) == {"running": 1}
    killed, cells = asked(ipr)
    assert counts(killed) == {"stopped": 1}
    assert "the same command goes on" in cells[name]["reason"]
    assert ipr(*command).code == 0
    ended, cells = asked(ipr)
    assert counts(ended) == {"done": 1}
    record = json.loads((Path("runs") / cells[name]["run"] / "record.json").read_text())
    # what went before the kill is part of what it took
    assert cells[name]["seconds"] == pytest.approx(record["train_seconds"] + record["judge_seconds"])


def test_a_study_that_was_not_planned_is_shown_as_it_would_be(ipr):
    outcome = ipr("reproduce", "study=table_06", "scale=paper", "dry=true")
    (count,) = re.findall(r"^(\d+) cells", outcome.out, re.MULTILINE)
    study, _ = asked(ipr, "study=table_06", "scale=paper")
    assert counts(study) == {"missing": int(count)}
    assert (study["scale"], study["unknown"], study["seconds_left"]) == ("paper", int(count), 0)
    assert row_of(ipr("status", "study=table_06", "scale=paper"), "table_06")[-1] == "unknown"
    fewer, _ = asked(ipr, "study=table_06", "scale=paper", "scale.seeds=[0]")
    assert fewer["missing"] < int(count)
    assert asked(ipr, "study=table_06")[0]["scale"] == "smoke"  # as `ipr reproduce` has it
    assert not Path("runs").exists()


def test_studies_together_have_each_cell_once(ipr, store):
    second = yaml.safe_load(Path("mine.yaml").read_text())
    second["sweeps"] = [*second["sweeps"][:1], {"scheme": ["deepmarks"]}]
    Path("other.yaml").write_text(yaml.safe_dump(second))
    outcome = ipr("status", "study=mine,other.yaml")
    assert outcome.code == 0, outcome.err
    cells = len(runs_of_cells())
    assert row_of(outcome, "mine")[1] == str(cells)
    assert row_of(outcome, "other")[1] == "2"
    assert row_of(outcome, "together")[1] in {str(cells + 1), str(cells + 2)}
    everything = ipr("status", "study=all")
    assert everything.code == 0, everything.err
    assert row_of(everything, "mine")[1] == str(cells)
    assert row_of(everything, "table_06")[2] == "-"


def test_a_study_is_shown_at_the_scale_that_it_is_made_for(ipr):
    study, cells = asked(ipr, "study=quickstart")
    assert (study["scale"], study["missing"], len(cells)) == ("digits", 4, 4)
    everything = ipr("status", "study=all")
    assert row_of(everything, "table_06")[0] == "table_06"
    assert not [line for line in everything.out.splitlines() if line.split()[:1] == ["quickstart"]]


def test_files_that_cannot_be_read_do_not_end_it(ipr, store):
    (Path("runs") / runs_of_cells()[cell_of("passport_v1")] / "record.json").write_text("{")
    (Path("runs") / runs_of_cells()[cell_of("fake2")] / "config.yaml").write_text("{ not yaml")
    (SMOKE / "cells" / f"{cell_of('prune')}.json").write_text("{")
    study, _ = asked(ipr)
    assert study["missing"] == 1


def test_an_empty_folder(ipr):
    outcome = ipr("status")
    assert outcome.code == 0
    assert "nothing was planned" in outcome.out
    assert not Path("runs").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["study=table_99"], ["study=table_99", "is unknown", "table_01", "quickstart"]),
        (["study=nothing.yaml"], ["nothing.yaml", "cannot be read"]),
        (["scale=huge"], ["scale=huge", "cpu, digits, paper, part, smoke"]),
        (["cells=perhaps"], ["cells", "perhaps"]),
        (["tag=x"], ["tag"]),
        (["out=/proc/status.json"], ["out=/proc/status.json", "cannot be written"]),
    ],
)
def test_bad_input_is_one_line(ipr, arguments, words):
    outcome = ipr("status", *arguments)
    assert outcome.code == 2
    (line,) = outcome.err.strip().splitlines()
    assert line.startswith("ipr: error: ")
    for word in words:
        assert word in line


def test_a_plan_that_cannot_be_read_is_named(ipr, store):
    (SMOKE / "mine.json").write_text("{")
    outcome = ipr("status")
    assert outcome.code == 2
    assert "mine.json" in outcome.err
    assert len(outcome.err.strip().splitlines()) == 1


@pytest.mark.system
def test_it_starts_without_torch(store):
    """It is what one looks at every minute."""
    code = "import sys; from ipr.cli import main\ntry: main(['{}'])\nfinally: assert 'torch' not in sys.modules"
    for command in ("status", "gc"):
        subprocess.run([sys.executable, "-c", code.format(command)], check=True, capture_output=True)
