"""`ipr reproduce` and the report of studies, from the command line to the page."""

import copy
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from omegaconf import OmegaConf

from ipr.cli.reproduce import enter, reasons, split
from ipr.config.shipped import shipped
from ipr.requests.compose import register, typed
from ipr.store.lease import Lease
from ipr.studies.plan import plan
from ipr.studies.planned import Plan, PlannedCell, read_plans
from ipr.studies.study import find_studies, load_study, studies
from one_line import assert_one_line
from sweeps import until

TINY = [
    "logger=csv", "model.width=0.0625", "trainer.max_epochs=1", "dataset.limit_train=64", "dataset.limit_test=20",
    "optimizer.batch_size=32", "trainer.progress_bar=false", "trainer.checkpoint_seconds=0",
]  # fmt: skip


def states():
    """Cell -> what became of it, of all plans."""
    runs = Path("runs")
    return {cell.name: cell.state(runs) for plan in read_plans(runs) for cell in plan.cells}


def own_study(place, **changes):
    study = {
        "title": "Mine", "question": "Is it found?", "source": "here",
        "sweeps": [{"scheme": ["passport_v1", "uchida"]}],
        "statements": [{"name": "bits_are_there", "says": "All.", "value": "mark", "at_least": 1.0}],
        "tables": [{"name": "mine", "caption": "c", "rows": ["scheme"], "values": {"bits": "mark"}}],
    }  # fmt: skip
    path = place / "mine.yaml"
    path.write_text(yaml.safe_dump({**study, **changes}))
    return path


def test_cells_are_not_copied_with_hydras_store_and_a_composed_one_changes_none():
    """Hydra copies its store whenever it composes: N cells would cost N times N copies."""
    register("reproduce")
    with initialize_config_dir(str(shipped("conf")), version_base="1.3"):
        config = typed(compose("reproduce", ["study=quickstart", "scale=smoke"]))
    enter(config, cells := plan(load_study(studies()["quickstart"]), config.scale))
    store = ConfigStore.instance()
    kept = store.repo["cell"]
    assert {*kept} == {f"{cell.name}.yaml" for cell in cells}
    assert copy.deepcopy(store).repo["cell"] is kept
    before = OmegaConf.to_container(kept[f"{cells[0].name}.yaml"].node)
    loaded = store.load(f"cell/{cells[0].name}.yaml").node
    loaded["number"] = 17
    assert OmegaConf.to_container(kept[f"{cells[0].name}.yaml"].node) == before


@pytest.mark.slow
def test_all_studies_at_smoke_scale(ipr):
    """Every cell of every table and figure runs, every statement is judged, and all of it is on one page."""
    outcome = ipr("reproduce", "study=all", "scale=smoke", "logger=csv")
    assert outcome.code == 0, outcome.err
    assert {*states().values()} == {"done"}
    assert len(states()) > 50
    report = Path("runs/report/studies-smoke")
    page = (report / "index.html").read_text()
    for path, study in find_studies("all"):
        name = path.stem
        assert study.title.split(":")[0] in page
        for statement in study.statements:
            assert statement.name in page
        for figure in study.figures:
            for suffix in ("svg", "png"):
                assert list(report.glob(f"{figure.name}*.{suffix}")), f"{name} draws no {figure.name}.{suffix}"
        for table in study.tables:
            for suffix in ("md", "csv", "tex"):
                assert list(report.glob(f"{table.name}*.{suffix}")), f"{name} has no {table.name}.{suffix}"
    assert "none of the runs that it is about is finished" not in page
    # asked again, everything is found; a part of it can be reported alone
    trained = {p: p.stat().st_mtime_ns for p in Path("runs").glob("*/*/metrics*.csv")}
    again = ipr("reproduce", "study=table_06,figure_09", "scale=smoke", "logger=csv")
    assert again.code == 0
    assert "made in" not in again.out
    assert {p: p.stat().st_mtime_ns for p in Path("runs").glob("*/*/metrics*.csv")} == trained
    alone = ipr("report", "study=figure_11", "out=alone")
    assert alone.code == 0
    assert Path("alone/figure_11.svg").exists()
    assert not Path("alone/table_06.md").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "tables"),
    [
        (["study=findings"], ["findings_lift", "findings_flips", "findings_second", "findings_grind"]),
        (["study=beyond", "scheme=trapdoor", "attack=combined,false_claim,grind"], ["beyond_marks"]),
        (["study=beyond", "scheme=lineage", "attack=distill,structural_obfuscation,data_free"], ["beyond_marks"]),
    ],
    ids=["findings", "trapdoor", "lineage"],
)
def test_studies_of_our_own_run_at_smoke_scale(ipr, arguments, tables):
    outcome = ipr("reproduce", *arguments, "scale=smoke", "logger=csv")
    assert outcome.code == 0, outcome.err
    assert {*states().values()} == {"done"}
    (page,) = Path("runs/report").glob("*/index.html")
    for name in tables:
        assert (page.parent / f"{name}.md").read_text().count("\n") > 3


