"""What the host does in a step of training, where the device's part is next to nothing.

    python benchmarks/host_time.py [--against COMMIT] [--rounds 5] [--whole]

Networks of a sixteenth of the width on batches of two images of eight pixels, one thread, torch's plain convolutions,
CPU time: what is left is Python, Lightning and torch's dispatch, which a GPU waits for. `captured` is a step that a GPU
would replay as a graph, with nothing in the graph's place: input, loop and schedule. With `--against` the same steps of
another commit take turns with this one's, each commit in a process of its own. With `--whole` the networks are of full
width, on batches of 64 images of 32 pixels and by torch's own choice of convolutions: what a step takes on a CPU.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from subprocess import PIPE
from typing import Any

import measure  # isort: skip  (before torch)

import lightning as L
import torch

import networks
from gpu.setting import KINDS, Setting, train_on
from ipr.data.images import ImageData
from ipr.data.trigger_sets import abstract_trigger_set
from ipr.schemes.base import Scheme
from ipr.schemes.passport_v2 import PassportV3
from ipr.schemes.triggers import TriggerSamples

HERE = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Size:
    """Of a training that is measured.

    Attributes:
        width: of the network.
        batch: images a step.
        pixels: height and width of an image.
        warm: steps before the first window.
        steps: of a window.
        windows: how many.
    """

    width: float
    batch: int
    pixels: int
    warm: int
    steps: int
    windows: int


HOST = Size(0.0625, 2, 8, 20, 50, 3)
WHOLE = Size(1.0, 64, 32, 2, 3, 2)


class HostClock(L.Callback):
    """CPU seconds of a step: the least over some windows, which is what nothing else disturbed."""

    def __init__(self, size: Size) -> None:
        self.size = size
        self.windows: list[float] = []
        self.started = 0.0

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *rest: Any) -> None:
        """Begins and ends windows."""
        number, left = divmod(trainer.global_step - self.size.warm, self.size.steps)
        if number >= 0 and left == 0:
            now = time.process_time()
            if number:
                self.windows.append((now - self.started) / self.size.steps)
            self.started = now


def images(count: int, size: int) -> ImageData:
    """Noise."""
    source = torch.Generator().manual_seed(7)
    pixels = torch.randint(256, (count, size, size, 3), dtype=torch.uint8, generator=source)
    labels = torch.randint(10, (count,), generator=source)
    return ImageData(pixels, labels, pixels, labels, tuple("0123456789"), (0.5,) * 3, (0.25,) * 3, "noise")


def scheme_of(kind: str, model: str, size: Size) -> Scheme:
    """A scheme on a network of that size."""
    of, norm = KINDS[kind]
    scheme = networks.scheme(of, model, norm, size.width, image_size=size.pixels)
    if isinstance(scheme, PassportV3):
        triggers = abstract_trigger_set(100, size.pixels, 3, 10, torch.Generator().manual_seed(4))
        scheme.triggers = TriggerSamples(triggers, 2, images(1, size.pixels), 0)
    return scheme


def serve(size: Size) -> None:
    """In a process of a commit: for every line `NETWORK WAY KIND` one training, and its seconds of a step."""
    torch.set_num_threads(1)
    if size == HOST:
        torch._C._set_mkldnn_enabled(False)  # the flag alone: torch.backends.mkldnn.flags sets others, and warns
    data = images(size.batch * (size.warm + size.steps * size.windows + 1), size.pixels)
    for line in sys.stdin:
        model, way, kind = line.strip().split(" ", 2)
        clock, scheme = HostClock(size), scheme_of(kind, model, size)
        options: dict[str, Any] = {"capture": True} if way == "captured" else {}
        if options:
            _replay_nothing()
        train_on(Setting("cpu", True), scheme, size.batch, clock, data, **options)
        print(min(clock.windows), flush=True)


def _replay_nothing() -> None:
    from ipr.schemes.captured import CapturedStep  # not every commit has it

    CapturedStep._step = lambda *_: None  # type: ignore[method-assign]


def begin(tree: Path, size: str) -> subprocess.Popen[str]:
    """A process that measures the code of a tree."""
    path = os.pathsep.join([str(tree / "src"), str(tree / "benchmarks")])
    code = f"""
import runpy, sys
sys.path[:0] = {path.split(os.pathsep)!r}
own = runpy.run_path({__file__!r})
own["serve"](own[{size!r}])
"""
    environment = os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen([sys.executable, "-c", code], stdin=PIPE, stdout=PIPE, text=True, env=environment)


def ask(process: subprocess.Popen[str], what: str) -> float:
    """Seconds of a step."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(what + "\n")
    process.stdin.flush()
    return float(process.stdout.readline())


def table(before: tuple[str, Path] | None, rounds: int, models: list[str], size: str) -> None:
    """Prints milliseconds, and ratios to the same step of the commit before, or of this one where there is none."""
    ways = {"now": (HERE, "eager")} | ({"captured": (HERE, "captured")} if size == "HOST" else {})
    if before is not None:
        ways = {before[0]: (before[1], "eager"), **ways}
    processes = {tree: begin(tree, size) for tree in {tree for tree, _ in ways.values()}}
    first, *others = ways
    try:
        print(f"| network | scheme | {first}, ms | " + " | ".join(f"{way}, ms | ratio" for way in others) + " | n |")
        print("|---" * (4 + 2 * len(others)) + "|")
        for model in models:
            for kind in KINDS:
                seconds: dict[str, list[float]] = {name: [] for name in ways}
                for _ in range(rounds):
                    for name, (tree, way) in ways.items():
                        seconds[name].append(ask(processes[tree], f"{model} {way} {kind}"))
                shown = {name: measure.spread([1e3 * s for s in seconds[name]]) for name in ways}
                compared = [f"{shown[way]} | {measure.spread(measure.ratios(seconds, way, first))}" for way in others]
                print("| " + " | ".join([model, kind, shown[first], *compared, str(rounds)]) + " |", flush=True)
    finally:
        for process in processes.values():
            process.kill()
            process.communicate()
    print(f"\n{measure.facts()}")


def main(against: str | None, rounds: int, models: list[str], size: str) -> None:
    """See the module."""
    if against is None:
        table(None, rounds, models, size)
        return
    git = ["git", "-C", str(HERE)]
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder) / "tree"
        subprocess.run([*git, "worktree", "add", "--detach", "--quiet", str(tree), against], check=True)
        try:
            table((against, tree), rounds, models, size)
        finally:
            subprocess.run([*git, "worktree", "remove", "--force", str(tree)], check=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--against", help="a commit to compare with")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--models", default="alexnet,resnet18")
    parser.add_argument("--whole", action="store_true", help="networks and batches of the paper's size")
    asked = parser.parse_args()
    main(asked.against, asked.rounds, asked.models.split(","), "WHOLE" if asked.whole else "HOST")
