"""What a sweep says of itself, the number that a job is worth, what refused requests leave, and resuming."""

import json
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins

from ipr import configuration
from ipr.cli.launchers.outcomes import announce, announced, count_of, descriptions
from ipr.store.record import Record
from ipr.training import fit as fitting
from ipr.training.checkpoints import epochs_in
from ipr.workflows.attack_rows import AttackRow
from ipr.workflows.objective import choices, numbers_of, worth_of
from one_line import assert_one_line
from sweeps import SECONDS

CLIMBER = '''
import json
from pathlib import Path

from hydra.core.config_store import ConfigStore
from hydra.core.plugins import Plugins
from hydra.plugins.sweeper import Sweeper

class Climber(Sweeper):
    """A sweeper like Optuna's: jobs one at a time, each after the number of the one before."""

    def __init__(self, n_trials):
        self.n_trials = n_trials

    def setup(self, *, hydra_context, task_function, config):
        self.config = config
        self.launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments):
        seed, seen = 0, []
        for trial in range(self.n_trials):
            (one,) = self.launcher.launch([[*arguments, f"seed={seed}"]], initial_job_idx=trial)
            seen.append([seed, one.return_value])
            seed += 1 + int(one.return_value is None)
        Path("seen.json").write_text(json.dumps(seen))

node = {"_target_": "hydra_plugins.climber.Climber", "n_trials": 3}
ConfigStore.instance().store(group="hydra/sweeper", name="climber", node=node)
'''
JOBS = """
import sys
from ipr.cli.jobs import invoke
from ipr.cli.launchers.outcomes import Done
from ipr.errors import InputError

def worth(config):
    if config.seed == 1:
        raise InputError("seed", 1, "is refused", "give another")
    return Done(config.seed + 0.5, {"state": "made"})

if __name__ == "__main__":
    sys.exit(max(invoke("train", worth, ["-m", "hydra/sweeper=climber", *sys.argv[1:]])[0]))
"""
"""A job that is worth half more than its seed; 1 is refused."""


@pytest.fixture
def climber(monkeypatch):
    """`hydra/sweeper=climber`, which leaves what it saw in seen.json."""
    module = ModuleType("hydra_plugins.climber")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec(CLIMBER, module.__dict__)
    module.Climber.__module__ = module.__name__
    Plugins.instance().register(module.Climber)
    yield
    ConfigStore.instance().repo["hydra"]["sweeper"].pop("climber.yaml")


@pytest.mark.usefixtures("climber")
def test_a_sweeper_sees_the_number_of_the_record_that_was_chosen(ipr, tiny):
    outcome = ipr("train", *tiny, "scheme=passport_v1", "hydra/sweeper=climber", "objective=bits_agreeing", "-m")
    assert outcome.code == 0, outcome.err
    bits = {}
    for path in Path().glob("runs/train/*/record.json"):
        record = json.loads(path.read_text())
        bits[record["seed"]] = record["bits_agreeing"]
    assert json.loads(Path("seen.json").read_text()) == [[seed, float(bits[seed])] for seed in (0, 1, 2)]
    assert [line for line in outcome.out.splitlines() if line.startswith("[")] == [
        "[1/3] seed=0", "[2/3] seed=1", "[3/3] seed=2",
    ]  # fmt: skip
    table = outcome.out.partition("\n3 jobs")[2]
    assert re.search(rf"2 +seed=1 .* {bits[1]} ", table)


@pytest.mark.system
@pytest.mark.parametrize("launcher", ["basic", "joblib", "submitit_local"])
def test_numbers_come_back_from_wherever_jobs_run(launcher):
    """A job that is refused has none; the others go on."""
    Path("hydra_plugins").mkdir()
    Path("hydra_plugins/climber.py").write_text(CLIMBER)
    Path("jobs.py").write_text(JOBS)
    asked = [f"hydra/launcher={launcher}", "trainer.accelerator=cpu"]
    outcome = subprocess.run([sys.executable, "jobs.py", *asked], capture_output=True, text=True, timeout=SECONDS)
    assert outcome.returncode == 2, outcome.stderr
    assert json.loads(Path("seen.json").read_text()) == [[0, 0.5], [1, None], [3, 3.5]]
    assert "seed=1: is refused" in outcome.stderr
    table = outcome.stdout.partition("3 jobs")[2]
    assert re.search(r"2 +seed=1 .*failed", table)
    assert re.search(r"3 +seed=3 .*made", table)


