"""W&B refuses, is silent, absent, has no place, dies: the run is made and recorded all the same, and one line says so.

Each wait is bounded by what it waits for, not by the test: a server that never answers would hold a run up for good.
"""

import gc
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ipr.store.record import load_record
from ipr.workflows.train import train
from wandb_files import read, read_finished
from wandb_server import closed_port, serving


def made(request_for, capfd, *arguments, scheme="baseline"):
    """The run, and what stderr says of W&B."""
    capfd.readouterr()
    run = train(request_for(f"scheme={scheme}", "logger=wandb", *arguments))
    assert load_record(run.folder.record) == run.record
    assert len(run.folder.metrics.read_text().splitlines()) == 3
    return run, capfd.readouterr().err.splitlines()


def logged_offline(run, lines):
    (line,) = lines
    assert line.startswith("W&B: this run is logged offline, because ")
    folder = line.rpartition("wandb sync ")[2]
    assert Path(folder).parent == run.folder.path / "wandb"
    told = read_finished(run.folder.path)
    assert told.summary["accuracy_without"] == run.record.accuracy_without
    assert told.exits == [0]
    return line


def sent(server):
    """The rows of the history that a server was sent."""
    files = [body.get("files", {}).get("wandb-history.jsonl", {}) for body in server.streamed]
    return [row for file in files for row in file.get("content", [])]


@pytest.mark.system
def test_a_server_that_refuses(request_for, capfd, wandb_at):
    url = closed_port()
    wandb_at(url)
    line = logged_offline(*made(request_for, capfd, "logger.mode=online"))
    assert url in line
    assert "refused" in line


@pytest.mark.system
def test_a_server_that_accepts_and_never_answers(request_for, capfd, wandb_at):
    with serving() as server:
        server.silent.set()
        wandb_at(server.url)
        line = logged_offline(*made(request_for, capfd, "logger.mode=online"))
    assert "timed out" in line


@pytest.mark.system
def test_a_server_that_turns_the_run_down(request_for, capfd, wandb_at):
    with serving() as server:
        server.refuses = True
        wandb_at(server.url)
        logged_offline(*made(request_for, capfd, "logger.mode=online"))


