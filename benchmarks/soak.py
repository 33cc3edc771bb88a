"""Runs that are killed at random moments, against the same runs left alone: does every bit come out the same?

    python benchmarks/soak.py
    python benchmarks/soak.py --kills 20 --seed 7

A stream of small trainings and attacks. Each is made undisturbed in one store. In another its process is killed again
and again, by SIGKILL, half of the times at a moment drawn from the clock and half just before a drawn operation on a
file, and started again, until it ends. Processes are forked from one that has imported everything, so that kills fall
on work and not on imports. Writes its table to runs/soak/soak.md.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"  # the same thread count for all, whatever the machine

import torch

from ipr.cli import main as ipr
from ipr.files import ASIDE
from ipr.store.record import hardware, versions, without_times
from ipr.training.metrics import read_metrics
from ipr.workflows import attack  # noqa: F401 (here, so that no forked process has to import it)

SMALL = (
    "model.width=0.25", "dataset.image_size=8", "dataset.limit_train=640", "dataset.limit_test=100", "logger=csv",
    "trainer.progress_bar=false", "trainer.accelerator=cpu", "trainer.max_epochs=6", "verification.forged=10",
    "trainer.checkpoint_seconds=0",
)  # fmt: skip

STREAM = (
    ("train", "scheme=passport_v3"),
    ("train", "scheme=passport_v1"),
    ("attack", "scheme=passport_v2", "attack=finetune", "attack.epochs=4"),
    ("train", "scheme=uchida"),
    ("attack", "scheme=passport_v3", "attack=fake2", "attack.epochs=4"),
    ("train", "scheme=trigger_set"),
    ("attack", "scheme=passport_v1", "attack=prune"),
    ("train", "scheme=deepmarks"),
    ("attack", "scheme=passport_v2", "attack=overwrite", "attack.epochs=3"),
)

EVENTS = {"open", "os.rename", "os.remove", "os.mkdir", "os.link", "os.truncate", "shutil.rmtree"}


@dataclass
class Tally:
    """What came out.

    Attributes:
        kills: SIGKILLs that hit.
        at_files: those of them just before an operation on a file.
        runs: run folders that were to be made (victims and plain networks included).
        lost: those that were not there in the end.
        records_lost: records and rows that were there once and could not be read later.
        differing: folders whose weights, claim, record, rows or curves differ from the undisturbed ones.
        leftovers: half-written files in finished folders.
        alone: seconds that the undisturbed runs took.
        seconds: seconds that the killed ones took in all.
    """

    kills: int = 0
    at_files: int = 0
    runs: int = 0
    lost: int = 0
    records_lost: int = 0
    differing: int = 0
    leftovers: int = 0
    alone: float = 0.0
    seconds: float = 0.0
    names: list[str] = field(default_factory=list)


def contents(folder: Path) -> dict[str, Any]:
    """What of a run folder must be the same: digests of weights and claim, rows without their times."""
    found: dict[str, Any] = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.suffix == ".safetensors" or path.name == "claim.json":
            found[name] = sha256(path.read_bytes()).hexdigest()
        elif path.name == "record.json":
            found[name] = without_times(json.loads(path.read_text()))
        elif path.name == "rows.jsonl":
            found[name] = [without_times(json.loads(line)) for line in path.read_text().splitlines()]
        elif path.name.startswith("metrics"):
            found[name] = [without_times(row) for row in read_metrics(path)]
        elif path.name == "finished":
            found[name] = True
    return found


def start(request: Sequence[str], store: Path, log: Path, kill_at: int | None) -> tuple[int, int]:
    """Forks a process that runs a request; returns its number, and a pipe that tells how many file operations it did.

    Args:
        request: a command and its arguments.
        store: the folder of runs.
        log: where it writes what it prints.
        kill_at: before which operation on a file of the store it kills itself; None for never.
    """
    read, write = os.pipe()
    process = os.fork()
    if process:
        os.close(write)
        return process, read
    count, inside = 0, str(store)

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        nonlocal count
        if event in EVENTS and arguments and str(arguments[0]).startswith(inside):
            count += 1
            if count == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)

    with log.open("ab") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    code = 1
    try:
        sys.addaudithook(watch)
        ipr([request[0], *SMALL, *request[1:], f"paths.runs={store}"])
    except SystemExit as ended:
        code = int(ended.code or 0)
    finally:
        os.write(write, str(count).encode())
        os._exit(code)


def run(request: Sequence[str], store: Path, log: Path, kill_at: int | None, kill_after: float | None) -> Attempt:
    """One process of a request, and how it ended."""
    began = time.perf_counter()
    process, pipe = start(request, store, log, kill_at)
    status: int | None = None
    while status is None:
        ended, code = os.waitpid(process, os.WNOHANG)
        if ended:
            status = code
        elif kill_after is not None and time.perf_counter() - began > kill_after:
            os.kill(process, signal.SIGKILL)
            status = os.waitpid(process, 0)[1]
        else:
            time.sleep(0.002)
    seconds = time.perf_counter() - began
    operations = os.read(pipe, 20)
    os.close(pipe)
    killed = os.WIFSIGNALED(status)
    if not killed and os.WEXITSTATUS(status) != 0:
        raise SystemExit(f"{' '.join(request)} failed; see {log}")
    return Attempt(killed, seconds, int(operations or 0))


@dataclass(frozen=True)
class Attempt:
    """How a process ended: killed or done, after how many seconds and operations on files (0 where it was killed)."""

    killed: bool
    seconds: float
    operations: int


def requests() -> Iterator[tuple[str, ...]]:
    """The stream, with another seed at every turn."""
    seed = 0
    while True:
        for command, *arguments in STREAM:
            yield (command, *arguments, f"seed={seed}")
        seed += 1


def folders(store: Path) -> list[Path]:
    """The run folders of a store."""
    return sorted(store.glob("*/*"))


def soak(kills: int, seed: int, place: Path) -> Tally:
    """Kills runs until so many kills have hit, and compares.

    Args:
        kills: how many.
        seed: of the moments.
        place: a folder for both stores; emptied first.
    """
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    tally, source, seen = Tally(), random.Random(seed), dict[Path, Mapping[str, Any]]()
    whole, broken, log = place / "whole", place / "broken", place / "log.txt"
    stream = requests()
    while tally.kills < kills:
        request = next(stream)
        alone = run(request, whole, log, None, None)
        tally.alone += alone.seconds
        while True:
            at_file, wanted = source.random() < 0.5, tally.kills < kills
            attempt = run(
                request,
                broken,
                log,
                source.randint(1, alone.operations) if wanted and at_file else None,
                source.uniform(0, alone.seconds) if wanted and not at_file else None,
            )
            tally.seconds += attempt.seconds
            tally.kills += attempt.killed
            tally.at_files += attempt.killed and at_file
            for folder in folders(broken):
                if folder in seen and contents(folder) != seen[folder]:
                    tally.records_lost += 1
                if (folder / "record.json").exists() or (folder / "finished").exists():
                    seen[folder] = contents(folder)
            if not attempt.killed:
                break
        print(f"\r{tally.kills} of {kills} kills, {len(seen)} runs", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    for folder in folders(whole):
        tally.runs += 1
        other = broken / folder.relative_to(whole)
        if not other.exists():
            tally.lost += 1
        elif contents(folder) != contents(other):
            tally.differing += 1
            tally.names.append(str(other))
        tally.leftovers += sum(1 for path in other.rglob(".*") if ASIDE.fullmatch(path.name))
    return tally


def table(tally: Tally) -> str:
    """The figures."""
    repeated = tally.seconds - tally.alone
    rows = (
        ("kills", f"{tally.kills}, {tally.at_files} of them just before an operation on a file"),
        ("runs made", f"{tally.runs}"),
        ("runs lost", f"{tally.lost}"),
        ("records lost", f"{tally.records_lost}"),
        ("runs whose weights, claims, records, rows or curves differ", f"{tally.differing}"),
        ("half-written files left", f"{tally.leftovers}"),
        ("work repeated", f"{repeated:.1f} s, {repeated / tally.kills:.2f} s a kill; undisturbed {tally.alone:.1f} s"),
    )
    lines = ["| what | figure |", "|---|---|", *(f"| {what} | {figure} |" for what, figure in rows), ""]
    return "\n".join([*lines, f"{hardware(torch.device('cpu'))}; {versions()}."])


def main() -> None:
    """See the top."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200, help="how many; default 200")
    parser.add_argument("--seed", type=int, default=0, help="of the moments; default 0")
    parser.add_argument("--folder", type=Path, default=Path("runs/soak"), help="emptied first; default runs/soak")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    place = arguments.folder.absolute()
    tally = soak(arguments.kills, arguments.seed, place)
    text = table(tally)
    (place / "soak.md").write_text(text + "\n")
    print(text)
    if tally.lost or tally.records_lost or tally.differing:
        sys.exit(f"not the same: {', '.join(tally.names) or 'see above'}")


if __name__ == "__main__":
    main()
