"""A job of a sweep that does what a test wants, where another process finds it."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from ipr.cli.launchers.outcomes import JobOutcome, leave_outcome


def job(folder, number, what):
    """Says what it sees, and then dies, fails, waits, or hears of the end of its job and ends well."""
    with (Path(folder) / f"{number}.seen").open("a") as file:
        file.write(f"{os.environ.get('CUDA_VISIBLE_DEVICES')} {os.environ.get('OMP_NUM_THREADS')}\n")
    print(f"job {number} prints", flush=True)
    if what == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if what == "fail":
        raise ValueError("as a defect would")
    if what == "wait":
        time.sleep(600)
    for name in ("TERM", "USR2"):
        os.kill(os.getpid(), getattr(signal, f"SIG{name}"))  # as Slurm tells all processes of a job
    leave_outcome(Path(folder), JobOutcome(number, 0))