@pytest.mark.slow
def test_a_cell_that_is_refused_is_told_with_its_reason_and_the_rest_go_on(ipr, tmp_path):
    study = own_study(
        tmp_path,
        sweeps=[
            {"scheme": ["passport_v1"], "set": {"scheme.signature": "far too long a text" * 20}},
            {"scheme": ["uchida"]},
        ],
    )
    outcome = ipr("reproduce", f"study={study}", *TINY, "scheme.signature=null")
    assert outcome.code == 0, outcome.err  # what is set on the command line is set for all
    outcome = ipr("reproduce", f"study={study}", *TINY)
    assert outcome.code == 1
    assert "Traceback" not in outcome.err
    assert {name.split("-")[0]: state for name, state in states().items()} == {
        "passport_v1": "missing",
        "uchida": "done",
    }
    assert re.search(r"^failed: passport_v1-.*shorten it", outcome.out, re.MULTILINE)
    page = Path("runs/report/mine-smoke/index.html").read_text()
    assert "1 of 2 runs are done, 1 planned." in " ".join(page.split())
    assert "far too long" not in page + outcome.out  # a signature is a secret
    found = Path("runs/report/mine-smoke/mine.md").read_text()
    assert "Uchida" in found


def test_a_report_is_written_while_cells_are_still_running(ipr, tmp_path):
    study = own_study(tmp_path, sweeps=[{"scheme": ["uchida", "passport_v1"]}])
    assert ipr("reproduce", f"study={study}", *TINY).code == 0
    (folder,) = Path("runs/train").glob("uchida-*")
    (folder / "record.json").unlink()
    with Lease(folder / ".lease"):
        outcome = ipr("report", "study=mine", "scale=smoke")
    assert outcome.code == 0, outcome.err
    page = Path("runs/report/mine-smoke/index.html").read_text()
    assert "1 of 2 runs are done, 1 running." in " ".join(page.split())
    assert ipr("report", "study=mine", "scale=smoke").code == 0  # and its process was killed since
    page = Path("runs/report/mine-smoke/index.html").read_text()
    assert "1 of 2 runs are done, 1 planned." in " ".join(page.split())
    assert "Uchida" not in Path("runs/report/mine-smoke/mine.md").read_text()


@pytest.mark.parametrize(("key", "kind"), [("scheme.bogus", "UchidaConfig"), ("attack.bogus", "Prune")])
def test_a_key_that_its_scheme_or_attack_lacks_is_refused_before_anything_is_planned(ipr, tmp_path, key, kind):
    study = own_study(tmp_path, sweeps=[{"scheme": ["uchida"], "attack": ["prune"], "set": {key: 1}}])
    assert_one_line(ipr("reproduce", f"study={study}", *TINY), key, f"is no key of {kind}")
    assert not Path("runs").exists()


