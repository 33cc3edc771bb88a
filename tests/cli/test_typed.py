"""What a person types: options anywhere, what was meant, help, completion; without training anything."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from ipr.cli import COMMANDS
from ipr.cli.completion import SHELLS, candidates
from ipr.cli.help import help_text
from ipr.errors import InputError
from ipr.requests import keys
from ipr.requests.compose import in_section
from ipr.requests.line import read_line
from ipr.terminal.spelling import closest
from one_line import assert_one_line

ALL = tuple(COMMANDS)


@pytest.mark.parametrize(
    ("wrong", "known", "meant"),
    [
        ("trian", ["train", "gc"], "train"),
        ("Train", ["train", "gc"], "train"),
        ("table6", ["table_06", "table_16"], "table_06"),
        ("Table 6", ["table_06", "table_16"], "table_06"),
        ("figure_2", ["figure_02", "figure_12"], "figure_02"),
        ("v2", ["passport_v1", "passport_v2"], "passport_v2"),
        ("ResNet-18", ["alexnet", "resnet18"], "resnet18"),
        ("nonsense", ["ones", "prune"], None),
        ("", ["train"], None),
        ("--", ["train"], None),
        ("pass", ["passport_v1", "passport_v2"], None),  # of two
    ],
)
def test_the_closest_name(wrong, known, meant):
    assert closest(wrong, known) == meant


@pytest.mark.sampled(6)
@pytest.mark.parametrize(
    ("words", "options", "rest"),
    [
        (["-m", "train", "seed=0,1"], ["-m"], ["seed=0,1"]),
        (["train", "seed=0,1", "-m"], ["-m"], ["seed=0,1"]),
        (["train", "seed=0,1", "--multirun", "scheme=baseline"], ["--multirun"], ["seed=0,1", "scheme=baseline"]),
        (["train", "-m", "seed=0,1", "-m"], ["-m"], ["seed=0,1"]),
        (["train", "\u2013m", "seed=0,1"], ["-m"], ["seed=0,1"]),  # as word processors write it
        (["train", "\u2014m", "seed=0,1"], ["-m"], ["seed=0,1"]),
        (["train", "seed=1", "--cfg", "job", "owner=a"], ["--cfg", "job"], ["seed=1", "owner=a"]),
        (["--cfg=job", "train", "-p", "trainer"], ["--cfg", "job", "-p", "trainer"], []),
        (["--cfg", "train", "seed=1"], ["--cfg", "job"], ["seed=1"]),
        (["train", "seed=-1"], [], ["seed=-1"]),
        (["train", "~study", "+tags=[a]"], [], ["~study", "+tags=[a]"]),
        (["help", "train"], ["--help"], []),
        (["train", "help"], ["--help"], []),
    ],
)
def test_options_may_stand_anywhere(words, options, rest):
    line = read_line(words, ALL)
    assert (line.command, list(line.options), list(line.words)) == ("train", options, rest)
    assert line.arguments == [*options, *rest]


def test_a_verb_is_the_value_of_a_key_and_that_of_an_option_is_not():
    line = read_line(["claim", "show", "--cfg", "job", "claim=x"], ALL)
    assert line.arguments == ["--cfg", "job", "verb=show", "claim=x"]
    assert read_line(["train", "~study"], ALL).arguments == ["~study"]


@pytest.mark.sampled(6)
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["trian"], ["command=trian", "did you mean train?"]),
        (["ls"], ["did you mean list?"]),
        (["Verify"], ["did you mean verify?"]),
        (["passport_v2"], ["did you mean ipr train scheme=passport_v2?"]),
        (["prune"], ["did you mean ipr attack attack=prune?"]),
        (["scheme=baseline"], ["did you mean ipr train scheme=...?"]),
        (["attack.rates=[1]"], ["did you mean ipr attack attack.rates=...?"]),
        (["train", "--scheme", "passport_v1"], ["--scheme", "did you mean scheme=passport_v1?"]),
        (["train", "--scheme=passport_v1"], ["did you mean scheme=passport_v1?"]),
        (["--epochs", "3", "train"], ["did you mean trainer.max_epochs=3?"]),
        (["train", "--learning-rate", "0.1"], ["did you mean optimizer.lr=0.1?"]),
        (["train", "-seed", "3"], ["did you mean seed=3?"]),
        (["train", "--multrun"], ["did you mean --multirun?"]),
        (["train", "--cfg", "job", "-m"], ["-m: does not go with --cfg"]),
        (["train", "--run", "-m"], ["does not go with --run"]),
        (["train", "--package", "trainer"], ["goes with --cfg alone"]),
        (["train", "--zzz"], ["without dashes", "`ipr train --help`"]),
        (["train", "passport_v2"], ["did you mean scheme=passport_v2?"]),
        (["train", "scheme", "passport_v2"], ["did you mean scheme=passport_v2?"]),
        (["train", "scheme:passport_v2"], ["did you mean scheme=passport_v2?"]),
        (["train", "seed", "=", "3"], ["did you mean seed=3?", "no blanks"]),
        (["train", "seed=", "3"], ["seed=", "has no value"]),
        (["train", "seed", "=3"], ["did you mean seed=3?"]),
        (["train", "quickstart"], ["did you mean ipr reproduce study=quickstart?"]),
        (["reproduce", "table6"], ["did you mean study=table_06?"]),
        (["list", "passport_v2"], ["did you mean scheme=passport_v2?"]),
        (["export", "KEY"], ["did you mean run=KEY?"]),
        (["train", ""], ["key=value"]),
        (["train", "=3"], ["key=value"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else value,
)
def test_what_was_meant(words, said):
    with pytest.raises(InputError) as raised:
        read_line(words, ALL)
    for part in said:
        assert part in str(raised.value)


@pytest.mark.parametrize(
    "words", [["--passport.key", "hush"], ["--key=hush"], ["passport.key:hush"], ["passport.key", "=", "hush"]]
)
def test_what_may_be_secret_is_not_repeated(words):
    with pytest.raises(InputError) as raised:
        read_line(["train", *words], ALL)
    assert "passport.key=<hidden>" in str(raised.value).partition("did you mean")[2]
    assert "hush" not in str(raised.value).partition("did you mean")[2]


@pytest.mark.sampled(6)
@pytest.mark.parametrize(
    ("argument", "said"),
    [
        ("epochs=3", "did you mean trainer.max_epochs=3?"),
        ("accelerator=cpu", "did you mean trainer.accelerator=cpu?"),
        ("train.max_epochs=3", "did you mean trainer.max_epochs=3?"),
        ("optimiser.lr=0.1", "did you mean optimizer.lr=0.1?"),
        ("shceme=baseline", "did you mean scheme=baseline?"),
        ("gpus=2", "did you mean trainer.devices=2?"),
        ("launcher=joblib", "did you mean hydra/launcher=joblib?"),
        ("hydra.launcher=joblib", "write hydra/launcher=joblib"),
        ("key=hush", "did you mean passport.key=<hidden>?"),
        ("scheme.name=passport_v1", "write scheme=passport_v1"),
        ("scheme=v1", "did you mean passport_v1?"),
        ("study=quickstrat", "ipr reproduce study=quickstart"),
        ("study=table6", "ipr reproduce study=table_06"),
        ("model=ResNet18", "did you mean resnet18?"),
        ("hydra/sweeper=optun", "did you mean optuna?"),
        ("hydra.sweeper._target_=os.system", "cannot be set"),
        ("objective=acuracy", "did you mean accuracy?"),
    ],
)
def test_a_key_or_a_choice_that_there_is_not(ipr, argument, said):
    outcome = ipr("train", "-m", argument)
    assert_one_line(outcome, said)
    assert "hush" not in outcome.err
    assert not list(Path().iterdir())


def test_a_sweeper_without_a_sweep_is_an_error(ipr, monkeypatch):
    from hydra.core.config_store import ConfigStore

    ConfigStore.instance().store(group="hydra/sweeper", name="other", node={"_target_": "hydra_plugins.x.Other"})
    try:
        assert_one_line(ipr("train", "hydra/sweeper=other"), "hydra/sweeper=other: is for sweeps", "add -m")
    finally:
        ConfigStore.instance().repo["hydra"]["sweeper"].pop("other.yaml")


def test_every_key_has_a_line():
    assert [key for command in COMMANDS for key in keys.keys_of(command) if not key.what] == []


def test_keys_are_those_of_the_schema():
    """What is read from the source is what the dataclasses say: neither more nor less, with every scheme's own."""
    from dataclasses import fields, is_dataclass

    from ipr.config.recipe import Recipe
    from ipr.config.registry import load, load_all
    from ipr.config.schema import TrainConfig

    found = {key.path for key in keys.keys_of("train", {"scheme": "uchida"})}
    assert {f"scheme.{f.name}" for f in fields(load("scheme", "uchida").Config)} == {
        p for p in found if p.startswith("scheme.")
    }
    assert {f"optimizer.{f.name}" for f in fields(Recipe)} <= found
    assert {f.name for f in fields(TrainConfig)} == {path.partition(".")[0] for path in found}
    for command in ("attack", "exhibit"):
        for name, kind in load_all(command).items():
            assert is_dataclass(kind)
            own = {key.path for key in keys.keys_of(command, {command: name}) if key.path.startswith(f"{command}.")}
            assert own == {f"{command}.{f.name}" for f in fields(kind)}, name


