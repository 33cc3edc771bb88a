"""What the host does in a step of training, where the device's part is next to nothing.

    python benchmarks/host_time.py [--against COMMIT] [--rounds 5]

Networks of a sixteenth of the width on batches of two images, one thread, CPU time: what is left is Python, Lightning
and torch's dispatch, which a GPU waits for. With `--against` the same steps of another commit take turns with this
one's, each commit in a process of its own.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from subprocess import PIPE
from typing import Any

import lightning as L

import measure

HERE = Path(__file__).resolve().parents[1]
BATCH, WARM, STEPS, WINDOWS = 2, 20, 50, 3


class HostClock(L.Callback):
    """CPU seconds of a step: the least over some windows, which is what nothing else disturbed."""

    def __init__(self) -> None:
        self.windows: list[float] = []
        self.started = 0.0

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *rest: Any) -> None:
        """Begins and ends windows."""
        number, left = divmod(trainer.global_step - WARM, STEPS)
        if number >= 0 and left == 0:
            now = time.process_time()
            if number:
                self.windows.append((now - self.started) / STEPS)
            self.started = now


def serve() -> None:
    """In a process of a commit: for every line `NETWORK KIND` one training, and its seconds of a step."""
    import torch

    import networks
    from gpu.setting import KINDS, Setting, noise, train_on

    torch.set_num_threads(1)
    setting = Setting("cpu", True)
    data = noise(BATCH * (WARM + STEPS * WINDOWS + 1))
    for line in sys.stdin:
        model, kind = line.strip().split(" ", 1)
        scheme_type, norm = KINDS[kind]
        clock = HostClock()
        train_on(setting, networks.scheme(scheme_type, model, norm, setting.width), BATCH, clock, data)
        print(min(clock.windows), flush=True)


def begin(tree: Path) -> subprocess.Popen[str]:
    """A process that measures the code of a tree."""
    path = os.pathsep.join([str(tree / "src"), str(tree / "benchmarks")])
    environment = os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    words = [sys.executable, __file__, "--serve"]
    return subprocess.Popen(words, stdin=PIPE, stdout=PIPE, text=True, env=environment)


def ask(process: subprocess.Popen[str], what: str) -> float:
    """Seconds of a step."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(what + "\n")
    process.stdin.flush()
    return float(process.stdout.readline())


def table(trees: dict[str, Path], rounds: int, models: list[str]) -> None:
    """Prints milliseconds, and where there are two trees their ratio."""
    processes = {name: begin(tree) for name, tree in trees.items()}
    try:
        first, *others = trees
        print("| network | scheme | " + " | ".join(f"{name}, ms" for name in trees) + " | ratio | n |")
        print("|---" * (4 + len(trees)) + "|")
        for model in models:
            for kind in ("baseline bn", "V1", "baseline gn", "V2", "V3"):
                seconds = {name: [] for name in trees}  # type: dict[str, list[float]]
                for _ in range(rounds):
                    for name, process in processes.items():
                        seconds[name].append(ask(process, f"{model} {kind}"))
                shown = [measure.spread([1e3 * s for s in seconds[name]]) for name in trees]
                ratio = "; ".join(measure.spread(measure.ratios(seconds, first, other)) for other in others)
                print(f"| {model} | {kind} | " + " | ".join(shown) + f" | {ratio} | {rounds} |", flush=True)
    finally:
        for process in processes.values():
            process.kill()
            process.wait()
    print(f"\n{measure.facts()}")


def main(against: str | None, rounds: int, models: list[str]) -> None:
    """See the module."""
    if against is None:
        table({"this": HERE}, rounds, models)
        return
    git = ["git", "-C", str(HERE)]
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "tree"
        subprocess.run([*git, "worktree", "add", "--detach", "--quiet", str(tree), against], check=True)
        try:
            table({"this": HERE, against: tree}, rounds, models)
        finally:
            subprocess.run([*git, "worktree", "remove", "--force", str(tree)], check=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--against", help="a commit to compare with")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--models", default="alexnet,resnet18")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.serve:
        serve()
    else:
        main(asked.against, asked.rounds, asked.models.split(","))
