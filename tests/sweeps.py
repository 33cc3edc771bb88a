"""Commands of ipr in processes of their own, for tests of what happens to sweeps."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

SECONDS = 240
"""For whatever is waited for."""

T = TypeVar("T")


@contextmanager
def command(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    """`ipr ARGUMENTS` in a session of its own, which hears an interruption even where the tests run in a background."""
    code = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); from ipr.cli import main; main()"
    with subprocess.Popen(
        [sys.executable, "-c", code, *arguments], env=os.environ | {"OMP_NUM_THREADS": "1"}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
    ) as process:  # fmt: skip
        try:
            yield process
        finally:
            process.kill()


def until(there: Callable[[], T]) -> T:
    """Waits until something is there, and gives it."""
    deadline = time.monotonic() + SECONDS
    while not (found := there()):
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)
    return found


def weights(runs: str) -> dict[str, bytes]:
    """The weights in a folder of runs, by the name of the run."""
    return {path.parent.name: path.read_bytes() for path in Path(runs).glob("train/*/public.safetensors")}


def trained_at(runs: str) -> dict[Path, int]:
    """When each training, and each attack's, last wrote its metrics: they are the same if nothing was trained again."""
    return {path: path.stat().st_mtime_ns for path in Path(runs).glob("*/*/metrics*.csv")}


def commands_of(document: Path) -> list[str]:
    """The lines of a document's bash blocks."""
    blocks = re.findall(r"```bash\n(.*?)```", document.read_text(), re.DOTALL)
    return [line for block in blocks for line in block.splitlines() if line]
