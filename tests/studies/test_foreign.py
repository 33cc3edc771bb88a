"""Studies and plans that somebody else has written are data: nothing in them runs, is resolved, or leads elsewhere."""

import json
import os
import re
from pathlib import Path

import pytest
import yaml

from ipr.config.schema import TrainConfig
from ipr.errors import InputError
from ipr.store import reading
from ipr.store.cell_run import leave_run, read_run
from ipr.store.folder import RunFolder
from ipr.store.survey import Found
from ipr.studies.plan import plan
from ipr.studies.planned import read_plans
from ipr.studies.scale import DataScale, ModelScale, Scale
from ipr.studies.settable import ALONE, CHOICES, GROUPS
from ipr.studies.study import Study, Sweep, load_study

STUDY = {
    "title": "Mine", "question": "Is it?", "source": "here", "sweeps": [{"scheme": ["uchida"]}],
    "statements": [{"name": "bits_are_there", "says": "All.", "value": "mark", "at_least": 1.0}],
}  # fmt: skip
TOUCH = {"_target_": "pathlib.Path.touch", "self": {"_target_": "pathlib.Path", "_args_": ["burst"]}}
NESTED = [{"_target_": "os.system", "command": "touch burst"}]


def written(place, **changes):
    path = place / "mine.yaml"
    path.write_text(yaml.safe_dump({**STUDY, **changes}))
    return path


def sweep(**values):
    return {"sweeps": [{"scheme": ["uchida"], "set": values}]}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("hydra.callbacks.x", TOUCH), ("hydra.launcher._target_", "os.system"), ("hydra", {"callbacks": {"x": TOUCH}}),
        ("hydra.searchpath", ["/tmp"]), ("hydra/callbacks", "x"), ("hydra.sweeper.params", {}),
        ("defaults", [{"/hydra/callbacks": "x"}]), ("_self_", 1), ("package", "hydra"), ("cell", "x"), ("studies", "x"),
        ("+hydra.callbacks.x", TOUCH), ("++scheme.bits", 8), ("~scheme", ""), ("+scheme.bits", 8),
        ("scheme@hydra.callbacks", "x"), ("override /hydra/launcher", "x"), ("/scheme", "uchida"), ("scheme", "uchida"),
        ("scheme._target_", "os.system"), ("attack._target_", "os.system"), ("attack._args_", ["x"]),
        ("exhibit._partial_", True), ("scheme.bits.__class__", 1), ("scheme.", 1), (".bits", 1), ("", 1),
        ("paths.runs", "elsewhere"), ("paths.judge", "x"), ("logger.mode", "online"), ("logger.entity", "somebody"),
        ("scheme.Bogus", 1), ("trainer.epochs", 1), ("scheme.bits\n", 1), ("SCHEME.bits", 8), ("passport.key", "mine"),
        ("scheme.bits", TOUCH), ("scheme.layers", NESTED), ("scheme.layers", [["${oc.env:SECRET}"]]),
        ("scheme.signature", "${oc.env:SECRET}"), ("scheme.signature", "a ${paths.runs} b"), ("model.name", "\\${x}"),
        ("attack.lr", "${oc.decode:1}"), ("tags", ["${hydra:runtime.cwd}"]), ("scheme.signature", "${"),
    ],
)  # fmt: skip
def test_what_is_no_setting_is_refused_in_one_line(tmp_path, key, value):
    with pytest.raises(InputError) as refused:
        load_study(written(tmp_path, **sweep(**{key: value})))
    assert "sweeps.set=" in str(refused.value)
    assert "\n" not in str(refused.value)
    assert "SECRET" not in str(refused.value)
    with pytest.raises(InputError):  # from Python as well
        Sweep(scheme=["uchida"], set={key: value})


def test_a_date_or_other_object_is_no_value(tmp_path):
    path = written(tmp_path)
    path.write_text(path.read_text().replace("- scheme:", "- set: {scheme.signature: 2024-01-31}\n  scheme:"))
    with pytest.raises(InputError, match=r"sweeps\[0\]\.set\.scheme\.signature is a date"):
        load_study(path)