def test_a_training_that_diverges_is_shown_as_failed_with_its_reason(ipr, tmp_path):
    study = own_study(tmp_path, sweeps=[{"scheme": ["uchida"]}])
    outcome = ipr("reproduce", f"study={study}", *TINY, "optimizer.lr=1e30", "optimizer.clip_norm=null")
    assert outcome.code == 1
    assert [*states().values()] == ["failed"]
    assert re.search(r"^failed: uchida-.*diverged", outcome.out, re.MULTILINE)
    assert "diverged" in Path("runs/report/mine-smoke/index.html").read_text()


@pytest.mark.system
def test_jobs_go_where_the_launcher_sends_them(ipr, tmp_path):
    """Two processes of joblib: each cell is done once, and its run is named for the one that asked."""
    study = own_study(tmp_path)
    outcome = ipr("reproduce", f"study={study}", *TINY, "hydra/launcher=joblib", "hydra.launcher.n_jobs=2")
    assert outcome.code == 0, outcome.err
    assert [*states().values()] == ["done", "done"]


def test_a_study_is_run_at_the_scale_that_it_is_made_for(ipr, tmp_path):
    """What it draws where it says nothing: the tables of any runs, with the baselines among its cells."""
    study = own_study(tmp_path, scale="digits", tags=["of-mine"], tables=[], statements=[], sweeps=[
        {"scheme": ["baseline"], "norm": ["bn"]}, {"scheme": ["passport_v1"], "attack": ["fake1"], "first_seed": True},
        {"scheme": ["passport_v1", "uchida"]},
    ])  # fmt: skip
    small = [*TINY, "scale.seeds=[0]", "verification.forged=2"]
    outcome = ipr("reproduce", f"study={study}", *small)
    assert outcome.code == 0, outcome.err
    assert "scale digits" in outcome.out
    assert {name.split("-")[0]: state for name, state in states().items()} == dict.fromkeys(
        ("baseline", "passport_v1", "uchida", "fake1"), "done"
    )
    report = Path("runs/report/mine")
    rows = [line.split("|")[1].strip() for line in (report / "runs.md").read_text().splitlines() if line[:1] == "|"]
    assert rows == ["scheme", "---", "baseline", "passport_v1", "uchida"]
    assert (report / "table.md").read_text().startswith("alexnet at width 0.0625 on digits (64 training")
    for name in ("records.csv", "attacks.md", "attacks.csv", "points.tex", "accuracy.svg", "index.html"):
        assert (report / name).exists()
    tagged = ipr("report", "tag=of-mine")
    assert tagged.code == 0, tagged.err
    for name in ("runs.md", "attacks.md", "points.csv"):  # the same runs by their tag
        assert (Path("runs/report/of-mine") / name).read_text() == (report / name).read_text()
    assert ipr("list", "tag=of-mine").out.count(" done ") == 4


def test_cells_of_a_study_are_chosen_by_what_they_are(ipr, tmp_path):
    study = own_study(tmp_path)
    outcome = ipr("reproduce", f"study={study}", *TINY, "scheme=uchida", "seed=0")
    assert outcome.code == 0, outcome.err
    assert [path.name.split("-")[0] for path in Path("runs/train").iterdir()] == ["uchida"]
    assert [name.split("-")[0] for name in states()] == ["uchida"]
    refused = ipr("reproduce", f"study={study}", *TINY, "scheme=uchida", "seed=7")
    assert (refused.code, len(refused.err.splitlines())) == (2, 1)
    assert "has no such cell" in refused.err


def test_a_dry_run_lists_cells_and_leaves_nothing(ipr):
    outcome = ipr("reproduce", "study=table_06", "scale=smoke", "dry=true")
    assert outcome.code == 0
    assert "missing" in outcome.out
    assert not Path("runs").exists()


