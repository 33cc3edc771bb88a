"""Somebody else on the machine who joins a training: what he says is not unpickled, and he is told nothing."""

from __future__ import annotations

import os
import pickle
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from lightning.pytorch.strategies import DDPStrategy
from torch import distributed

from ipr.cli import main
from ipr.errors import InputError
from ipr.training.distributed import ranks, sealing
from ipr.training.distributed.place import LOOPBACK, Place
from ipr.training.distributed.ranks import Team
from ipr.training.distributed.sealing import StrangerError, seal, shared_secret, unseal
from ipr.training.loop import Together

RIGHT, WRONG = bytes(32), bytes([1]) * 32
STRANGER = """
import pickle, sys
from pathlib import Path
from datetime import timedelta
from torch import distributed
from torch._C._distributed_c10d import TCPStore
from ipr.training.distributed import ranks
from ipr.training.distributed.place import Place
from ipr.training.distributed.sealing import StrangerError, unseal

class Bomb:
    def __reduce__(self):
        return (Path("burst").touch, ())

heard = []
def listens(secret, about, sealed):
    heard.append(sealed)
    return pickle.dumps(None)
ranks.unseal = listens
rank, port = int(sys.argv[1]), int(sys.argv[2])
if rank:
    store = TCPStore("127.0.0.1", port, is_master=False, wait_for_workers=False, timeout=timedelta(seconds=60))
else:
    import socket
    store = ranks._store_on(socket.create_server(("127.0.0.1", port)))
team = ranks.Team(Place(rank, 2, rank, "127.0.0.1", port), store, secret=lambda: bytes([1]) * 32)
if rank:
    team.called()
    with team.group("cpu"):
        team.tell()
        print(heard[0].hex(), flush=True)
        ranks.seal = lambda secret, about, content: pickle.dumps(Bomb())
        try:
            team.ask("x")
        finally:
            sys.stdin.read()
else:
    team.call("cpu")
    with team.group("cpu"):
        ranks.seal = lambda secret, about, content: pickle.dumps(Bomb())
        team.tell(Bomb())
        sys.stdin.read()
"""


def stranger(rank, port):
    command = [sys.executable, "-c", STRANGER, str(rank), str(port)]
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )


@pytest.mark.system
def test_who_joins_in_a_followers_place_is_told_nothing_and_is_not_believed(monkeypatch):
    store = ranks._store_on(socket.create_server((LOOPBACK, 0)))
    leader = Team(Place(0, 2, 0, LOOPBACK, store.port), store, secret=lambda: RIGHT)
    unpickled = []
    monkeypatch.setattr(pickle, "loads", unpickled.append)
    monkeypatch.setattr(distributed.distributed_c10d, "_unpickler", unpickled.append)
    with stranger(1, store.port) as other:
        leader.call("cpu")
        with leader.group("cpu"):
            assert leader.tell("the claim's secrets") == "the claim's secrets"
            with pytest.raises(InputError, match=r"trainer\.devices=2: somebody .* speaks for process 1"):
                leader.ask()
            heard = bytes.fromhex(other.stdout.readline())
            other.stdin.close()
        other.kill()
    assert len(heard) > len("the claim's secrets")
    assert b"secrets" not in heard
    assert not unpickled
    assert not Path("burst").exists()


@pytest.mark.system
def test_who_leads_in_the_leaders_place_is_not_followed():
    """A process that was started by somebody with a secret of his own ends with one line."""
    with socket.create_server((LOOPBACK, 0)) as free:
        port = free.getsockname()[1]
    place = {"RANK": "1", "LOCAL_RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": LOOPBACK, "MASTER_PORT": str(port)}
    with stranger(0, port) as other:
        with subprocess.Popen(
            [sys.executable, "-P", "-m", "ipr.training.distributed.follow"],
            stdin=subprocess.PIPE, stderr=subprocess.PIPE,
            env=os.environ | place | {"TORCHELASTIC_RESTART_COUNT": "0"},
        ) as follower:  # fmt: skip
            follower.stdin.write(RIGHT)
            follower.stdin.flush()
            said = follower.stderr.read().decode()
            follower.stdin.close()
            assert follower.wait() == 1
        other.stdin.close()
        other.kill()
    assert said.startswith("ipr: process 1 ends: trainer.devices=2: somebody")
    assert said.count("\n") == 1
    assert not Path("burst").exists()


def test_what_lightning_hands_out_is_sealed_too():
    assert Together.broadcast is not DDPStrategy.broadcast


@pytest.mark.parametrize("length", [0, 1, 9, 10, 11, 40])
def test_a_sealed_word_is_opened_only_as_what_it_was_sealed(monkeypatch, length):
    monkeypatch.setattr(sealing, "PIECE", 10)  # several pieces
    content = bytes(range(length))
    sealed = seal(RIGHT, "1 1 0", content)
    assert unseal(RIGHT, "1 1 0", sealed) == content
    assert seal(RIGHT, "1 1 0", content) != sealed
    part = sealing.NONCE + 10 + sealing.TAG
    wrong = [
        (WRONG, "1 1 0", sealed), (RIGHT, "1 2 0", sealed), (RIGHT, "1 1 1", sealed), (RIGHT, "1 1 0", b""),
        (RIGHT, "1 1 0", sealed[:-1]), (RIGHT, "1 1 0", sealed + b"x"), (RIGHT, "1 1 0", sealed + sealed),
        (RIGHT, "1 1 0", bytes([sealed[0] ^ 1]) + sealed[1:]), (RIGHT, "1 1 0", pickle.dumps("x")),
    ]  # fmt: skip
    if length > 10:
        wrong += [(RIGHT, "1 1 0", sealed[:part]), (RIGHT, "1 1 0", sealed[part:])]
    for secret, about, given in wrong:
        with pytest.raises(StrangerError):
            unseal(secret, about, given)


def test_processes_that_others_started_find_their_secret_in_the_folder_of_runs(tmp_path):
    found = set()
    threads = [threading.Thread(target=lambda: found.add(shared_secret(tmp_path / "runs"))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (secret,) = found
    assert len(secret) == 32
    (path,) = (tmp_path / "runs").iterdir()
    assert path.stat().st_mode & 0o777 == 0o600
    assert shared_secret(tmp_path) != secret


@pytest.mark.parametrize("how", ["readable", "short", "link", "folder", "dangling"])
def test_a_secret_that_somebody_else_may_know_is_refused(tmp_path, how):
    shared_secret(tmp_path)
    (path,) = tmp_path.iterdir()
    if how == "readable":
        path.chmod(0o640)
    elif how == "short":
        path.write_bytes(b"short")
    else:
        path.rename(tmp_path / "elsewhere")
        path.mkdir() if how == "folder" else path.symlink_to("elsewhere" if how == "link" else "nowhere")
    with pytest.raises(InputError, match=r"paths\.runs="):
        shared_secret(tmp_path)
    assert not (tmp_path / "nowhere").exists()


def test_the_secret_is_no_garbage(capsys):
    shared_secret(Path("runs"))
    with pytest.raises(SystemExit) as ended:
        main(["gc", "remove=leftovers,runs,words,jobs"])
    assert ended.value.code == 0
    assert [path.name for path in Path("runs").iterdir()] == [f".team-{os.getuid()}"]
