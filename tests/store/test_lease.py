"""The lease on real files, between real processes."""

import json
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from ipr.errors import InputError
from ipr.store.lease import Lease, held, this_process

HOLD = """
import sys, time
from pathlib import Path
from ipr.store.lease import Lease
with Lease(Path(sys.argv[1]), beat=0.2):
    print("held", flush=True)
    time.sleep(60)
"""
COUNT = """
import sys, time
from pathlib import Path
from ipr.store.lease import Lease
place = Path(sys.argv[1])
for _ in range(20):
    with Lease(place / "lease"):
        (place / "inside").mkdir()   # fails if another is inside
        value = int((place / "count").read_text())
        (place / "count").write_text(str(value + 1))
        (place / "inside").rmdir()
"""


@pytest.fixture
def holder(tmp_path):
    """Starts a process that holds a lease for a minute."""
    started = []

    def start(folder, *inside):
        process = subprocess.Popen(
            [*inside, sys.executable, "-c", HOLD, str(folder)], stdout=subprocess.PIPE, text=True
        )
        started.append(process)
        assert process.stdout.readline() == "held\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


def on_another_machine(folder, **changes):
    """Makes the lease look as if a process of another machine had it."""
    (path,) = folder.glob("[0-9]*")
    path.write_text(json.dumps({**json.loads(path.read_text()), "machine": "another", **changes}))
    return path


@pytest.mark.system
def test_one_at_a_time_and_none_is_lost(tmp_path):
    """Four processes, twenty turns each: an unprotected counter ends at eighty."""
    (tmp_path / "count").write_text("0")
    processes = [subprocess.Popen([sys.executable, "-c", COUNT, str(tmp_path)]) for _ in range(4)]
    assert [process.wait(120) for process in processes] == [0] * 4
    assert (tmp_path / "count").read_text() == "80"
    assert [path.stat().st_size for path in (tmp_path / "lease").iterdir()] == [1]


@pytest.mark.system
def test_a_killed_process_has_nothing_from_then_on(tmp_path, holder):
    process, told = holder(tmp_path / "lease"), []
    assert held(tmp_path / "lease")
    process.send_signal(signal.SIGKILL)  # and not waited for: a zombie holds nothing either
    with Lease(tmp_path / "lease", told.append) as lease:
        assert lease.number == 2
        assert held(tmp_path / "lease")
    assert not held(tmp_path / "lease")
    assert all(owner.pid == process.pid for owner in told)


@pytest.mark.system
def test_a_process_of_another_container_is_watched_and_not_looked_up(tmp_path, holder):
    """Its number means nothing here, where no such process is; that its file changes says that it lives."""
    inside = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]
    allowed = subprocess.run([*inside, "true"], capture_output=True, check=False)
    if allowed.returncode:
        pytest.skip(f"no process namespaces here ({allowed.stderr.decode().strip()})")
    folder, got = tmp_path / "lease", threading.Event()
    process = holder(folder, *inside)

    def wait():
        with Lease(folder, stale=2.0):
            got.set()

    thread = threading.Thread(target=wait)
    thread.start()
    assert not got.wait(5.0)
    assert held(folder)
    process.kill()  # and with it what is inside
    assert got.wait(60)
    thread.join(60)


def test_a_number_used_again_is_not_the_process_that_died(tmp_path):
    with Lease(tmp_path / "lease") as lease:
        path = tmp_path / "lease" / str(lease.number)
        path.write_text(json.dumps({**json.loads(path.read_text()), "start": "1"}))
        assert not held(tmp_path / "lease")
        with Lease(tmp_path / "lease") as second:
            assert second.number == 2


def test_the_waiter_is_told_whom_it_waits_for_and_gets_it_next(tmp_path):
    told, order = [], []

    def wait():
        with Lease(tmp_path / "lease", told.append):
            order.append("second")

    with Lease(tmp_path / "lease"):
        thread = threading.Thread(target=wait)
        thread.start()
        while not told:
            time.sleep(0.01)
        order.append("first")
    thread.join(30)
    assert order == ["first", "second"]
    assert [owner.pid for owner in told] == [os.getpid()]


