"""As much of Table VI, at the published setting, as fits into the seconds there are; the most telling cells first.

    python benchmarks/gpu_table6.py --images FOLDER [--seconds 2700] [--runs runs] [--out FOLDER] [-- trainer=fast ...]

One seed, and passports of energy 3: 20 trainings of 200 epochs and 40 fine-tunings of 100. AlexNet on
CIFAR-10 comes first with all five rows, then ResNet-18, then CIFAR-100, then what they are tuned to. Each cell is a
process of its own; several run side by side on a card, and none begins before what it needs is done. What stands behind
`--` every cell is asked for, too.

It ends inside its seconds: what still runs is told to stop, and leaves a checkpoint. The same command goes on there.
The cells are those of `ipr reproduce study=table_06 scale=paper` and lie in the same store, so that `ipr status` shows
them and nothing is trained twice. At the end stands the table as far as it goes, with what is missing.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from hydra import compose, initialize_config_dir

from ipr.cli.jobs import reporting
from ipr.cli.report import report_studies
from ipr.cli.reproduce import UNCHANGING, check_passed, enter
from ipr.config.shipped import shipped, studies
from ipr.exhibits.timing import NORM_OF
from ipr.machine.gpus import choose, visible_gpus
from ipr.requests.compose import as_texts, register, typed
from ipr.studies.config import ReproduceConfig
from ipr.studies.plan import Cell, plan, with_changes
from ipr.studies.planned import planned, read_plans, write_plan
from ipr.studies.status import StudyStatus, statuses
from ipr.studies.study import load_study
from ipr.terminal.console import Console
from ipr.workflows.cell import CellConfig, run_cell
from ipr.workflows.request import check

STARTED = time.monotonic() - time.process_time()
"""When this process began, near enough: before its imports."""

STUDY = "table_06"

PUBLISHED = ("scale=paper", "scale.seeds=[0]", "scale.energies=[3.0]")

QUICK = ("scale=smoke", "~scale.models.resnet18")
"""The same on handwritten digits in seconds: tries the script itself."""

ROWS = (("baseline", "bn"), ("passport_v1", "bn"), ("baseline", "gn"), ("passport_v2", "gn"), ("passport_v3", "gn"))
"""Scheme and norm."""

RESERVE = 60.0
"""Seconds, or a fifth of all where that is less, that are kept for stopping and for the report."""

SHORTEST = 20.0
"""Seconds in which a cell gets as far as its first epoch."""


@dataclass(frozen=True)
class Asked:
    """The command line; `words` is all of it, as it was given."""

    words: Sequence[str]

    images: Path | None
    runs: Path
    out: Path
    device: str
    quick: bool
    seconds: float
    at_once: int
    cells: int | None
    overrides: Sequence[str]

    @property
    def passed(self) -> list[str]:
        """What every cell is asked for."""
        own = {
            "paths.runs": str(self.runs.absolute()),
            "logger": "csv",
            "trainer.progress_bar": "false",
            "trainer.accelerator": "gpu" if self.device == "cuda" else "cpu",
        }
        given = {override.partition("=")[0].lstrip("+") for override in self.overrides}
        return [f"{key}={value}" for key, value in own.items() if key not in given] + [*self.overrides]

    @property
    def changes(self) -> list[str]:
        """What of that is part of what a cell is."""
        return [override for override in self.overrides if not override.startswith(UNCHANGING)]

    @property
    def request(self) -> ReproduceConfig:
        """The same as a request of `ipr reproduce`.

        Raises:
            InputError: it cannot be read.
        """
        register("reproduce")
        scale = QUICK if self.quick else PUBLISHED
        words = [f"study={STUDY}", *scale, f"paths.runs={self.runs.absolute()}"]
        words += [] if self.images is None else [f"images={self.images}"]
        with initialize_config_dir(str(shipped("conf")), version_base="1.3"):
            found = typed(compose("reproduce", as_texts("reproduce", words)))
        assert isinstance(found, ReproduceConfig)
        return found


def cells_of(asked: Asked, request: ReproduceConfig) -> list[Cell]:
    """All cells, the most telling first."""
    cells = with_changes(plan(load_study(studies()[STUDY]), request.scale), asked.changes)
    return sorted(cells, key=_worth)


def _row(cell: Cell) -> tuple[str, str]:
    scheme = str(cell.about["scheme"])
    return scheme, str(cell.about.get("norm") or NORM_OF[scheme])


def _worth(cell: Cell) -> tuple[object, ...]:
    about = cell.about
    return (
        cell.wave == "attack", about["dataset"] != "cifar10", about["model"] != "alexnet", ROWS.index(_row(cell)),
        str(about.get("transfer")),
    )  # fmt: skip


def needs(cells: Sequence[Cell]) -> dict[str, str]:
    """Cell -> the cell that it needs: a passport is made from the plain network, and what is trained is then tuned."""

    def place(cell: Cell, row: tuple[str, str]) -> tuple[object, ...]:
        return cell.about["model"], cell.about["dataset"], cell.about["seed"], row

    trained = {place(cell, _row(cell)): cell.name for cell in cells if cell.wave != "attack"}
    found = {}
    for cell in cells:
        row = _row(cell) if cell.wave == "attack" else ("baseline", _row(cell)[1])
        if cell.wave != "baseline" and (other := trained.get(place(cell, row))) is not None:
            found[cell.name] = other
    return found


@dataclass
class Work:
    """The cells of one call, and what became of them.

    Attributes:
        asked: the command line.
        waiting: those that have not begun, the most telling first.
        needed: see `needs`.
        done: names of those that are done.
        failed: names of those that failed, or need one that did.
        running: name -> process, and the GPU it has.
    """

    asked: Asked
    waiting: list[str]
    needed: Mapping[str, str]
    done: set[str]
    failed: list[str] = field(default_factory=list)
    running: dict[str, tuple[subprocess.Popen[bytes], str]] = field(default_factory=dict)

    def step(self) -> None:
        """Looks what has ended, and begins what can be."""
        for name, (process, _) in [*self.running.items()]:
            if (code := process.poll()) is not None:
                del self.running[name]
                if code == 0:
                    self.done.add(name)
                else:
                    self.failed.append(name)
                tell(f"{'done' if code == 0 else 'failed'}: {name}")
        for name in [*self.waiting]:
            other = self.needed.get(name)
            if other in self.failed:
                self.failed.append(name)
            elif len(self.running) == self.asked.at_once or not (other is None or other in self.done):
                continue
            else:
                self._begin(name)
            self.waiting.remove(name)

    def _begin(self, name: str) -> None:
        log = self.asked.out / "logs" / f"{name}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        gpus = visible_gpus(os.environ) if self.asked.device == "cuda" else []
        gpu = choose(gpus, [taken for _, taken in self.running.values()]) if gpus else ""
        threads = max(1, (os.cpu_count() or 1) // self.asked.at_once)
        environment = {"OMP_NUM_THREADS": str(threads)} | os.environ | ({"CUDA_VISIBLE_DEVICES": gpu} if gpu else {})
        words = [sys.executable, __file__, f"--cell={name}", *self.asked.words]
        with log.open("ab") as file:
            process = subprocess.Popen(
                words, stdout=file, stderr=file, stdin=subprocess.DEVNULL, env=environment, start_new_session=True
            )
        self.running[name] = process, gpu
        tell(f"begun: {name}")

    def stop(self, until: float) -> None:
        """Tells all that runs to stop, waits until then, and ends what has not."""
        for process, _ in self.running.values():
            process.terminate()
        for process, _ in self.running.values():
            with suppress(subprocess.TimeoutExpired):
                process.wait(max(0.1, until - time.monotonic()))
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # what it started, too
            process.wait()


def tell(line: str) -> None:
    """Prints a line, with the seconds since the beginning."""
    print(f"{time.monotonic() - STARTED:5.0f} s  {line}", flush=True)


@contextmanager
def hearing() -> Iterator[list[int]]:
    """Inside, SIGTERM and Ctrl-C end nothing: those that came stand in the list."""
    heard: list[int] = []
    signals = (signal.SIGTERM, signal.SIGINT)
    before = {number: signal.signal(number, lambda number, _: heard.append(number)) for number in signals}
    try:
        yield heard
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def main(asked: Asked, started: float) -> int:
    """Runs what there is time for, and reports; 1 where a cell failed.

    Args:
        asked: the command line.
        started: when its seconds began, by `time.monotonic`.

    Raises:
        InputError: something is asked for that cannot be.
    """
    deadline, reserve = started + asked.seconds, min(RESERVE, asked.seconds / 5)
    request = asked.request
    check_passed(asked.overrides)
    cells = cells_of(asked, request)
    scale, needed = request.scale, needs(cells)
    enter(request, cells)
    check(config_of(asked, cells[0].name))
    write_plan(asked.runs, planned(asked.runs, studies()[STUDY], scale, asked.changes, cells))
    done = {cell.cell for cell in status_of(asked.runs, scale.name).cells if cell.state == "done"}
    chosen = [cell.name for cell in cells[: asked.cells]]
    work = Work(asked, [name for name in chosen if name not in done], needed, done)
    with hearing() as heard:
        while (work.waiting or work.running) and not heard:
            if deadline - reserve - time.monotonic() < (0 if work.running else SHORTEST):
                break
            work.step()
            time.sleep(0.1)
        stopped = [*work.running]
        work.stop(deadline - reserve / 2)
    for name in work.failed:
        tell(f"failed: {name}: see {asked.out / 'logs'}")
    for name in stopped:
        tell(f"stopped: {name}: the same command goes on")
    report_studies(asked.runs, STUDY, scale.name, str(asked.out), Console())
    found = status_of(asked.runs, scale.name)
    (asked.out / "cells.md").write_text(listing(found))
    left = "" if found.counts["done"] == len(cells) else f"; what is missing: {asked.out / 'cells.md'}"
    tell(f"{found.counts['done']} of {len(cells)} cells are done{left}")
    return int(bool(work.failed))


def status_of(runs: Path, scale: str) -> StudyStatus:
    """What became of the cells."""
    plans = read_plans(runs)
    shown = [study for study in plans if (study.name, study.scale) == (STUDY, scale)]
    return statuses(runs, shown, plans)[0]


def listing(status: StudyStatus) -> str:
    """Every cell, its state, and what it took or is expected to take."""
    counts = ", ".join(f"{count} {state}" for state, count in status.counts.items() if count)
    lines = [
        f"{counts} of {len(status.cells)} cells.",
        "",
        "| cell | state | seconds | expected |",
        "|---|---|---:|---:|",
    ]
    for cell in status.cells:
        numbers = [cell.seconds, cell.seconds_left if cell.state != "done" else None]
        lines.append(
            f"| {cell.cell} | {cell.state} | " + " | ".join("" if n is None else f"{n:.0f}" for n in numbers) + " |"
        )
    return "\n".join(lines) + "\n"


def one(asked: Asked, name: str) -> int:
    """Runs one cell in this process."""
    request = asked.request
    enter(request, cells_of(asked, request))
    run_cell(config_of(asked, name))
    return 0


def config_of(asked: Asked, name: str) -> CellConfig:
    """What a cell that was entered asks for."""
    with initialize_config_dir(str(shipped("conf")), version_base="1.3"):
        config = typed(compose("cell", as_texts("cell", [f"cell={name}", *asked.passed])))
    assert isinstance(config, CellConfig)
    return config


def parsed(words: Sequence[str]) -> tuple[Asked, str | None]:
    """The command line, read, and the cell that this process is for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, help="holds cifar10/train/<class>/<image>, cifar100, caltech101")
    parser.add_argument("--seconds", type=float, default=2700, help="when it ends at the latest; default 2700")
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="the folder of runs; default runs")
    parser.add_argument("--out", type=Path, help="for the report and logs; default <runs>/report/gpu-table6")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--at-once", type=int, help="cells side by side; default 6 on a GPU, but a core for each")
    parser.add_argument("--cells", type=int, help="only so many, the most telling")
    parser.add_argument("--quick", action="store_true", help="on handwritten digits, in seconds: tries the script")
    parser.add_argument("--cell", help=argparse.SUPPRESS)
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="behind --: what every cell is asked for")
    given = parser.parse_args(words)
    if given.images is None and not given.quick:
        parser.error("--images=FOLDER must be given")
    if not given.seconds > 0 or (given.at_once is not None and given.at_once < 1):
        parser.error("--seconds and --at-once must be above 0")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    asked = Asked(
        words=words,
        images=given.images,
        runs=given.runs,
        out=given.out or given.runs / "report" / "gpu-table6",
        device=given.device,
        quick=given.quick,
        seconds=given.seconds,
        at_once=given.at_once or (min(6, cores) if given.device == "cuda" else cores),
        cells=given.cells,
        overrides=given.overrides,
    )
    return asked, given.cell


if __name__ == "__main__":
    whole, single = parsed(sys.argv[1:])
    codes: list[int] = []
    with reporting(codes):
        codes.append(main(whole, STARTED) if single is None else one(whole, single))
    sys.exit(max(codes, default=0))
