"""Which of several processes this one is, and how they come together for a training.

The process of rank 0 leads: it does whatever a process on its own would do, and calls the others when there is
something to train. They follow: they wait, take part in each training, and do nothing else. Slurm or torchrun has
started them all, or the leader starts the others itself, on its own machine, for as long as one training lasts.

They speak through a store at the leader (who is called, what became of it) and through one process group a training.
Both are open to whoever reaches their ports, as everywhere in `torch.distributed`. So what they tell one another is
sealed (`sealing.py`), nothing that a stranger says is unpickled, and no training begins before each has shown that it
has the secret. Gradients are not sealed: they are numbers, and are added up.
"""

from __future__ import annotations

import gc
import hmac
import json
import os
import pickle
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from functools import cache, cached_property
from typing import Any

import torch
from lightning.fabric.plugins.environments.cluster_environment import ClusterEnvironment
from torch import distributed
from torch._C._distributed_c10d import PrefixStore, Store, TCPStore

from ipr.config.schema import TrainerConfig
from ipr.errors import InputError
from ipr.training.distributed.place import LOOPBACK, Place, placed
from ipr.training.distributed.sealing import SECRET, StrangerError, seal, unseal

END = "end"
COME = timedelta(minutes=10)  # from one process's start to another's
STEP = timedelta(minutes=30)  # from one process's call in a training to another's: the leader may judge between epochs
SOON = timedelta(seconds=5)  # until others notice what one noticed
LEAVE = timedelta(seconds=60)  # for the others to hear that it is over
LONGEST = 2**20  # bytes of what a follower says
FOREVER = timedelta(days=365)  # until there is something to train: the leader may wait for a run that others make


class KilledError(InputError, RuntimeError):
    """Somebody, or the machine for want of memory, has killed one of those that train together."""


class DesertedError(RuntimeError):
    """The leader has ended without a word."""