@pytest.mark.sampled(6)
@pytest.mark.parametrize("command", sorted(set(COMMANDS) - {"attack", "exhibit"}))
def test_help_lists_every_key_once_and_no_group_of_other_commands(command):
    text = help_text(command)
    for key in keys.keys_of(command, {"scheme": "passport_v2"}):
        assert len(re.findall(rf"^  {re.escape(key.path)}=", text, re.MULTILINE)) == 1, key.path
    groups = text.partition("Groups")[2].partition("\nKeys")[0]
    named = set(re.findall(r"^  ([\w@]+)=", groups, re.MULTILINE))
    assert named == {name for name, group in keys.groups_of(command).items() if {*group.choices} - {group.default}}
    assert "$" not in text.replace("${", "")


def test_help_shows_the_values_in_force_and_no_secret(ipr):
    outcome = ipr("train", "scheme=uchida", "passport.key=hush", "seed=7", "--help", "optimizer.lr=0.5,1", "-m")
    assert outcome.code == 0
    assert "  scheme.bits=256 " in outcome.out
    assert "  seed=7 " in outcome.out
    assert "passport.key=<hidden>" in outcome.out
    assert "hush" not in outcome.out + outcome.err
    assert "scheme.sign_loss_weight" not in outcome.out
    assert_one_line(ipr("train", "scheme=nothing", "--help"), "scheme=nothing")


