"""What is printed: texts as they are, whoever reads, and what is said when nothing can be written."""

from __future__ import annotations

import ast
import os
import pwd
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from PIL import Image

import ipr as package
from ipr.cli import main
from ipr.cli.jobs import reporting
from ipr.errors import InputError
from ipr.files import expanded, naming, write_atomically
from ipr.terminal.console import Console
from one_line import assert_one_line

ODD = "[red]runs[/] :bug: [x=1]"
"""A folder's name that rich would take for colours and a picture."""


def test_brackets_and_colons_in_paths_are_printed(ipr, tiny):
    outcome = ipr("train", *tiny, "scheme=baseline", f"paths.runs='{ODD}'")
    assert outcome.code == 0
    assert f"made: {ODD}/train/baseline-" in outcome.out
    assert Path(ODD).is_dir()
    assert f"found: {ODD}/train/baseline-" in ipr("train", *tiny, "scheme=baseline", f"paths.runs='{ODD}'").out
    assert f"written: {ODD}/report" in ipr("report", f"paths.runs='{ODD}'").out


def test_nothing_prints_by_another_console():
    """One place says that a text is no markup."""
    files = [path for path in Path(package.__file__).parent.rglob("*.py") if path.name != "console.py"]
    imports = {
        path.name: [f"{node.module}.{name.name}" for name in node.names]
        for path in files
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and node.module in ("rich.console", "rich")
    }
    assert imports
    assert not [file for file, names in imports.items() if {"rich.console.Console", "rich.print"} & {*names}]


@pytest.mark.system
def test_a_name_that_cannot_be_encoded_is_printed_as_numbers(tmp_path):
    code = "import sys; from ipr.cli import main; main(sys.argv[1:])"
    done = subprocess.run(
        [sys.executable, "-c", code, "status", "paths.runs='café'"],
        capture_output=True, cwd=tmp_path, env=os.environ | {"PYTHONIOENCODING": "ascii"}, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert b"Traceback" not in done.stderr
    assert b"caf\\xe9" in done.stdout


@pytest.fixture
def printing_to(monkeypatch):
    """Runs a command in this process whose stdout is a file descriptor; gives its exit code."""

    def call(descriptor: int, *arguments: str) -> int:
        monkeypatch.setattr("sys.argv", ["ipr"])
        with open(descriptor, "w") as stdout:
            monkeypatch.setattr(sys, "stdout", stdout)
            with pytest.raises(SystemExit) as stopped:
                main(list(arguments))
        return int(stopped.value.code or 0)

    return call


COMMANDS = [("--help",), ("train", "--help"), ("train", "--cfg", "job"), ("status",), ("status", "study=all")]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_closed_pipe_ends_a_command_without_a_word(command, printing_to, capfd):
    reading, writing = os.pipe()
    os.close(reading)
    assert printing_to(writing, *command) == 141
    assert capfd.readouterr().err == ""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_an_output_that_is_full_is_one_line(command, printing_to, capfd):
    assert printing_to(os.open("/dev/full", os.O_WRONLY), *command) == 2
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith("ipr: error: <output>: No space left on device; ")


def test_a_broken_pipe_of_rich_is_no_verdict(capfd):
    with pytest.raises(SystemExit) as stopped:
        Console().on_broken_pipe()
    assert stopped.value.code == 141


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("train", "-m", "--cfg", "job"), "-m: does not go with --cfg"),
        (("train", "--cfg", "job", "--info", "all"), "--cfg: does not go with --info"),
        (("train", "--resolve"), "--resolve: goes with --cfg alone"),
        (("train", "--shell-completion", "query=ba"), "is no shell that is known here; did you mean bash?"),
    ],
    ids=" ".join,
)
def test_flags_that_do_not_go_together_are_one_line(ipr, arguments, words):
    outcome = ipr(*arguments)
    assert outcome.code == 2
    assert "Traceback" not in outcome.err
    assert words in next(line for line in outcome.err.splitlines() if line.startswith("ipr: error: "))


def test_a_package_that_is_not_there_is_no_verdict(ipr):
    assert ipr("train", "--cfg", "job", "--package", "nope").code == 2


def no_room(*_):
    raise OSError(28, "No space left on device")


def test_a_disk_that_is_full_names_the_file(monkeypatch, capsys, tmp_path):
    """The system says no name when it is a write that fails, not an opening."""
    codes: list[int] = []
    monkeypatch.setattr(os, "fsync", no_room)
    with reporting(codes):
        write_atomically(tmp_path / "record.json", "{}")
    assert codes == [2]
    assert capsys.readouterr().err.startswith(f"ipr: error: {tmp_path}/record.json: No space left on device; ")
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_so_does_a_file_that_grows(tmp_path):
    (tmp_path / "rows.jsonl").symlink_to("/dev/full")
    with pytest.raises(OSError, match="rows") as caught, naming(tmp_path / "rows.jsonl"):
        with (tmp_path / "rows.jsonl").open("a") as file:
            file.write("{}\n")
    assert caught.value.filename == str(tmp_path / "rows.jsonl")