@pytest.mark.parametrize("field", ["scheme", "model", "dataset", "attack", "exhibit", "rival"])
@pytest.mark.parametrize(
    "choice", ["../../elsewhere/evil", "/tmp/evil", "uchida@hydra.callbacks", "${oc.env:HOME}", ""]
)
def test_a_choice_is_a_name_and_no_path(tmp_path, field, choice):
    with pytest.raises(InputError, match="is no name"):
        load_study(written(tmp_path, sweeps=[{"scheme": ["uchida"], field: choice if field == "rival" else [choice]}]))


SCALE = Scale("s", [0], {"alexnet": ModelScale()}, {"cifar10": DataScale("digits")})


@pytest.mark.parametrize(
    "change",
    [
        {"set": {"hydra.callbacks.x": TOUCH}}, {"choose": {"hydra/launcher": "joblib"}},
        {"attacks": {"prune": {"a.b": 1}}},
        {"choose": {"optimizer": "../x"}}, {"models": {"alexnet": ModelScale({"hydra.mode": 1})}},
        {"datasets": {"cifar10": DataScale("../digits")}}, {"set": {"passport.key": "k"}},
    ],
)  # fmt: skip
def test_a_scale_passes_the_same_place(change):
    study = Study("t", [Sweep(scheme=["uchida"], attack=["prune"])], name="mine")
    assert plan(study, SCALE)
    with pytest.raises(InputError):
        plan(study, Scale(**(vars(SCALE) | change)))


def test_every_group_of_a_training_can_be_set_but_for_where_things_lie_and_go():
    names = {name for name in TrainConfig.__dataclass_fields__ if name not in ("paths", "logger", "objective")}
    assert names <= {*GROUPS, *ALONE, *CHOICES}
    assert Sweep(scheme=["passport_v2"], set={"scheme.alternation": "alternate", "scheme.layers": ["conv4"], "seed": 3})


def test_a_study_starts_from_the_trained_baseline_and_from_no_file():
    assert Sweep(scheme=["passport_v2"], set={"init": "baseline"})
    for path in ("mine.pt", "/etc/passwd", ["baseline"], 3):
        with pytest.raises(InputError, match="a file of one machine"):
            Sweep(scheme=["passport_v2"], set={"init": path})


TEXT = "${oc.env:SECRET} ${hydra:x} $\\{a} \\${b} {{ 7 * 7 }} ${"


def test_texts_stay_as_they_are(tmp_path, monkeypatch):
    monkeypatch.setenv("SECRET", "hush")
    statement = STUDY["statements"][0] | {"says": TEXT, "why": {"cpu": TEXT}, "where": {"scheme": TEXT}}
    study = load_study(written(tmp_path, title=TEXT, question=TEXT, notes=[TEXT], statements=[statement]))
    (found,) = study.statements
    texts = [study.title, study.question, *study.notes, found.says, found.why["cpu"], found.where["scheme"]]
    assert texts == [TEXT] * 6


def plan_file(runs, study, /, **changes):
    about = {"scheme": "uchida", "model": "alexnet", "dataset": "cifar10", "seed": 0}
    path = runs / "studies" / "smoke" / "mine.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    fields = {
        "schema_version": 1, "study": str(study), "scale": "smoke", "what": TEXT, "changes": [], "datasets": {},
        "cells": [{"name": "uchida-s0-1", "about": about, "command": "ipr train"}],
    }  # fmt: skip
    path.write_text(json.dumps({**fields, **changes}))
    return path


def test_the_study_of_a_plan_in_the_store_passes_the_same_place(tmp_path):
    plan_file(tmp_path, written(tmp_path, **sweep(**{"hydra.callbacks.x": TOUCH})))
    (found,) = read_plans(tmp_path)
    with pytest.raises(InputError, match="is no key that can be set here"):
        found.load()
    plan_file(tmp_path, written(tmp_path, title=TEXT))
    (found,) = read_plans(tmp_path)
    assert (found.load().title, found.what) == (TEXT, TEXT)