def test_what_an_objective_may_be(ipr, tiny):
    assert "accuracy_forged_max" in choices(Record)
    assert "p_value_log10" in choices(AttackRow)
    for kind in (Record, AttackRow):
        assert not {"scheme", "tags", "key", "commit", "schema_version"} & set(choices(kind))
    assert_one_line(
        ipr("attack", *tiny, "objective=bits_agreein"), "objective=bits_agreein", "did you mean bits_agreeing?"
    )
    assert not Path("runs").exists()


def test_accuracy_is_what_a_legitimate_user_gets(tiny, run_folder, run_of):
    class Row:
        accuracy_used, bits_agreeing, bits_total, trigger_accuracy, mark_read = 0.75, None, None, 0.25, True

    def worth(objective, row=Row):
        return worth_of(numbers_of(objective, row, lambda: -0.5))

    assert worth("accuracy") == worth(["accuracy"]) == 0.75
    assert worth("bits_agreeing") is None
    assert worth("mark_read") == 1.0
    assert worth(["gain", "mark", "accuracy"]) == [-0.5, 0.25, 0.75]
    assert worth(["gain", "bits_agreeing"]) is None  # half of what was asked for tells a sweeper nothing
    bits = type("Bits", (Row,), {"bits_agreeing": 9, "bits_total": 12})
    assert worth("mark", bits) == 0.75
    run_of(*tiny, "scheme=passport_v1")
    path = run_folder("passport_v1") / "record.json"
    row = json.loads(path.read_text())
    record = Record(**(row | {"accuracy_genuine": 0.9, "accuracy_without": 0.1}))
    assert record.accuracy_used == 0.9
    assert Record(**(row | {"scheme": "passport_v2", "accuracy_without": 0.1})).accuracy_used == 0.1


def test_how_many_jobs_there_are_is_said_where_it_is_known(tmp_path):
    basic = "hydra._internal.core_plugins.basic_sweeper.BasicSweeper"
    assert count_of({"_target_": basic, "max_batch_size": None}, 12) == 12
    assert count_of({"_target_": basic, "max_batch_size": 4}, 4) is None
    assert count_of({"_target_": "x.Optuna", "n_trials": 20}, 1) == 20
    assert count_of({"_target_": "x.Other"}, 5) is None
    named = descriptions({4: ["a=1", "passport.key=hush", "hydra.mode=MULTIRUN"], 5: ["a=1", "passport.key=other"]})
    announce(tmp_path, named, None)
    assert announced(tmp_path, 4) == "[5] passport.key=<hidden>"
    assert announced(tmp_path, 7) == ""
    announce(tmp_path / "nowhere", named, 2)  # no room: the jobs run all the same
    assert descriptions({0: ["a=1", "b=False", "c=2"]}, ["a=1", "b=false", "c=choice(1,2)"]) == {0: "c=2"}


@pytest.mark.slow
def test_a_sweep_says_which_job_is_which_and_no_secret(ipr, tiny):
    outcome = ipr("train", "-m", *tiny, "scheme=baseline,passport_v1", "passport.key=hush,hushed")
    assert outcome.code == 0, outcome.err
    assert "[1/4] scheme=baseline passport.key=<hidden>\n" in outcome.out
    assert "[4/4] scheme=passport_v1 passport.key=<hidden>\n" in outcome.out
    assert outcome.out.count("\n4 jobs") == 1
    assert "hush" not in outcome.out + outcome.err
    assert "jobs" not in ipr("train", *tiny, "scheme=baseline").out


@pytest.mark.sampled(4)
@pytest.mark.parametrize(
    "asked",
    [
        ["scheme.alternation=both"],
        ["scheme.gamma_0=0"],
        ["optimizer.batch_size=97"],
        ["optimizer.schedule=sometimes"],
        ["logger=wandb", "logger.mode=loud"],
        ["scheme=uchida", "scheme.bits=99999"],
        ["scheme=frontier_stitching", "scheme.epsilon=-1"],
        ["scheme=passport_v3", "trigger_set.per_step=1000"],
        ["scheme.sign_loss_weight=-1", "paths.runs=new/store/here"],
    ],
    ids=" ".join,
)
def test_a_refused_request_leaves_nothing_behind(ipr, tiny, asked):
    """Nor does it train the plain network that its passports would be taken from."""
    named = {one.split("=")[0] for one in asked}
    rest = [one for one in tiny if one.split("=")[0] not in named and one != "passport=random"]
    assert_one_line(ipr("train", *rest, "passport=shuffled", *asked))
    assert not list(Path().iterdir())


