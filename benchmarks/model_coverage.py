"""Which classifiers of torchvision and timm can be protected: each is protected, forked, trained a step and stripped.

    python benchmarks/model_coverage.py
    python benchmarks/model_coverage.py --only resnet18 vit_tiny_patch16_224 --out runs/some_models
    python docs/generate.py runs/models/models.md

One process tries out one model after the other, with fresh weights on small images. One that crashes or takes too long
is started anew, and the model is told as failed. Rows are kept in OUT/models.jsonl, and those that are there are not
made again. Writes the table of docs/models.md to OUT/models.md.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from importlib.metadata import version
from multiprocessing.connection import Connection
from pathlib import Path
from queue import Empty, SimpleQueue

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch

from ipr.store.record import hardware, versions
from model_check import Row, check, family_of, names

TOP = Path(__file__).parents[1]
START = 60.0
"""Seconds that a process has for its imports."""

Name = tuple[str, str]
"""A library and the name of a model."""


def _serve(pipe: Connection) -> None:
    torch.set_num_threads(1)
    pipe.send(None)
    while True:
        library, name, most = pipe.recv()
        pipe.send(asdict(check(library, name, most)))


class _Worker:
    """A process that tries out models; a fresh one after a crash."""

    def __init__(self, limit: float) -> None:
        self.limit = limit
        self.process: multiprocessing.process.BaseProcess | None = None

    def row(self, library: str, name: str, most: int) -> Row:
        """What became of one model (`model_check.check`); one that crashes or takes too long costs the process."""
        if self.process is None:
            self._start()
        try:
            self.pipe.send((library, name, most))
            if self.pipe.poll(self.limit):
                return Row(**self.pipe.recv())
            reason = f"took more than {self.limit:g} s"
        except (EOFError, OSError):
            reason = "its process ended"
        self.close()
        return Row(library, name, family_of(library, name), reason=reason)

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_serve, args=(theirs,), daemon=True)
        self.process.start()
        theirs.close()
        if not self.pipe.poll(START):
            raise TimeoutError("a process does not start")
        self.pipe.recv()

    def close(self) -> None:
        """Ends the process, if there is one."""
        if self.process is not None:
            self.process.kill()
            self.process.join()
            self.process = None


def sweep(file: Path, wanted: Sequence[Name], most: int, limit: float, workers: int) -> None:
    """Adds to a file the rows that it lacks, one a line: all are followed first, then those that can be are tried out.

    The smallest network of every family comes first, then the others by their size.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    there = {(row.library, row.name) for row in rows_of(file)}
    _work(file, [(*one, 0) for one in wanted if one not in there], limit, workers)
    left = [row for row in rows_of(file) if row.kind == "followed" and row.parameters <= most]
    left = [row for row in left if (row.library, row.name) in {*wanted}]
    left.sort(key=lambda row: row.parameters)
    first = {(row.library, row.family): row for row in reversed(left)}.values()
    in_order = [*first, *(row for row in left if row not in first)]
    _work(file, [(row.library, row.name, most) for row in in_order], limit, workers)


def _work(file: Path, tasks: Sequence[tuple[str, str, int]], limit: float, workers: int) -> None:
    waiting: SimpleQueue[tuple[str, str, int]] = SimpleQueue()
    for task in tasks:
        waiting.put(task)

    def work(_: int) -> None:
        """Tries out models in a process of its own until none is left."""
        worker = _Worker(limit)
        try:
            while True:
                row = worker.row(*waiting.get_nowait())
                with file.open("a") as lines:
                    lines.write(json.dumps(asdict(row)) + "\n")
                print(f"{row.library}:{row.name} {row.kind} {row.reason} {row.seconds} s", flush=True)
        except Empty:
            return
        finally:
            worker.close()

    with ThreadPoolExecutor(workers) as threads:
        list(threads.map(work, range(workers)))


def rows_of(file: Path) -> list[Row]:
    """The rows of a file; of several of one model the last."""
    if not file.exists():
        return []
    found = [Row(**json.loads(line)) for line in file.read_text().splitlines()]
    return list({(row.library, row.name): row for row in found}.values())


CAN = ("supported", "followed")
"""What can be protected."""

COLUMNS = (
    "networks",
    "with both",
    "of them protectable",
    "tried out",
    "followed",
    "refused",
    "failed",
)


