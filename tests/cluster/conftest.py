"""A real Slurm of one node on loopback, with keys, ports and folders of its own."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "squeue", "scontrol", "scancel")
SECONDS = 60
"""For it to be there, and for what is waited for in the tests' Slurm."""

CONFIGURATION = """
ClusterName=ipr
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller}
SlurmdPort={node}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={place}/munge.socket
StateSaveLocation={place}/state
SlurmdSpoolDir={place}/spool
SlurmctldPidFile={place}/slurmctld.pid
SlurmdPidFile={place}/slurmd.pid
SlurmctldLogFile={place}/slurmctld.log
SlurmdLogFile={place}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=sched_interval=1,bf_interval=1
SlurmdParameters=config_overrides
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
ReturnToService=2
JobRequeue=1
KillWait=2
NodeName={host} NodeAddr=127.0.0.1 CPUs=4 State=UNKNOWN
PartitionName=tests Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""


@dataclass(frozen=True)
class Slurm:
    """A running one."""

    environment: dict[str, str]

    def ask(self, *command: str) -> str:
        """What a command of Slurm prints."""
        return subprocess.run(
            command, env=os.environ | self.environment, check=True, capture_output=True, text=True, timeout=SECONDS
        ).stdout

    def queue(self, *states: str) -> list[str]:
        """The ids of jobs that have not ended, or that are in some states."""
        asked = [f"--states={','.join(states)}"] if states else []
        return self.ask("squeue", "--noheader", "--array", "--format=%i", *asked).split()


@pytest.fixture(scope="session")
def slurm() -> Iterator[Slurm]:
    if os.geteuid() != 0:
        pytest.skip("Slurm's daemons are started by root only")
    if others := running("slurmctld", "slurmd"):
        pytest.skip(f"a Slurm runs on this machine ({', '.join(others)}), which is left alone")
    if missing := absent():
        pytest.skip(f"there is no {', '.join(missing)} here (.ci/slurm installs them)")
    with ExitStack() as stack:
        place = Path(tempfile.mkdtemp(prefix="ipr-slurm-"))  # short: a socket lies in it
        stack.callback(shutil.rmtree, place, ignore_errors=True)
        place.chmod(0o755)  # munged insists that others can reach its socket
        yield started(place, stack)


def running(*names: str) -> list[str]:
    found = []
    for process in Path("/proc").glob("[0-9]*/comm"):
        try:
            found.append(process.read_text().strip())
        except OSError:
            continue  # it has ended
    return [name for name in names if name in found]


def absent() -> list[str]:
    return [name for name in PROGRAMS if shutil.which(name) is None]


def free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def started(place: Path, stack: ExitStack) -> Slurm:
    key = place / "munge.key"
    key.touch(0o600)
    key.write_bytes(secrets.token_bytes(128))
    configuration = place / "slurm.conf"
    controller, node = free_ports(2)
    host = socket.gethostname().split(".")[0]
    configuration.write_text(CONFIGURATION.format(host=host, place=place, controller=controller, node=node))
    (place / "state").mkdir()
    (place / "spool").mkdir()
    slurm = Slurm({"SLURM_CONF": str(configuration)})
    files = [f"--{name}-file={place}/munge.{name}" for name in ("key", "pid", "log", "seed")]
    run(stack, slurm, place, "munged", "--foreground", *files, f"--socket={place}/munge.socket")
    until(lambda: (place / "munge.socket").exists(), place)
    run(stack, slurm, place, "slurmctld", "-D", "-c", "-f", configuration)
    run(stack, slurm, place, "slurmd", "-D", "-c", "-f", configuration)
    until(lambda: idle(slurm), place)
    stack.callback(empty, slurm)
    return slurm


def run(stack: ExitStack, slurm: Slurm, place: Path, *command: str | Path) -> None:
    """Starts a daemon that is stopped when the tests end."""
    log = stack.enter_context((place / f"{command[0]}.out").open("w"))
    daemon = subprocess.Popen(command, env=os.environ | slurm.environment, stdout=log, stderr=log)

    def stop() -> None:
        daemon.terminate()
        try:
            daemon.wait(10)
        except subprocess.TimeoutExpired:
            daemon.kill()
            daemon.wait()

    stack.callback(stop)


def empty(slurm: Slurm) -> None:
    """Ends what failed tests left, or the daemons would leave it behind; the job of a good test may be ending."""
    if jobs := slurm.queue():
        slurm.ask("scancel", *jobs)
        until(lambda: slurm.queue() == [])


def idle(slurm: Slurm) -> bool:
    try:
        return slurm.ask("sinfo", "--noheader", "--format=%T").strip() == "idle"
    except subprocess.CalledProcessError:
        return False


def until(there, place: Path | None = None) -> None:
    """Waits until something holds."""
    deadline = time.monotonic() + SECONDS
    while not there():
        if time.monotonic() > deadline:
            logs = [] if place is None else [f"{p.name}:\n{p.read_text()[-2000:]}" for p in place.glob("*.[lo]*")]
            raise AssertionError("\n".join(["waited in vain", *logs]))
        time.sleep(0.1)