def test_another_machine_is_alive_while_its_file_changes_whatever_the_clocks_say(tmp_path):
    """Its clock, or the server's, jumps between 1970 and 2100; it is dead when nothing changes any more."""
    folder, ended = tmp_path / "lease", threading.Event()
    with Lease(folder):
        path = on_another_machine(folder)

        def beat():
            for year in (0, 4e9, 1e9, 0, 4e9, 1e9, 0, 4e9, 1e9, 0, 4e9, 1e9):
                os.utime(path, (year, year))
                time.sleep(0.2)
            ended.set()

        thread = threading.Thread(target=beat)
        thread.start()
        with Lease(folder, stale=1.0) as second:
            assert ended.is_set()
            assert second.number == 2
        thread.join()


def test_of_many_that_see_it_dead_one_succeeds(tmp_path):
    folder, inside, most = tmp_path / "lease", [], []
    with Lease(folder):
        on_another_machine(folder)

        def take():
            with Lease(folder, stale=0.3):
                inside.append(1)
                most.append(len(inside))
                time.sleep(0.02)
                inside.pop()

        threads = [threading.Thread(target=take) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    assert most == [1] * 8


def test_who_was_taken_for_dead_is_told_and_harms_nobody(tmp_path):
    folder = tmp_path / "lease"
    with Lease(folder, beat=0.05) as first:
        first.check()
        on_another_machine(folder, host="elsewhere")
        first._ended.set()  # suspended: it touches nothing any more
        with Lease(folder, stale=0.2) as second:
            with pytest.raises(InputError, match="another has taken its work over"):
                first.check()
            first.__exit__(None, None, None)
            second.check()
            assert held(folder)


def test_the_heartbeat_notices_a_successor(tmp_path):
    with Lease(tmp_path / "lease", beat=0.05) as lease:
        (tmp_path / "lease" / "7").write_text("{}")
        assert lease._lost.wait(30)


def test_a_requeued_job_follows_itself_at_once(tmp_path, monkeypatch):
    folder = tmp_path / "lease"
    with Lease(folder):
        path = on_another_machine(folder, job="here 12", restarts=0)
        assert held(folder)
        monkeypatch.setenv("SLURM_JOB_ID", "12")
        monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
        monkeypatch.setenv("SLURM_CLUSTER_NAME", "elsewhere")  # which counts its jobs from 1 too
        assert held(folder)
        monkeypatch.setenv("SLURM_CLUSTER_NAME", "here")
        assert this_process().restarts == 1
        assert not held(folder)
        with Lease(folder) as second:
            assert second.number == 2
        assert not path.exists()


def test_an_owner_elsewhere_without_a_sign_of_life_counts_as_gone_in_a_listing(tmp_path):
    folder = tmp_path / "lease"
    assert not held(folder)
    with Lease(folder):
        path = on_another_machine(folder)
        os.utime(path)
        assert held(folder)
        past = path.stat().st_mtime - 1000
        os.utime(path, (past, past))
        assert not held(folder)


def test_half_a_file_is_not_somebody_dead(tmp_path):
    """What is not (yet) readable is waited for like another machine's."""
    folder = tmp_path / "lease"
    folder.mkdir()
    (folder / "3").write_text('{"host": ')
    started = time.monotonic()
    with Lease(folder, stale=0.5) as lease:
        assert lease.number == 4
        assert time.monotonic() - started >= 0.5


def test_a_link_is_no_lease_and_what_it_points_to_stays(tmp_path):
    outside, link = tmp_path / "outside", tmp_path / ".lease"
    outside.mkdir()
    for name in ("1", "2", "text"):
        (outside / name).write_text("mine")
    link.symlink_to(outside)
    assert not held(link)
    with pytest.raises(InputError, match="is a link"), Lease(link):
        pass
    link.unlink()
    link.mkdir()
    (link / "1").symlink_to(outside / "text")
    assert not held(link) or (link / "1").is_symlink()
    with Lease(link, stale=0.0) as lease:
        assert lease.number == 2
        (link / "2").unlink()
        (link / "2").symlink_to(outside / "text")  # somebody puts it there meanwhile
    assert sorted((path.name, path.read_text()) for path in outside.iterdir()) == [
        ("1", "mine"), ("2", "mine"), ("text", "mine"),
    ]  # fmt: skip


def test_a_lease_of_another_kind_of_file_is_not_waited_for(tmp_path):
    pipe, file = tmp_path / "pipe", tmp_path / "file"
    pipe.mkdir()
    os.mkfifo(pipe / "1")  # to open it would wait for somebody who writes
    assert held(pipe)  # as far as can be told: it is new
    os.utime(pipe / "1", (0, 0))
    assert not held(pipe)
    file.write_text("x")
    assert not held(file)
