"""Searches with Optuna: what a job is worth, what is refused before the first one, and what they end with."""

import json
import re
from pathlib import Path

import optuna
import pytest
from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins

from one_line import assert_one_line

OPTUNA = ("-m", "hydra/sweeper=optuna", "hydra.sweeper.n_trials=2", "hydra.sweeper.n_jobs=1")
TWO = "hydra.sweeper.direction=[maximize,maximize]"
ONE = "hydra.sweeper.direction=maximize"


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (["objective=[gain,nothing]", TWO], ("objective=nothing", "is no number of a record")),
        (["objective=[gain,gain]", TWO], ("objective=gain", "is named twice")),
        (["objective=[]", ONE], ("objective=[]", "is no name and no list of names")),
        (["objective=3", ONE], ("objective=3", "is no name and no list of names")),
        (["objective=[gain,mark]", ONE], ("direction=maximize", "1 number", "2 numbers (gain, mark)", "[maximize,")),
        (["objective=gain", TWO], ("2 numbers", "objective has 1 number (gain)", "direction=maximize")),
        ([ONE.replace("maximize", "up")], ("Please set either 'minimize' or 'maximize' to direction",)),
    ],
    ids=" ".join,
)
@pytest.mark.sampled(3)
def test_what_no_job_can_be_worth_is_refused_before_the_first(ipr, asked, said):
    for command in ("train", "attack"):
        assert_one_line(ipr(command, *OPTUNA, "seed=range(0,5)", *asked), *said)
    assert not list(Path().iterdir())


def test_a_wrong_objective_of_any_sweep_is_one_line(ipr):
    assert_one_line(
        ipr("train", "-m", "seed=0,1,2", "objective=[accuracy,bits_agreein]"), "did you mean bits_agreeing?"
    )


def test_a_search_needs_a_sweep(ipr):
    assert_one_line(ipr("attack", "search=passport"), "hydra/sweeper=optuna: is for sweeps", "add -m")
    assert not list(Path().iterdir())


@pytest.mark.parametrize("asked", [("attack", "-m", "search=passport"), ("train", "-m", "hydra/sweeper=optuna")])
def test_a_missing_sweeper_names_its_extra(ipr, asked, monkeypatch):
    """As in an environment without it (tests/test_extras.py has one): Hydra has found no such sweeper."""
    Plugins.instance()
    monkeypatch.delitem(ConfigStore.instance().repo["hydra"]["sweeper"], "optuna.yaml")
    assert_one_line(ipr(*asked), "optuna", "is not installed", "pip install 'ipr-passports[optuna]'")


def test_a_search_of_which_every_job_is_refused_ends_without_a_traceback(ipr, tiny):
    outcome = ipr("train", *OPTUNA, ONE, *tiny, "seed=range(0,5)", "scheme.gamma_0=0")
    assert outcome.code == 2
    lines = [line for line in outcome.err.splitlines() if line.startswith("ipr: error: ")]
    assert sum("scheme.gamma_0=0" in line for line in lines) == 2
    assert "No trials are completed yet" in lines[-1]
    assert "Traceback" not in outcome.err


@pytest.mark.slow
def test_a_search_weighs_what_a_passport_costs_against_what_an_attack_leaves(ipr, tiny):
    """Optuna was told what the records say; the same command finds what it has made, and goes on where it stopped."""
    fewer = [one for one in tiny if not one.startswith("optimizer.batch_size")]
    asked = ["attack", "-m", "search=passport", *fewer, "attack.epochs=1", "hydra.sweeper.n_trials=2"]
    kept = ["hydra.sweeper.storage=sqlite:///trials.db", "hydra.sweeper.study_name=mine"]
    outcome = ipr(*asked, *kept)
    assert outcome.code == 0, outcome.err
    records = [json.loads(path.read_text()) for path in Path("runs").glob("train/*/record.json")]
    by_key = {record["key"]: record for record in records}
    (plain,) = [record["accuracy_without"] for record in records if record["scheme"] == "baseline"]
    rows = [json.loads(path.read_text()) for path in Path("runs").glob("attack/*/rows.jsonl")]
    wanted = {
        (by_key[row["victim"]]["accuracy_without"] - plain, row["bits_agreeing"] / row["bits_total"]) for row in rows
    }
    study = optuna.load_study(study_name="mine", storage="sqlite:///trials.db")
    assert {tuple(trial.values) for trial in study.trials} == wanted
    table = outcome.out.partition("\n2 jobs")[2]
    assert re.search(r"# +job +.*gain +.*best +state +run", table)
    assert table.count(" yes ") == len(study.best_trials)

    again = ipr(*asked[:-1], "hydra.sweeper.n_trials=3")
    assert again.code == 0, again.err
    assert re.findall(r"(found|made) +finetune-", again.out.partition("\n3 jobs")[2]) == ["found", "found", "made"]