def test_kept_answers_name_their_file(tmp_path, monkeypatch):
    from ipr.suspects.served.answer_cache import KeptAnswers

    kept = KeptAnswers(tmp_path, 3)
    monkeypatch.setattr(os, "fsync", no_room)
    with pytest.raises(OSError, match="answers"):
        kept.add({"a": 1})


@pytest.fixture
def homeless(monkeypatch):
    """As a process whose user is in no list of users."""

    def nobody(_):
        raise KeyError

    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr(pwd, "getpwuid", nobody)


def test_without_a_home_what_needs_one_is_one_line(ipr, tiny, homeless, monkeypatch):
    monkeypatch.delenv("IPR_CACHE")
    words = ("there is no such home folder", "set HOME")
    assert_one_line(ipr("train", *tiny), "paths.cache=~/.cache/ipr", *words)
    assert_one_line(ipr("verdict", "key", "paths.judge='~/judge.pem'"), "paths.judge=~/judge.pem", *words)
    asked = ("dataset=image_folder", "dataset.root='~/x'", "paths.cache=cache")
    assert_one_line(ipr("train", *tiny, *asked), "dataset.root=~/x", *words)
    assert not Path("runs").exists()


def test_without_a_home_a_training_goes_on_that_needs_none(ipr, tiny, homeless):
    asked = [word for word in tiny if word != "logger=csv"]
    assert ipr("train", *asked, "scheme=baseline").code == 0


def test_the_home_of_a_user_who_is_not_there_is_refused():
    with pytest.raises(InputError, match=r"images=~nobody-of-this-name/x: there is no such home folder"):
        expanded("~nobody-of-this-name/x", "images")


def test_a_batch_of_one_image_is_refused_where_a_norm_cannot_take_it(ipr, tiny):
    asked = [word for word in tiny if not word.startswith("optimizer.batch_size")]
    words = ("optimizer.batch_size=1", "cannot take the statistics of so little", "give larger batches")
    assert_one_line(ipr("train", *asked, "model=resnet18", "scheme=baseline", "optimizer.batch_size=1"), *words)


def test_a_request_whose_claim_would_say_nothing_is_blamed_on_the_request(ipr, tiny):
    """Trigger images that all have one label."""
    Path("triggers").mkdir()
    for number in range(40):
        Image.new("L", (8, 8), 6 * number).save(f"triggers/{number}.png")
    Path("triggers/labels.txt").write_text("3\n" * 40)
    outcome = ipr("train", *tiny, "scheme=trigger_set", "trigger_set=folder", "trigger_set.root=triggers")
    assert_one_line(outcome, "scheme=trigger_set", "its claim would be none", "all of one class", "other images")
    assert "restore" not in outcome.err
    assert not list(Path().glob("runs/*/*/claim"))


def test_a_network_that_no_judge_opens_is_refused_before_it_is_trained(ipr, tiny):
    asked = [word for word in tiny if not word.startswith("model.width")]
    outcome = ipr("train", *asked, "model=resnet50", "scheme=baseline", "model.width=4")
    assert_one_line(outcome, "model.width=4", "parameters, more than")


def test_a_claim_in_the_wrong_place_is_pointed_at(ipr, owner):
    def asked(place):
        return ("verify", "suspect=owned/public.safetensors", f"claim={place}", *owner[4:])

    assert_one_line(ipr(*asked("owned")), "claim=owned", "give owned/claim")
    outcome = ipr(*asked("nowhere"))
    assert_one_line(outcome, "claim=nowhere", "give the folder of a claim, such as")
    assert "restore" not in outcome.err
    (Path("owned/claim") / "claim.json").unlink()
    assert_one_line(ipr(*asked("owned/claim")), "claim=owned/claim", "restore it from your copy")


@pytest.mark.system
def test_sigterm_ends_several_processes(tiny, tmp_path, cache):
    """As a scheduler sends it; nobody waits for ever for the others."""
    asked = [word for word in tiny if not word.startswith("trainer.max_epochs")]
    asked += ["scheme=baseline", "trainer=ddp", "trainer.devices=2"]
    command = [sys.executable, "-c", "import sys; from ipr.cli import main; main(sys.argv[1:])", "train"]
    process = subprocess.Popen(
        [*command, *asked, "trainer.max_epochs=2000"], cwd=tmp_path, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL,
        env=os.environ | {"IPR_CACHE": str(cache), "OMP_NUM_THREADS": "1"}, text=True, start_new_session=True,
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 120
        while not list(tmp_path.glob("runs/train/*/checkpoints/last.ckpt")):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.1)
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=90)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 130, said
    assert "ipr: interrupted; the same command goes on where this one stopped" in said
    assert "Traceback" not in said
    assert list(tmp_path.glob("runs/train/*/checkpoints/last.ckpt"))