def test_the_study_of_a_plan_is_a_file_of_a_size(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "other").write_text("root:hush:0\n  - x: [hush\n")
    monkeypatch.setattr(reading, "LARGEST", 1000)
    for name in ("pipe", "other", "missing", ".", "/dev/zero"):
        plan_file(tmp_path, tmp_path / name)
        with pytest.raises(InputError, match="cannot be read") as refused:
            read_plans(tmp_path)[0].load()
        assert "hush" not in str(refused.value)  # a plan may name any file; its lines are not shown


CELL = {"name": "a", "about": {"scheme": "u", "model": "a", "dataset": "c", "seed": 0}, "command": "ipr train"}


@pytest.mark.parametrize(
    "change",
    [
        {"cells": [CELL | {"name": "../../../../etc/x"}]}, {"cells": [CELL | {"name": "/etc/x"}]},
        {"cells": [CELL | {"name": ".."}]}, {"scale": "../.."}, {"cells": [CELL | {"about": {"scheme": "u"}}]},
        {"cells": [CELL | {"about": CELL["about"] | {"dataset": ["a"]}}]}, {"cells": {"a": CELL}}, {"cells": [[CELL]]},
        {"changes": 5}, {"datasets": ["a"]}, {"schema_version": 2}, {"study": None}, {"more": 1}, {"scale": {"a": 1}},
    ],
)  # fmt: skip
def test_a_plan_that_leads_elsewhere_or_is_none_is_refused(tmp_path, change):
    plan_file(tmp_path, "x.yaml", **change)
    with pytest.raises(InputError, match=re.escape("delete it and run the same ipr reproduce again")):
        read_plans(tmp_path)


def test_a_cell_has_a_run_only_where_one_is_named(tmp_path):
    plan_file(tmp_path, "x.yaml")
    studies = tmp_path / "studies" / "smoke"
    assert read_plans(tmp_path)[0].cells[0].run == ""
    leave_run(studies, "uchida-s0-1", RunFolder(tmp_path / "train" / "a"))
    assert read_plans(tmp_path)[0].cells[0].run == "train/a"
    path = studies / "cells" / "uchida-s0-1.json"
    for run in ("../x", "/", "train/..", "train/a/..", "words/a", 3, None, ["train/a"]):
        path.write_text(json.dumps({"run": run}))
        assert read_plans(tmp_path)[0].cells[0].run == ""
    path.write_text(json.dumps({"cell": "uchida-s0-1", "state": "done", "run": "train/a", "seconds": 1.0}))
    assert read_run(studies, "uchida-s0-1") == "train/a"  # as an earlier version wrote it
    for text in ("{", "[" * 100_000, "[]"):
        path.write_text(text)
        assert read_run(studies, "uchida-s0-1") == ""


BOMB = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 10)}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    "content",
    [
        "[" * 100_000, "- " * 50_000, "a: " + "{a: " * 20_000, "title: &a [*a]",
        BOMB + "notes: *i", "x", "", "- 1", "!!python/name:os.system",
        "title: !!python/object/apply:os.system ['touch burst']", "title: [1]", "title: 2024-01-31", "\x00", "\xff",
        "title: ${", "statements: [{at_least: 1" + "0" * 400 + "}]", "? [1]\n: 2",
    ],
)  # fmt: skip
def test_any_file_gets_one_line(tmp_path, content):
    path = tmp_path / "mine.yaml"
    path.write_text(content, encoding="latin-1")
    with pytest.raises(InputError, match=r"cannot be read|write it in quotes") as refused:
        load_study(path)
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 600
    assert not Path("burst").exists()


@pytest.mark.parametrize("content", ["[" * 100_000, "- " * 50_000, "x" * 2**21, "a: &a [*a]\n"])
def test_a_run_folder_of_somebody_else_ends_no_survey(tmp_path, content):
    """The fast parser of YAML takes the process with it where there are enough brackets."""
    folder = Found(tmp_path / "train" / "x")
    folder.path.mkdir(parents=True)
    for path in (folder.path / "record.json", folder.failure):
        path.write_text("[" * 100_000)
    folder.config.write_text(content)
    assert folder.asked.keys() <= {"a"}
    assert (folder.rows, folder.why_failed, folder.tags) == ([], "", frozenset())