@pytest.mark.sampled(5)
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["study=table_99"], ["study=table_99", "is unknown", "table_01"]),
        (["study=nothing.yaml"], ["nothing.yaml", "cannot be read"]),
        (["study=table_06", "scale=huge"], ["scale=huge", "cpu, digits, paper, part, smoke"]),
        (["study=table_06", "scale.seed=1"], ["seed", "seeds"]),
        (["study=table_06", "trainer.epochs=1"], ["trainer.epochs", "max_epochs"]),
        (["study=table_06", "trainer.precision=8"], ["trainer.precision=8", "bf16-mixed"]),
        (["study=table_06", "scale=cpu"], ["dataset.root", "no images of cifar10"]),
        (["study=table_06", "scale=cpu", "images=/nowhere"], ["/nowhere", "no images of cifar10"]),
        (["study=table_06", "hydra/launcher=nothing"], ["hydra/launcher=nothing", "joblib"]),
        (["study=table_06", "seed=7"], ["study=table_06", "has no such cell"]),
        (["study=table_06", "scheme=uchidas"], ["scheme=uchidas", "did you mean uchida?"]),
        (["study=table_06,quickstart"], ["study=table_06,quickstart", "scale=smoke", "scale=digits"]),
        (["study=table_06", "exhibit=timing"], ["exhibit=timing", "is what the study's sweep sets"]),
        (["study=table_06", "dataset@transfer=cifar100"], ["dataset@transfer=cifar100", "scale.datasets"]),
        (["study=table_06", "+passport.energy=null"], ["passport.energy=null", "scale.energies"]),
        ([], ["study", "must be given"]),
    ],
)
def test_bad_input_is_one_line_and_nothing_is_planned(ipr, arguments, words):
    outcome = ipr("reproduce", *arguments)
    assert outcome.code == 2
    (line,) = outcome.err.strip().splitlines()
    assert line.startswith("ipr: error: ")
    for word in words:
        assert word in line
    assert not Path("runs/studies").exists()


def test_a_report_goes_on_where_a_run_was_deleted_and_names_a_study_that_was_not_run(ipr, tmp_path):
    study = own_study(tmp_path)
    assert ipr("reproduce", f"study={study}", *TINY).code == 0
    (gone,) = Path("runs/train").glob("uchida-*")
    shutil.rmtree(gone)
    outcome = ipr("report", "study=mine")
    assert outcome.code == 0, outcome.err
    table = Path("runs/report/mine/mine.md").read_text()
    assert "V1" in table
    assert "Uchida" not in table
    refused = ipr("report", "study=mine,table_06")
    assert refused.code == 2
    assert "study=table_06: was not run" in refused.err


def test_report_of_studies_that_were_not_run(ipr):
    for arguments in (["study=table_06"], ["study=all", "scale=cpu"], ["study=all", "tag=x"]):
        outcome = ipr("report", *arguments)
        assert outcome.code == 2
        assert len(outcome.err.strip().splitlines()) == 1


def test_keys_of_the_command_are_told_from_those_of_the_jobs():
    own, passed = split(
        ["study=a", "scale.seeds=[0]", "paths.runs=x", "logger=csv", "hydra/launcher=joblib", "--cfg", "+a.b=1",
         "model=alexnet", "model.width=1"]
    )  # fmt: skip
    assert own == ["study=a", "scale.seeds=[0]", "paths.runs=x", "--cfg", "model=alexnet"]
    assert passed == ["paths.runs=x", "logger=csv", "hydra/launcher=joblib", "+a.b=1", "model.width=1"]


def test_an_exhibit_alone(ipr):
    asked = ["exhibit=distributions", "scheme=passport_v1", "passport=random", *TINY]
    outcome = ipr("exhibit", *asked)
    assert outcome.code == 0, outcome.err
    (folder,) = Path("runs/exhibit").iterdir()
    assert (folder / "figure_10.svg").exists()
    assert folder.stat().st_mode & 0o777 == 0o700
    assert "found" in ipr("exhibit", *asked).out
    for wrong, named in (([], "exhibit"), (["exhibit=distributions", "scheme=uchida"], "exhibit=distributions")):
        refused = ipr("exhibit", *wrong)
        assert refused.code == 2
        assert named in refused.err
        assert len(refused.err.strip().splitlines()) == 1


