"""`ipr dashboard`: the workspace loads, and plots nothing that no run ever tells."""

import json
import re
import sys
from pathlib import Path

import pytest
from wandb_workspaces.workspaces import Workspace
from wandb_workspaces.workspaces.internal import View

from ipr.tracking.workspace import NAME
from wandb_files import read_finished
from wandb_server import closed_port, serving


def panels(view):
    return [
        (panel["viewType"], panel["config"])
        for section in view.spec.section.panel_bank_config.sections
        for panel in section.model_dump(by_alias=True, exclude_none=True)["panels"]
    ]


def columns_of_points():
    """Those of the tables that the attacks told as `points`."""
    (columns, *others) = [
        json.loads(path.read_text())["columns"]
        for path in Path("runs/attack").glob("*/wandb/offline-run-*/files/media/table/points_*.json")
    ]
    assert all(other == columns for other in others)
    return {*columns}


def test_without_a_login_it_is_a_file_that_loads_as_a_workspace(ipr):
    outcome = ipr("dashboard", "tag=mine", "project=passports")
    assert outcome.code == 0, outcome.err
    assert "written: runs/dashboard.json" in outcome.out
    assert "wandb login" in outcome.out
    text = Path("runs/dashboard.json").read_text()
    view = View.model_validate_json(text)
    assert json.loads(view.model_dump_json(by_alias=True, exclude_none=True)) == json.loads(text)
    loaded = Workspace._from_model(view)
    assert (loaded.name, loaded.project) == (NAME, "passports") == ("Schemes x attacks", "passports")
    assert [section.name for section in loaded.sections] == [NAME, "Schemes", "Attacks", "Points", "Curves"]
    assert "mine" in loaded.runset_settings.filters
    assert len(loaded.runset_settings.groupby) == 3
    assert ipr("dashboard", "out=other/all.json").code == 0
    unfiltered = Workspace._from_model(View.model_validate_json(Path("other/all.json").read_text()))
    assert unfiltered.runset_settings.filters == ""


def test_every_metric_it_plots_is_one_that_a_run_tells(ipr, tiny):
    asked = [*(a for a in tiny if a != "logger=csv"), "dataset.validation=0.25"]
    for arguments in (
        ("attack=prune", "attack.rates=[0,0.6]"), ("attack=fake2_signature", "attack.dissimilarity=[0.1]"),
        ("attack=finetune",),
    ):  # fmt: skip
        outcome = ipr("attack", *asked, "scheme=passport_v3", *arguments, "attack_epochs=1")
        assert outcome.code == 0, outcome.err
    told = [read_finished(folder) for folder in sorted(Path("runs").glob("*/*"))]
    assert len(told) == 4
    histories = [row for run in told for row in run.history]
    names = {name for row in histories for name, value in row.items() if value is not None}
    summaries = {name for run in told for name, value in run.summary.items() if value is not None}
    configs = [run.config for run in told]
    assert ipr("dashboard").code == 0
    view = View.model_validate_json(Path("runs/dashboard.json").read_text())
    found = panels(view)
    for kind, config in found:
        title = config.get("chartTitle")
        if kind == "Run History Line Plot":
            (metric,) = config["metrics"]
            axis = config["xAxis"]
            assert any(row.get(axis) is not None and row.get(metric) is not None for row in histories), title
            if (pattern := config.get("metricRegex")) is not None:
                matched = {name for name in names if re.fullmatch(pattern, name)}
                assert matched == {metric, f"dissimilarity-0.1/{metric}"}
        elif kind == "Bar Chart":
            assert set(config["metrics"]) <= summaries, title
            group = config["groupBy"].split(".")[0]
            assert any("name" in run.get(group, {}) for run in configs), title
        elif kind == "Scatter Plot":
            axes = [config[axis].removeprefix("summary:") for axis in ("xAxis", "yAxis")]
            assert any(all(run.summary.get(a) is not None for a in axes) for run in told), title
        elif kind == "Vega2":
            (query,) = config["userQuery"]["queryFields"]
            asked = {field["name"]: field["args"][0]["value"] for field in query["fields"] if field.get("args")}
            if "summary" in asked:
                assert any(all(run.summary.get(key) is not None for key in asked["summary"]) for run in told), config
            columns = {*asked["summary"]} if "summary" in asked else columns_of_points()
            assert asked.get("summaryTable", "points") == "points"
            assert {*config["fieldSettings"].values()} <= columns
        else:
            assert kind == "Weave"
            assert "points" in json.dumps(config)
            assert any(name.partition("/")[0] == "points" for name in names)  # the table, told in parts
    assert {kind for kind, _ in found} == {"Run History Line Plot", "Bar Chart", "Scatter Plot", "Vega2", "Weave"}
    columns = view.spec.section.run_sets[0].run_feed.column_pinned
    assert {column.removeprefix("summary:") for column in columns} - {"run:displayName"} <= summaries
    for key in view.spec.section.run_sets[0].grouping:
        assert key.name == "jobType" or any("name" in run.get(key.name.split(".")[0], {}) for run in configs)