@pytest.mark.system
def test_what_was_logged_offline_is_uploaded_later_by_the_command_that_was_said(request_for, capfd, wandb_at):
    wandb_at(closed_port())
    run, (line,) = made(request_for, capfd, "logger.mode=online")
    told = read_finished(run.folder.path)
    command = line.rpartition("to upload it later: ")[2]
    with serving() as server:
        environment = os.environ | {"WANDB_BASE_URL": server.url}
        done = subprocess.run(
            [sys.executable, "-m", *command.split()], env=environment, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, done.stderr
        asked = [a["variables"]["groupName"] for a in server.asked if "upsertBucket" in a["query"]]
        assert asked[0] == told.about.run_group == run.folder.key
        assert sum("train/loss" in row for row in sent(server)) == 2


@pytest.mark.system
def test_no_login(request_for, capfd, wandb_at):
    with serving() as server:
        wandb_at(server.url, key=None)
        line = logged_offline(*made(request_for, capfd, "logger.mode=online"))
        assert server.asked == []
    assert "wandb login" in line


@pytest.mark.system
def test_a_server_that_takes_the_run(request_for, capfd, wandb_at):
    with serving() as server:
        wandb_at(server.url)
        run, lines = made(request_for, capfd, "logger.mode=online", "logger.project=mine")
        (asked,) = {a["variables"]["name"] for a in server.asked if "upsertBucket" in a["query"]}
        assert lines == [f"W&B: {server.url}/me/mine/runs/{asked}"]
        assert sum("train/loss" in row for row in sent(server)) == 2
        assert any(body.get("complete") for body in server.streamed)
    assert not list(run.folder.path.glob("wandb/offline-run-*"))


@pytest.mark.system
def test_a_server_that_falls_silent_during_the_run(request_for, capfd, wandb_at, monkeypatch):
    import ipr.workflows.train as module

    monkeypatch.setattr("ipr.tracking.wandb_run.FINISH_SECONDS", 2.0)
    plain_fit = module.fit
    with serving() as server:

        def fit_then_silence(*args, **kwargs):
            server.silent.set()
            plain_fit(*args, **kwargs)

        monkeypatch.setattr(module, "fit", fit_then_silence)
        wandb_at(server.url)
        run, (url, line) = made(request_for, capfd, "logger.mode=online")
    assert url.startswith("W&B: http")
    assert "not all of this run" in line
    (path,) = Path(line.rpartition("wandb sync ")[2]).glob("*.wandb")  # what is uploaded later is whole
    told = read(path)
    assert len(told.having("train/loss")) == 2
    assert told.summary["accuracy_without"] == run.record.accuracy_without


def test_wandb_is_not_installed(request_for, capfd, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)  # `import wandb` raises ImportError
    run, (line,) = made(request_for, capfd)
    assert "is not logged" in line
    assert "pip install wandb" in line
    assert not (run.folder.path / "wandb").exists()


@pytest.mark.system
def test_there_is_no_place_for_its_files(request_for, capfd):
    first, _ = made(request_for, capfd, "logger=csv")
    first.folder.record.unlink()
    (first.folder.path / "wandb").write_text("a file where wandb wants a folder")
    capfd.readouterr()
    run, lines = made(request_for, capfd)
    assert run.folder == first.folder
    assert any(line.startswith("W&B: this run is not logged, because wandb failed") for line in lines)


def service():
    """The process of wandb that serves this one."""
    processes = [one for one in gc.get_objects() if type(one) is subprocess.Popen and "wandb-core" in str(one.args)]
    (alive,) = [one for one in processes if one.poll() is None]
    return alive


@pytest.mark.system
@pytest.mark.parametrize("served_before", [False, True])
def test_its_service_dies_during_a_run_and_the_next_run_has_a_new_one(
    served_before, request_for, capfd, monkeypatch, tmp_path
):
    import wandb

    import ipr.workflows.train as module

    wandb.teardown()
    if served_before:  # the caller's environment names the service that will die
        wandb.init(mode="offline", dir=tmp_path, settings=wandb.Settings(silent=True)).finish()
        assert os.environ["WANDB_SERVICE"]

    plain_fit = module.fit

    def fit_then_kill(*args, **kwargs):
        plain_fit(*args, **kwargs)
        process = service()
        process.kill()
        process.wait()

    monkeypatch.setattr(module, "fit", fit_then_kill)
    _, lines = made(request_for, capfd)
    (line,) = [line for line in lines if line.startswith("W&B")]
    assert "logging failed" in line
    monkeypatch.setattr(module, "fit", plain_fit)
    run, lines = made(request_for, capfd, "seed=1")
    assert lines == []
    assert read_finished(run.folder.path).exits == [0]


@pytest.mark.system
def test_a_service_that_a_process_before_left_named_and_that_has_ended(request_for, capfd, monkeypatch, tmp_path):
    import wandb

    wandb.teardown()
    monkeypatch.setenv("WANDB_SERVICE", f"3-1-unix-{tmp_path}/socket")
    run, lines = made(request_for, capfd)
    assert lines == []
    assert read_finished(run.folder.path).exits == [0]


@pytest.mark.system
def test_a_run_that_fails_is_shown_as_failed(request_for, monkeypatch):
    import ipr.workflows.train as module

    def fails(*args, **kwargs):
        raise RuntimeError("out of memory")

    monkeypatch.setattr(module, "fit", fails)
    with pytest.raises(RuntimeError, match="out of memory"):
        train(request_for("scheme=baseline", "logger=wandb"))
    (folder,) = Path("runs").glob("train/*")
    assert read_finished(folder).exits == [1]