def test_what_is_said_of_cells_that_are_not_done_when_all_jobs_have_ended(tmp_path):
    """By their folders; how a job ended in this command is told where there is no more."""
    about = {"scheme": "uchida", "model": "alexnet", "dataset": "cifar10", "seed": 0}
    files = {"done": "record.json", "failed": "failure.json", "killed": "config.yaml", "running": "config.yaml"}
    plan = Plan(
        1, "mine.yaml", "smoke", "", [], {}, [PlannedCell(n, about, "", f"train/{n}") for n in [*files, "none"]]
    )
    for name, file in files.items():
        (tmp_path / "train" / name).mkdir(parents=True)
        (tmp_path / "train" / name / file).write_text('{"what": "loss", "value": "nan", "epoch": 3}')
    with Lease(tmp_path / "train" / "running" / ".lease"):
        found = reasons(tmp_path, [plan], {"none": "it is too small"})
    assert found == {
        "failed": "diverged: loss is nan in epoch 3", "killed": "its process is gone; the same command goes on",
        "running": "another process is making it", "none": "it is too small",
    }  # fmt: skip
    assert reasons(tmp_path, [plan], {})["none"] == "not begun"


@pytest.mark.system
def test_an_interrupted_sweep_goes_on(ipr, tmp_path):
    """Killed in the middle of a training, as by a power cut: the same command ends it."""
    study = own_study(tmp_path, sweeps=[{"scheme": ["uchida"]}])
    long = [a for a in TINY if "max_epochs" not in a] + ["trainer.max_epochs=40"]
    command = [sys.executable, "-c", "from ipr.cli import main; main()", "reproduce", f"study={study}", *long]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        until(lambda: list(Path("runs/train").glob("uchida-*/checkpoints/last.ckpt")))
        process.kill()
    assert [*states().values()] == ["stopped"]
    outcome = ipr("reproduce", f"study={study}", *long)
    assert outcome.code == 0, outcome.err
    assert [*states().values()] == ["done"]


BURST = {"_target_": "pathlib.Path.touch", "self": {"_target_": "pathlib.Path", "_args_": ["burst"]}}


@pytest.mark.parametrize(
    ("sweep", "words"),
    [
        ({"set": {"hydra.callbacks.x": BURST}}, ["hydra.callbacks.x", "command line"]),
        ({"set": {"passport.key": "mine"}}, ["passport.key", "secret"]),
        ({"set": {"scheme.signature": "${oc.env:SECRET}"}}, ["scheme.signature", "resolved"]),
        ({"attack": ["prune"], "set": {"attack.bogus": 1}}, ["attack.bogus", "rates"]),
        ({"set": {"attack.rates": [0.5]}}, ["attack.rates", "leave it out"]),
    ],
)
def test_a_study_of_somebody_else_sets_nothing_but_settings(ipr, tmp_path, monkeypatch, sweep, words):
    monkeypatch.setenv("SECRET", "hush")
    study = own_study(tmp_path, sweeps=[{"scheme": ["uchida"], **sweep}])
    outcome = ipr("reproduce", f"study={study}", *TINY)
    assert outcome.code == 2
    (line,) = outcome.err.strip().splitlines()
    assert line.startswith("ipr: error: ")
    for word in words:
        assert word in line
    assert "hush" not in outcome.err + outcome.out
    assert not Path("burst").exists()
    assert not Path("runs").exists()


def test_texts_of_a_study_are_not_resolved(ipr, tmp_path, monkeypatch):
    monkeypatch.setenv("SECRET", "hush")
    text = "${oc.env:SECRET} <script>alert(1)</script> {{ 7 * 7 }}"
    statement = {"name": "bits", "says": text, "value": "mark", "at_least": 1.0}
    study = own_study(tmp_path, title=text, sweeps=[{"scheme": ["uchida"]}], statements=[statement])
    outcome = ipr("reproduce", f"study={study}", *TINY)
    assert outcome.code == 0, outcome.err
    page = Path("runs/report/mine-smoke/index.html").read_text()
    assert page.count("${oc.env:SECRET} &lt;script&gt;alert(1)&lt;/script&gt; {{ 7 * 7 }}") >= 2
    for path in Path("runs").rglob("*"):
        assert not path.is_file() or b"hush" not in path.read_bytes()