def test_with_a_login_it_is_saved(ipr, wandb_at):
    with serving() as server:
        wandb_at(server.url)
        outcome = ipr("dashboard", "project=passports")
        assert outcome.code == 0, outcome.err
        (view,) = [a["variables"] for a in server.asked if "upsertView" in a["query"]]
        assert f"saved: {server.url}/me/passports?nw=" in outcome.out
    assert (view["entityName"], view["projectName"], view["displayName"]) == ("me", "passports", NAME)
    assert "accuracy_genuine" in view["spec"]
    assert not Path("runs").exists()
    charts = [a["variables"] for a in server.asked if "createCustomChart" in a["query"]]
    assert {(chart["entity"], chart["access"], chart["chartType"]) for chart in charts} == {("me", "PRIVATE", "vega2")}
    kept = {f"me/{chart['chartName']}" for chart in charts}
    shown = json.loads(view["spec"])["section"]["panelBankConfig"]["sections"][0]["panels"]
    assert {panel["config"]["panelDefId"] for panel in shown} == kept  # each panel names one that W&B keeps
    assert all("vega-lite" in json.loads(chart["spec"])["$schema"] for chart in charts)


@pytest.mark.parametrize(("charts", "said"), [("no charts on this server", True), ("it exists already", False)])
def test_without_its_charts_the_workspace_is_saved_and_a_line_says_so(ipr, wandb_at, charts, said):
    with serving() as server:
        server.charts = charts
        wandb_at(server.url)
        outcome = ipr("dashboard")
    assert outcome.code == 0, outcome.err
    assert outcome.out.startswith(f"saved: {server.url}/me/ipr?nw=")
    assert ("no charts on this server" in outcome.out) == said
    assert ("heat maps" in outcome.out) == said


@pytest.mark.parametrize("away", ["refused", "turned down"])
def test_a_server_that_does_not_take_it_is_one_line(ipr, wandb_at, away):
    with serving() as server:
        server.refuses = True
        wandb_at(closed_port() if away == "refused" else server.url)
        outcome = ipr("dashboard", "entity=me")
    assert outcome.code == 2
    (line,) = outcome.err.splitlines()
    assert line.startswith("ipr: error: dashboard=me/ipr: ")
    assert away != "refused" or "refused" in line


def test_a_file_that_cannot_be_written_and_a_package_that_is_not_there_are_one_line(ipr, monkeypatch):
    outcome = ipr("dashboard", "out=/dev/null/dashboard.json")
    assert outcome.code == 2
    assert outcome.err.startswith("ipr: error: out=/dev/null/dashboard.json: cannot be written")
    monkeypatch.setitem(sys.modules, "wandb_workspaces", None)
    outcome = ipr("dashboard")
    assert outcome.code == 2
    (line,) = outcome.err.splitlines()
    assert "pip install wandb wandb-workspaces" in line