def test_help_and_version_wherever_they_stand(ipr):
    for words in (["help"], ["--help"], ["-h"]):
        assert "usage: ipr COMMAND" in ipr(*words).out
    assert ipr("help", "gc").out == ipr("gc", "-h").out == ipr("--help", "gc").out
    assert ipr("train", "--version").out == ipr("--version", "train").out == ipr("--version").out == "0.1.0\n"


@pytest.mark.system
def test_python_m_is_the_same():
    outcome = subprocess.run([sys.executable, "-m", "ipr", "--version"], capture_output=True, text=True, check=True)
    assert outcome.stdout == "0.1.0\n"


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("tr", ["train"]),
        ("-", ["--help", "--multirun", "-m", "--cfg", "--version"]),
        ("train scheme=passport_v1,passport_v", [f"scheme=passport_v1,passport_v{i}" for i in (1, 2, 3)]),
        ("train trainer.pre", ["trainer.precision="]),
        ("train trainer.precision=b", ["trainer.precision=bf16-mixed"]),
        ("train dataset.down", ["dataset.download="]),
        ("train dataset.download=t", ["dataset.download=true"]),
        ("train scheme=uchida scheme.b", ["scheme.bits="]),
        ("train scheme=baseline scheme.b", []),
        ("attack attack=prune attack.r", ["attack.rates="]),
        ("attack attack@rival=forge_u", ["attack@rival=forge_uchida"]),
        ("claim sh", ["show"]),
        (
            "report study=table_06,figure_02,table_0",
            [f"study=table_06,figure_02,table_0{n}" for n in (1, 2, 5, 6, 7, 8, 9)],
        ),
        ("list state=r", ["state=running"]),
        ("list scheme=uch", ["scheme=uchida"]),
        ("train hydra/launcher=j", ["hydra/launcher=joblib"]),
        ("verify claim=", []),  # the shell's own names of files
        ("train nothing.", []),
    ],
)
def test_completion(line, offered):
    assert candidates(line.split(" ")) == offered