class Team:
    """The processes that train together, as one of them sees them.

    Args:
        place: where this one stands.
        store: what they speak through.
        started: the others, where this one has started them.
        secret: gives 32 bytes that nobody else has; it is asked when there is the first word to seal.
    """

    def __init__(
        self,
        place: Place,
        store: Store,
        started: Sequence[subprocess.Popen[bytes]] = (),
        secret: Callable[[], bytes] | None = None,
    ) -> None:
        self.place, self.started, self.secret = place, started, secret
        self.store = PrefixStore(f"ipr {place.attempt}", store)
        self.turn = self.words = 0
        self._nonce = secrets.token_hex(SECRET)
        self.store.set(f"nonce {place.rank}", self._nonce)

    @cached_property
    def session(self) -> bytes:
        """The secret of this team: it follows from a number that each draws, so that no word of another day fits."""
        if self.secret is None:
            raise RuntimeError("these processes have no secret in common")
        ranks = range(self.place.processes)
        nonces = [
            self.store.get(f"nonce {rank}") if rank != self.place.rank else self._nonce.encode() for rank in ranks
        ]
        return hmac.digest(self.secret(), b" ".join(nonces), "sha256")

    def call(self, accelerator: str) -> None:
        """Leader: calls the others to a training, and waits until they are there.

        Args:
            accelerator: `cpu` or `cuda`.

        Raises:
            RuntimeError: one ended, or did not come.
        """
        gc.collect()  # what a training that failed leaves behind would keep its connections open
        self.turn += 1
        self.store.set(f"{self.turn}", accelerator)
        deadline = time.monotonic() + COME.total_seconds()
        for rank in range(1, self.place.processes):
            while not self.store.check([f"{self.turn} {rank}"]):
                self.check_started()
                if time.monotonic() > deadline:
                    raise RuntimeError(f"process {rank} of {self.place.processes} does not answer")
                time.sleep(0.02)

    def called(self) -> str | None:
        """Follower: waits for a training, and returns its accelerator; None when there will be none any more.

        Raises:
            DesertedError: the leader has ended without a word.
        """
        self.turn += 1
        try:
            self.store.wait([f"{self.turn}"], FOREVER)
            word = str(self.store.get(f"{self.turn}").decode())
            self.store.set(f"{self.turn} {self.place.rank}", "here")
        except RuntimeError as error:
            raise DesertedError(f"process 0 of {self.place.processes} has ended") from error
        return word if word != END else None

    def dismiss(self) -> None:
        """Leader: tells the others that there is nothing more to train."""
        self.turn += 1
        with suppress(RuntimeError):  # whoever has ended need not be told
            self.store.set(f"{self.turn}", END)
            self.store.wait([f"{self.turn} {rank}" for rank in range(1, self.place.processes)], LEAVE)

    @contextmanager
    def group(self, accelerator: str) -> Iterator[None]:
        """Inside, this process is in the process group of the training that was called.

        Args:
            accelerator: `cpu` or `cuda`.
        """
        place, self.words = self.place, 0
        with _interface(place.address):
            distributed.init_process_group(
                "cpu:gloo,cuda:nccl" if accelerator == "cuda" else "gloo",
                store=PrefixStore(f"group {self.turn}", self.store),
                rank=place.rank,
                world_size=place.processes,
                timeout=STEP,
            )
        try:
            yield
        finally:
            distributed.destroy_process_group()

    def tell(self, word: Any = None) -> Any:
        """Inside a group: hands the leader's word to everybody, and returns it.

        Raises:
            InputError: somebody else has said it.
        """
        said = self._say(0, pickle.dumps(word) if self.place.rank == 0 else b"")
        return word if self.place.rank == 0 else pickle.loads(said)  # noqa: S301 (the leader has sealed it)

    def ask(self, word: Any = None) -> list[Any]:
        """Inside a group: everybody's word, by rank, for everybody. A word is what JSON knows.

        Raises:
            InputError: somebody else has said one of them.
        """
        said = [self._say(rank, json.dumps(word).encode(), LONGEST) for rank in range(self.place.processes)]
        return [json.loads(each) for each in said]

    def _say(self, rank: int, content: bytes, longest: int | None = None) -> bytes:
        """Hands the word of one process to everybody."""
        self.words += 1
        about, mine = f"{self.turn} {self.words} {rank}", rank == self.place.rank
        sealed = seal(self.session, about, content) if mine else b""
        announced = torch.tensor([len(sealed)])
        distributed.broadcast(announced, rank)
        size = int(announced)
        if size < 0 or (longest is not None and size > longest):
            raise self._stranger(rank)
        buffer = torch.empty(size, dtype=torch.uint8)
        if mine:
            buffer = torch.frombuffer(bytearray(sealed), dtype=torch.uint8)
        distributed.broadcast(buffer, rank)
        if mine:
            return content
        try:
            return unseal(self.session, about, buffer.numpy().tobytes())
        except StrangerError as error:
            raise self._stranger(rank) from error

    def _stranger(self, rank: int) -> InputError:
        return InputError(
            "trainer.devices",
            self.place.processes,
            f"somebody who does not know its secret speaks for process {rank}",
            f"see who else is on {self.place.address}; nothing was told to them, and the same command goes on",
        )

    def break_off(self) -> None:
        """Leader: says that the training of this turn failed here, so that others need not."""
        with suppress(RuntimeError):
            self.store.set(f"{self.turn} failed", "")

    def broken_off(self) -> bool:
        """Follower: whether it was the leader who failed, or ended."""
        word = [f"{self.turn} failed"]
        with suppress(RuntimeError):  # nobody said so yet, or there is nobody
            self.store.wait(word, SOON)
        try:
            return bool(self.store.check(word))
        except RuntimeError:
            return True

    def blame(self, error: RuntimeError) -> None:
        """Leader: says whether it failed because one of those that it started has ended.

        Raises:
            RuntimeError: one has.
        """
        deadline = time.monotonic() + SOON.total_seconds()
        while self.started and time.monotonic() < deadline:
            try:
                self.check_started()
            except RuntimeError as found:
                raise found from error
            time.sleep(0.05)

    def check_started(self) -> None:
        """Leader: sees that the processes which it has started are alive.

        Raises:
            KilledError: one was killed.
            RuntimeError: one ended by itself.
        """
        for rank, process in enumerate(self.started, 1):
            if (code := process.poll()) is not None:
                who = f"process {rank} of {self.place.processes}"
                if code < 0:
                    how = f"{who} was killed by {signal.Signals(-code).name}"
                    remedy = "see to the machine's memory, and to whoever ends processes; the same command goes on"
                    raise KilledError("trainer.devices", self.place.processes, how, remedy)
                raise RuntimeError(f"{who} ended with code {code}; what it said stands above")


@cache
def launched() -> Team | None:
    """The team of a process that Slurm or torchrun has started together with others; its secret is to be given."""
    place = placed(os.environ)
    return None if place is None else join(place)


def join(place: Place, secret: Callable[[], bytes] | None = None) -> Team:
    """Meets the others, or begins to keep the store for them; `secret` as of `Team`."""
    keeps = place.rank == 0 and not place.hosted
    if keeps and place.address == LOOPBACK:
        return Team(place, _store_on(socket.create_server((LOOPBACK, place.port))), secret=secret)
    store = TCPStore(place.address, place.port, is_master=keeps, wait_for_workers=False, timeout=COME)
    return Team(place, store, secret=secret)


def _store_on(server: socket.socket) -> TCPStore:
    """A store that is kept here and heard on this address alone (by itself it would listen to the network)."""
    address, port = server.getsockname()
    return TCPStore(
        address, port, is_master=True, wait_for_workers=False, timeout=COME, master_listen_fd=server.detach()
    )


