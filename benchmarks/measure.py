"""How everything here is timed: the works of a comparison take turns in one process, and a control shows what is noise.

Cores are often shared, so what counts is the CPU time of the process, summed over its threads, with OpenMP threads that
sleep while they wait: it is far steadier than the time on the wall. Import this module before torch.
"""

from __future__ import annotations

import argparse
import os

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch

from ipr.store.record import hardware, versions

Work = Callable[[], object]


def rounds_and_width(description: str | None, rounds: int) -> tuple[int, float]:
    """The arguments that every benchmark takes: how often, and how wide the networks are (1 is Table III)."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--rounds", type=int, default=rounds, help=f"how often each work is timed; default {rounds}")
    parser.add_argument("--width", type=float, default=1.0, help="width of the networks; default 1 (Table III)")
    arguments = parser.parse_args()
    return int(arguments.rounds), float(arguments.width)


def take_turns(
    works: Mapping[str, Work], rounds: int, *, clock: Callable[[], float] = time.process_time, warm: int = 2
) -> dict[str, list[float]]:
    """Seconds of each work in each round; in every round each work runs once."""
    for work in works.values():
        for _ in range(warm):
            work()
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(rounds):
        for name, work in works.items():
            started = clock()
            work()
            seconds[name].append(clock() - started)
    return seconds


def ratios(seconds: Mapping[str, Sequence[float]], work: str, reference: str) -> list[float]:
    """What a work took in each round as a multiple of what the reference took in the same round."""
    return [a / b for a, b in zip(seconds[work], seconds[reference], strict=True)]


def quartiles(values: Sequence[float]) -> list[float]:
    """The lower quartile, the median and the upper quartile."""
    return statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else [values[0]] * 3


def spread(values: Sequence[float]) -> str:
    """Median and quartiles."""
    low, middle, high = quartiles(values)
    return f"{middle:.3f} [{low:.3f}, {high:.3f}]"


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        work: what is compared with what.
        reach: what it is to reach.
        measured: in every round.
        control: the reference against itself, in the same rounds; empty where the measure is no ratio.
        printed: the paper's literal form against the reference, in the same rounds; empty where there is none.
        at_least: whether larger is better.
        alike: whether both are the same work, so that noise decides: reached where 1 lies between the quartiles.
    """

    work: str
    reach: float
    measured: Sequence[float]
    control: Sequence[float] = ()
    printed: Sequence[float] = ()
    at_least: bool = False
    alike: bool = False

    @property
    def reached(self) -> bool:
        """Whether the median is what it is to be."""
        low, middle, high = quartiles(self.measured)
        if self.alike:
            return low <= 1 <= high or middle <= 1
        return middle >= self.reach if self.at_least else middle <= self.reach

    def __str__(self) -> str:
        reach = "1.00 within noise" if self.alike else f"{'>=' if self.at_least else '<='} {self.reach:g}"
        cells = (
            self.work,
            reach,
            spread(self.printed) if self.printed else "",
            f"**{spread(self.measured)}**",
            spread(self.control) if self.control else "",
            str(len(self.measured)),
            "yes" if self.reached else "no",
        )
        return "| " + " | ".join(cells) + " |"


HEADER = """| work | reach | the paper's form, same run | measured | A/A control | n | reached |
|---|---|---|---|---|---|---|"""


def facts() -> str:
    """Machine and versions, and how to read the numbers."""
    interop = f"{torch.get_num_threads()} threads"
    return (
        f"{hardware(torch.device('cpu')).split(',')[0]}, {interop}; {versions()}; float32, channels last. "
        "Medians over n interleaved rounds [quartiles], of CPU time where nothing else is said."
    )


def show(rows: Sequence[Row]) -> None:
    """Prints a table of its own."""
    print("\n".join([HEADER, *map(str, rows), "", facts()]), flush=True)