def test_runs_are_completed_from_the_folder_that_is_named():
    for place in ("runs", "other"):
        (Path(place) / "train" / f"{place}-run").mkdir(parents=True)
    assert candidates(["attack", "run="]) == ["run=runs-run"]
    assert candidates(["export", "paths.runs=other", "run="]) == ["run=other-run"]


def test_what_is_offered_is_accepted():
    """Every key that completion offers is one that help lists, and every command one that there is."""
    for command in COMMANDS:
        known = {key.path for key in keys.keys_of(command)} | {*keys.groups_of(command), "hydra/launcher"}
        for offered in candidates([command, ""]):
            name = offered.rstrip("=.")
            assert (
                name in known or any(path.startswith(f"{name}.") for path in known) or command in ("claim", "verdict")
            )


@pytest.mark.system
def test_completion_in_bash(tmp_path):
    """The script, evaluated by a bash that breaks words at `=`, and asked as readline asks it."""
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin" / "ipr"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m ipr "$@"\n')
    program.chmod(0o700)
    script = """PATH="$1:$PATH"; eval "$(ipr --completion bash)"; complete -p ipr
    for COMP_LINE in "ipr train scheme=uch" "ipr cali" "ipr train sch"; do
      COMP_POINT=${#COMP_LINE}; COMP_WORDBREAKS=$' \\t\\n=:'; _ipr_complete 2>/dev/null; echo "${COMPREPLY[*]}"
    done"""
    outcome = subprocess.run(["bash", "-c", script, "bash", program.parent], capture_output=True, text=True, check=True)
    lines = outcome.stdout.splitlines()
    assert lines == ["complete -o default -F _ipr_complete ipr", "uchida", "calibrate", "scheme= scheme."]


def test_how_completion_is_installed(ipr):
    for words in (["--completion", "bash"], ["-sc", "install=bash"], ["train", "--shell-completion", "install=bash"]):
        assert ipr(*words).out == SHELLS["bash"]
    assert "complete -r ipr" in ipr("-sc", "uninstall=bash").out
    assert_one_line(ipr("--completion", "csh"), "choose among: bash, zsh, fish")
    assert_one_line(ipr("--completion"), "choose among: bash, zsh, fish")


def test_what_runs_are_chosen_by_is_text():
    assert in_section("seed=0,1", "list") == "where.seed=0,1"
    assert in_section("scheme=[a,b]", "report") == "where.scheme=a,b"
    assert in_section("attack=null", "list") == "where.attack='null'"
    assert in_section("scheme=a,b", "train") == "scheme=a,b"
    assert in_section("study=a,b", "report") == "study=a,b"
