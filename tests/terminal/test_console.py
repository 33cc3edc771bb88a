"""Nothing that is printed steers the terminal, whoever wrote it."""

import json
from pathlib import Path

import pytest
from rich.markdown import Markdown
from rich.table import Table
from rich.text import Text

from ipr.store.lease import Owner, announce
from ipr.terminal.console import Console
from ipr.texts import printable

HOSTILE = "a\x1b[2J\x1b]0;owned\x07b\x9b31m\r\u202ec\x00\x08[red]d:bug:"


def assert_harmless(text):
    assert not [c for c in text if not c.isprintable() and c != "\n"], ascii(text)


def test_whatever_is_printed(capsys):
    table = Table(title=HOSTILE)
    table.add_column(HOSTILE)
    table.add_row(HOSTILE)
    table.add_row(Text(HOSTILE))
    for what in (HOSTILE, Text(HOSTILE), Markdown(HOSTILE), table, [HOSTILE]):
        Console().print(what)
        Console(stderr=True).print(what, soft_wrap=True, highlight=False)
    captured = capsys.readouterr()
    assert_harmless(captured.out)
    assert_harmless(captured.err)
    assert "[red]d:bug:" in captured.out  # nothing in a text is a command to rich either


def test_colours_are_left(capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    Console().print("plain\x1b[5m", style="bold red", highlight=False)
    out = capsys.readouterr().out
    assert out.count("\x1b[") == 2  # on and off
    assert "\x1b[5m" not in out


def test_lines_and_letters_of_any_script_stay():
    assert printable("née 日本 ±\nb", lines=True) == "née 日本 ±\nb"
    assert printable("a\nverified\tb") == "a verified b"


def test_a_plan_and_a_failure_of_somebody_else(ipr):
    studies = Path("runs/studies/smoke")
    (studies / "cells").mkdir(parents=True)
    hostile = HOSTILE.replace(chr(0), "")  # a plan that holds the character 0 is refused
    cell = {
        "name": "cell",
        "about": {"scheme": "uchida", "model": hostile, "dataset": hostile, "seed": 0},
        "command": hostile,
    }
    plan = {"schema_version": 1, "study": "mine.yaml", "scale": "smoke", "what": hostile, "changes": [hostile],
            "datasets": {}, "cells": [cell]}  # fmt: skip
    (studies / "mine.json").write_text(json.dumps(plan))
    folder = Path("runs/train/somebodys")
    folder.mkdir(parents=True)
    (folder / "failure.json").write_text(json.dumps({"what": HOSTILE, "value": HOSTILE, "epoch": 3}))
    (studies / "cells" / "cell.json").write_text(json.dumps({"cell": "cell", "run": "train/somebodys"}))
    outcome = ipr("status", "study=mine", "cells=true")
    assert outcome.code == 0, outcome.err
    assert "owned" in outcome.out
    assert_harmless(outcome.out + outcome.err)


def test_an_error_and_a_waiting_process(ipr, capfd):
    assert_harmless(ipr("train", f"++{HOSTILE}=1").err)
    assert_harmless(ipr("train", f"scheme={HOSTILE.replace(chr(0), '')}").err)
    assert_harmless(ipr("verify", "suspect=a", f"claim={HOSTILE.replace(chr(0), '')}").err)
    announce("is at it")(Owner(HOSTILE, "machine", 1, ""))
    assert_harmless(capfd.readouterr().err)


@pytest.mark.parametrize("name", ["Console"])
def test_there_is_one_place(name):
    """No file prints with rich's own console."""
    source = Path(__file__).parents[2] / "src" / "ipr"
    others = [p for p in source.rglob("*.py") if f"from rich.console import {name}" in p.read_text()]
    assert others == []