def table_of(rows: Sequence[Row], most: int) -> str:
    """What docs/models.md shows: counts, why others are refused, and a line for each module of the libraries."""
    lines = [_line("library", *COLUMNS), "|---" * (len(COLUMNS) + 1) + "|"]
    for library in ("torchvision", "timm"):
        mine = [row for row in rows if row.library == library]
        lines += [_line(f"{library} {version(library)}", *_counts(mine))] if mine else []
    lines += [_line("**all**", *_counts(rows)), "", *_said(rows, most), "", *_refusals(rows), "", *_families(rows), ""]
    lines.append(f"{hardware(torch.device('cpu')).split(',')[0]}; {versions()}, timm {version('timm')}.")
    return "\n".join(lines) + "\n"


def _line(*cells: object) -> str:
    return f"| {' | '.join(str(cell) for cell in cells)} |"


def _counts(rows: Sequence[Row]) -> list[object]:
    kinds, both = Counter(row.kind for row in rows), [row for row in rows if row.has_both]
    counts = [len(rows), len(both), sum(row.kind in CAN for row in both)]
    return [count or "" for count in (*counts, *(kinds[kind] for kind in (*CAN, "refused", "failed")))]


def _said(rows: Sequence[Row], most: int) -> Iterator[str]:
    both, tried = [row for row in rows if row.has_both], [row for row in rows if row.kind == "supported"]
    can = sum(row.kind in CAN for row in both)
    share = f"{100 * can / len(both):.1f} %" if both else "none"
    yield f"Of {len(both)} with both (a `Conv2d`, and somewhere a batch or group norm of two dimensions)"
    yield f"{can} can be protected: {share}."
    others = [row for row in rows if row.has_layer_norm and not row.has_both]
    found = sum(row.kind in CAN for row in others)
    yield f"Of {len(others)} others with a layer norm or RMS norm {found} can be protected."
    if tried:
        shared = sum(all(row.shares_trunk) for row in tried)
        trained = sum(len(row.shares_trunk) > 1 for row in tried)
        yield f"Of {len(tried)} tried out, {trained} were trained a step; {shared} compute the trunk once for both"
        yield "branches, the others take a full pass for each. Answers that ought to be equal differ by at most"
        yield f"{max(row.error for row in tried):.1e} of the largest (float32)."
    larger = sum(row.kind == "followed" and row.parameters > most for row in rows)
    yield f"Followed alone: {larger} of more than {most / 1e6:g} million parameters"
    waiting = sum(row.kind == "followed" and row.parameters <= most for row in rows)
    yield f"and {waiting} that were not reached yet." if waiting else "and no others."


def _refusals(rows: Sequence[Row]) -> Iterator[str]:
    others = [row for row in rows if row.kind not in CAN]
    yield _line("why not", "networks", "with both")
    yield "|---|---|---|"
    for reason, count in Counter(_short(row) for row in others).most_common():
        yield _line(reason, count, sum(row.has_both for row in others if _short(row) == reason) or "")


def _short(row: Row) -> str:
    """Why not, with several norms in one phrase."""
    found = re.findall(r"(\w+) is none of BatchNorm2d", row.reason)
    return f"the norm is {' or '.join(dict.fromkeys(found))}" if found else row.reason


def _families(rows: Sequence[Row]) -> Iterator[str]:
    yield _line("module", *COLUMNS, "why not")
    yield "|---" * (len(COLUMNS) + 2) + "|"
    for library, family in sorted({(row.library, row.family) for row in rows}):
        mine = [row for row in rows if (row.library, row.family) == (library, family)]
        reasons = dict.fromkeys(_short(row) for row in mine if row.kind not in CAN)
        yield _line(f"{library} `{family}`", *_counts(mine), "; ".join(reasons))


def main(argv: Sequence[str] | None = None) -> None:
    """From the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", nargs="+", metavar="NAME", help="models to try, by their names in either library")
    parser.add_argument("--out", type=Path, default=TOP / "runs" / "models", help="folder of the rows")
    parser.add_argument("--most", type=int, default=10**8, help="parameters of the largest that is built")
    parser.add_argument("--seconds", type=float, default=120.0, help="that one model may take")
    parser.add_argument("--workers", type=int, default=1, help="processes")
    parser.add_argument("--table", action="store_true", help="write the table of the rows that are there, and no more")
    asked = parser.parse_args(argv)
    wanted = [one for one in names() if asked.only is None or one[1] in asked.only]
    if not asked.table:
        sweep(asked.out / "models.jsonl", wanted, asked.most, asked.seconds, asked.workers)
    rows = [row for row in rows_of(asked.out / "models.jsonl") if (row.library, row.name) in {*wanted}]
    (asked.out / "models.md").write_text(table_of(rows, asked.most))
    print(table_of(rows, asked.most), end="")


if __name__ == "__main__":
    main()
