"""Somebody else who reaches the processes of one training: what he says is not unpickled, and he is told no secret."""

from __future__ import annotations

import json
import os
import pickle
import stat
import threading
from pathlib import Path

import pytest
import torch
from lightning.pytorch.strategies import DDPStrategy
from torch.distributed import HashStore

from ipr.errors import InputError
from ipr.training.distributed import launcher
from ipr.training.distributed.group import GroupStrategy
from ipr.training.distributed.launch import Launch
from ipr.training.distributed.worker import join_fits, read_private
from ipr.workflows.train import train

NAME = ".fit.0123456789abcdef"


class Bomb:
    def __reduce__(self):
        return (Path("burst").touch, ())


def test_rank_0_tells_the_name_of_a_private_file_and_nothing_more(request_for, monkeypatch):
    launch, seen = Launch(0, 2, HashStore()), {}

    def look() -> None:
        launch.store.wait(["ipr 0 1/work"])
        path = Path(launch.store.get("ipr 0 1/work").decode())
        seen.update(mode=stat.S_IMODE(path.stat().st_mode), folder=path.parent, content=path.read_bytes())
        launch.store.set("ipr 0 1/ready 1", json.dumps(["dataset", "x", "is another one", "stop"]))

    monkeypatch.setattr(launcher, "launched", lambda: launch)
    looking = threading.Thread(target=look)
    looking.start()
    key = ("scheme=passport_v3", "passport.key=hush", "trainer=ddp", "trainer.accelerator=cpu", "model.norm=gn")
    with pytest.raises(InputError, match=r"^dataset=x: is another one; stop$"):
        train(request_for(*key))
    looking.join()
    assert (seen["mode"], seen["folder"]) == (0o600, Path("runs").absolute())
    assert b"signature" in seen["content"]
    assert b"hush" not in seen["content"]
    assert not list(Path("runs").glob(".fit.*"))


@pytest.mark.parametrize("how", ["readable", "another", "link", "pipe", "missing"])
def test_a_file_that_somebody_else_may_have_written_is_not_unpickled(tmp_path, monkeypatch, how):
    path = tmp_path / (NAME if how != "another" else "weights.pt")
    if how == "pipe":
        os.mkfifo(path, 0o600)
    elif how != "missing":
        torch.save(Bomb(), path)
        path.chmod(0o640 if how == "readable" else 0o600)
    if how == "link":
        path.rename(tmp_path / "weights.pt")
        path.symlink_to("weights.pt")
    launch = Launch(1, 2, HashStore())
    for key, value in {"1/work": str(path), "1/begin": "no", "2/work": ""}.items():
        launch.store.set(f"ipr 0 {key}", value)
    join_fits(launch)
    field, _, problem, _ = json.loads(launch.store.get("ipr 0 1/ready 1"))
    assert field == "paths.runs"
    assert problem.startswith("process 1 (")
    assert not Path("burst").exists()


def test_a_file_of_ours_is_read(tmp_path):
    path = tmp_path / NAME
    path.write_bytes(pickle.dumps(1))
    path.chmod(0o600)
    assert pickle.loads(read_private(path)) == 1


def test_lightning_hands_out_what_json_knows(monkeypatch):
    monkeypatch.setattr(torch.distributed, "get_rank", lambda: 0)
    strategy = GroupStrategy(HashStore(), moves_all=True)
    assert strategy.broadcast("runs/checkpoints") == "runs/checkpoints"
    with pytest.raises(TypeError, match="not JSON serializable"):
        strategy.broadcast(Bomb())
    assert GroupStrategy.broadcast is not DDPStrategy.broadcast