def test_a_refused_request_leaves_what_was_there(ipr, tiny, run_of):
    """What an interrupted training has done, or others have put beside it, is not taken away."""
    folder = run_of(*tiny, "scheme=baseline")
    for name in ("record.json", "public.safetensors"):
        (folder / name).unlink()
    (folder / "checkpoints" / "last.ckpt").rename(folder / "kept")
    assert_one_line(ipr("train", *tiny, "scheme=baseline", "logger=wandb", "logger.mode=loud"), "logger.mode")
    assert (folder / "kept").exists()
    assert_one_line(ipr("train", *tiny, "scheme=baseline", "seed=1", "logger=wandb", "logger.mode=loud"), "logger.mode")
    assert [path.name for path in Path("runs/train").iterdir()] == [folder.name]


@pytest.mark.sampled(4)
@pytest.mark.parametrize(
    "asked",
    [
        ["verify", "suspect=nowhere", "claim=nowhere"],
        ["calibrate", "claim=nowhere"],
        ["dispute", "suspect=nowhere", "claims=[a,b]"],
        ["attack", "run=nowhere"],
        ["exhibit", "exhibit=distributions", "scheme=uchida"],
        ["export", "run=nowhere"],
        ["reproduce", "study=table_06", "model.norm=gn"],
        ["reproduce", "study=nothing"],
        ["report", "tag=nothing"],
        ["gc", "remove=everything"],
    ],
    ids=" ".join,
)
def test_no_other_command_leaves_anything_of_a_refused_request(ipr, tmp_path, monkeypatch, asked):
    monkeypatch.setenv("IPR_JUDGE_KEY", str(tmp_path / "judge.pem"))
    assert_one_line(ipr(*asked))
    assert not list(tmp_path.iterdir())


def test_resuming_says_so_in_one_line(ipr, tiny, run_folder, monkeypatch):
    asked = [one for one in tiny if not one.startswith("trainer.max_epochs")] + [
        "scheme=baseline",
        "trainer.max_epochs=3",
    ]
    first = ipr("train", *asked)
    assert "resumed" not in first.out + first.err
    folder = run_folder("baseline")
    for name in ("record.json", "public.safetensors"):
        (folder / name).unlink()
    again = ipr("train", *asked)
    lines = [line for line in again.err.splitlines() if "resumed" in line]
    assert lines == [f"resumed: {folder} goes on from its checkpoint; 3 of 3 epochs are done"]
    assert epochs_in(folder / "checkpoints" / "last.ckpt") == 3
    assert "resumed" not in ipr("train", *asked).err
    assert fitting.latest(folder / "checkpoints" / "last.ckpt") is not None


def test_a_resumed_attack_says_so(ipr, tiny):
    asked = ("attack", *tiny, "scheme=passport_v1", "attack=prune", "attack.rates=[0.1,0.5]")
    assert "resumed" not in ipr(*asked).err
    (folder,) = Path("runs").glob("attack/prune-*")
    (folder / "finished").unlink()
    rows = (folder / "rows.jsonl").read_text().splitlines(keepends=True)
    (folder / "rows.jsonl").write_text(rows[0])
    again = ipr(*asked)
    assert f"resumed: {folder} goes on; 1 points are done" in again.err
    assert len((folder / "rows.jsonl").read_text().splitlines()) == 2


def test_the_default_is_small_and_the_whole_network_is_a_word_away():
    """A quarter of the channels: 1/16 of the work. All else is as of `model=alexnet`, whose runs keep their names."""
    from dataclasses import replace

    for command in ("train", "attack"):
        small, whole = configuration(command), configuration(command, "model=alexnet")
        assert (small.model.width, whole.model.width) == (0.25, 1.0)
        assert replace(small.model, width=1.0) == whole.model
        assert replace(small, model=whole.model) == whole
    assert configuration("train", "model=alexnet", "model.width=0.25") == configuration("train")
