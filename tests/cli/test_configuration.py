"""`ipr.configuration`: the command line's request, in Python."""

import sys

import pytest

from ipr import attack, configuration, train
from ipr.attacks.ambiguity.fake1 import Fake1
from ipr.errors import InputError
from ipr.schemes.passport_v2 import PassportV3Config


def test_it_is_what_the_command_line_asks_for(ipr, tiny, run_folder):
    """The run that the command made is found, and the command finds the run that Python makes."""
    assert ipr("train", *tiny, "scheme=passport_v1").code == 0
    run = train(configuration("train", *tiny, "scheme=passport_v1"))
    assert run.found
    assert run.folder.path.resolve() == run_folder("passport_v1").resolve()
    assert not train(configuration("train", *tiny, "scheme=passport_v1", "seed=1")).found
    assert "found:" in ipr("train", *tiny, "scheme=passport_v1", "seed=1").out


def test_it_says_nothing_where_there_is_no_terminal(tiny, monkeypatch, cache, capfd):
    monkeypatch.setenv("IPR_CACHE", str(cache))
    rows = attack(configuration("attack", *tiny, "scheme=passport_v1", "attack=fake1", "attack.passports=2")).rows
    assert [row.point for row in rows] == ["passport=0", "passport=1"]
    captured = capfd.readouterr()
    assert (captured.out, captured.err) == ("", "")


def test_it_is_typed_and_leaves_no_trace(monkeypatch):
    before = list(sys.argv)
    asked = configuration("attack", "scheme=passport_v3", "attack=fake1", "attack.passports=7", "seed=3")
    assert isinstance(asked.scheme, PassportV3Config)
    assert isinstance(asked.attack, Fake1)
    assert (asked.attack.passports, asked.seed, asked.model.norm) == (7, 3, "bn")
    assert configuration("train").scheme.name == "passport_v2"
    assert sys.argv == before


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["scheme=passport_v9"], ["passport_v9", "uchida", "`ipr train --help`"]),
        (["trainer.max_epoch=5"], ["trainer.max_epoch", "did you mean max_epochs"]),
        (["++trainer.bogus=1"], ["trainer.bogus=1", "known here: max_epochs"]),
        (["trainer.max_epochs=five"], ["trainer.max_epochs", "five"]),
        (["seed=0,1"], ["seed=0,1"]),
        (["no assignment"], ["no assignment", "key=value"]),
    ],
)
def test_bad_input_is_one_line(arguments, words):
    with pytest.raises(InputError) as raised:
        configuration("train", *arguments, "passport.key=hidden")
    said = str(raised.value)
    assert "\n" not in said
    assert "hidden" not in said
    for word in words:
        assert word in said


def test_only_commands_that_train_are_known():
    with pytest.raises(InputError, match="choose train or attack"):
        configuration("conquer")
