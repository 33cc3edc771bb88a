"""Which classifiers of torchvision and timm can be protected: each is protected, forked, trained a step and stripped.

    python benchmarks/model_coverage.py
    python benchmarks/model_coverage.py --only resnet18 vit_tiny_patch16_224 --page runs/models/some.md

One process tries out one model after the other, with fresh weights on small images. One that crashes or takes too long
is started anew, and the model is told as failed. Rows are kept in OUT/models.jsonl, and those that are there are not
made again. Writes docs/models.md.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from multiprocessing.connection import Connection
from pathlib import Path
from queue import Empty, SimpleQueue

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch

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


def _counts(rows: Sequence[Row]) -> str:
    kinds = Counter(row.kind for row in rows)
    return " | ".join(str(kinds[kind] or "") for kind in ("supported", "followed", "refused", "failed"))


def page(rows: Sequence[Row], most: int) -> str:
    return _counts(rows)


def main(argv: Sequence[str] | None = None) -> None:
    """From the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", nargs="+", metavar="NAME", help="models to try, by their names in either library")
    parser.add_argument("--out", type=Path, default=TOP / "runs" / "models", help="folder of the rows")
    parser.add_argument("--page", type=Path, default=TOP / "docs" / "models.md", help="what is written from them")
    parser.add_argument("--most", type=int, default=10**8, help="parameters of the largest that is built")
    parser.add_argument("--seconds", type=float, default=120.0, help="that one model may take")
    parser.add_argument("--workers", type=int, default=1, help="processes")
    asked = parser.parse_args(argv)
    wanted = [one for one in names() if asked.only is None or one[1] in asked.only]
    sweep(asked.out / "models.jsonl", wanted, asked.most, asked.seconds, asked.workers)
    rows = [row for row in rows_of(asked.out / "models.jsonl") if (row.library, row.name) in {*wanted}]
    asked.page.parent.mkdir(parents=True, exist_ok=True)
    asked.page.write_text(page(rows, asked.most))


if __name__ == "__main__":
    main()