@contextmanager
def starting(processes: int) -> Iterator[Team]:
    """Starts the others on this machine. They end with the block, or when this process does.

    They know no arguments of this process: what to do is told to them, and no list of processes shows it. Their secret
    comes through a pipe that nobody else can read.
    """
    secret = secrets.token_bytes(SECRET)
    store = _store_on(socket.create_server((LOOPBACK, 0)))
    place = Place(0, processes, 0, LOOPBACK, store.port)
    others = []
    try:
        for rank in range(1, processes):
            mine = {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(processes)}
            mine |= {"MASTER_ADDR": place.address, "MASTER_PORT": str(place.port)}
            mine |= {"TORCHELASTIC_RESTART_COUNT": place.attempt}  # another may be inherited
            others.append(
                subprocess.Popen(
                    [sys.executable, "-P", "-m", "ipr.training.distributed.follow"],
                    stdin=subprocess.PIPE,  # for the secret; closed, however this process ends: see `follow.py`
                    stdout=subprocess.DEVNULL,
                    env={**os.environ, **mine},
                )
            )
            with suppress(BrokenPipeError):  # it has ended already, as `call` will see
                _hand_over(others[-1], secret)
        team = Team(place, store, others, lambda: secret)
        yield team
        team.dismiss()
    finally:
        for other in others:
            assert other.stdin is not None
            with suppress(BrokenPipeError):  # it ended before it took its secret
                other.stdin.close()
        for other in others:
            other.wait()


def _hand_over(process: subprocess.Popen[bytes], secret: bytes) -> None:
    assert process.stdin is not None
    process.stdin.write(secret)
    process.stdin.flush()


@contextmanager
def assembled(trainer: TrainerConfig) -> Iterator[Team]:
    """Inside, there are as many processes as a training asks for.

    Raises:
        InputError: others were started than are asked for.
    """
    team, asked = launched(), trainer.devices * trainer.nodes
    if team is None:
        if trainer.nodes > 1:
            raise InputError(
                "trainer.nodes",
                trainer.nodes,
                "this process was started on its own",
                "start one a device with srun, hydra/launcher=slurm or torchrun, or choose trainer.nodes=1",
            )
        with starting(asked) as team:
            yield team
        return
    if team.place.processes != asked:
        raise InputError(
            "trainer.devices",
            trainer.devices,
            f"with trainer.nodes={trainer.nodes} it asks for {asked} processes; {team.place.processes} were started",
            "give trainer.devices and trainer.nodes as they were started",
        )
    if team.place.rank:
        raise RuntimeError("only the first process may begin a training; the others follow")
    yield team


class Assembled(ClusterEnvironment):
    """What Lightning asks about processes that are there already.

    Args:
        place: where this one stands.
        devices: how many there are on a machine.
    """

    creates_processes_externally = True

    def __init__(self, place: Place, devices: int) -> None:
        super().__init__()
        self.place, self.devices = place, devices

    @property
    def main_address(self) -> str:
        """See `Place`."""
        return self.place.address

    @property
    def main_port(self) -> int:
        """See `Place`."""
        return self.place.port

    @staticmethod
    def detect() -> bool:
        """Never found: it is given."""
        return False

    def world_size(self) -> int:
        """All processes."""
        return self.place.processes

    def set_world_size(self, size: int) -> None:
        """It is what it is."""

    def global_rank(self) -> int:
        """See `Place`."""
        return self.place.rank

    def set_global_rank(self, rank: int) -> None:
        """It is what it is, and Lightning must think the same.

        Raises:
            InputError: the ranks of a machine do not follow one another.
        """
        if rank != self.place.rank:
            raise InputError(
                "trainer.devices",
                self.devices,
                f"process {self.place.rank} is number {self.place.local_rank} on its machine",
                "start the same number on each, in blocks (srun --distribution=block)",
            )

    def local_rank(self) -> int:
        """See `Place`."""
        return self.place.local_rank

    def node_rank(self) -> int:
        """The number of its machine."""
        return self.place.rank // self.devices


@contextmanager
def _interface(address: str) -> Iterator[None]:
    """Inside, gloo listens where the leader's store does, if that is this machine alone: not to the network."""
    name = next((name for _, name in socket.if_nameindex() if name in ("lo", "lo0")), None)
    if address != LOOPBACK or name is None or "GLOO_SOCKET_IFNAME" in os.environ:
        yield
        return
    os.environ["GLOO_SOCKET_IFNAME"] = name
    try:
        yield
    finally:
        del os.environ["GLOO_SOCKET_IFNAME"]


@contextmanager
def threads(count: int | None) -> Iterator[None]:
    """Inside, torch computes with so many threads; None for as many as before."""
    before = torch.get_num_threads()
    try:
        if count is not None:
            torch.set_num_threads(count)
        yield
    finally:
        torch.set_num_threads(before)
