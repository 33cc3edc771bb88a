"""Seconds of an epoch of every scheme, and the share of it in which the GPU computes (Table X on today's hardware).

    python benchmarks/epochs.py dataset.root=FOLDER

AlexNet and ResNet-18, batches of 64 and 512, on the complete CIFAR-10. Two epochs each, as `ipr train` runs them; the
second is printed. Further arguments are those of `ipr train`. On a GPU the share is what nvidia-smi samples five times
a second while it trains; on a CPU there is none.
"""

from __future__ import annotations

import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from hydra import compose, initialize_config_dir

from ipr.cli.jobs import reporting
from ipr.config.shipped import shipped
from ipr.requests.compose import register, typed
from ipr.store.record import versions
from ipr.training.metrics import read_metrics
from ipr.workflows.train import train

SCHEMES = {
    "baseline bn": ["scheme=baseline"], "baseline gn": ["scheme=baseline", "model.norm=gn"],
    "passport_v1": ["scheme=passport_v1"],
    "passport_v2": ["scheme=passport_v2", "model.norm=gn"], "passport_v3": ["scheme=passport_v3", "model.norm=gn"],
}  # fmt: skip
"""What is timed, each with the norm that the paper pairs with it."""

SETTING = [
    "dataset=cifar10", "passport=random", "passport.energy=3", "trainer.max_epochs=2", "trainer.progress_bar=false",
    "logger=csv", "verification.forged=0",
]  # fmt: skip


@contextmanager
def gpu_samples(samples: list[int]) -> Iterator[None]:
    """Inside, the use in percent of the GPU that this process trains on is sampled.

    nvidia-smi counts all GPUs of the machine, in an order of its own, whatever CUDA_VISIBLE_DEVICES lets a process see:
    the GPU is named by its UUID.
    """
    if not torch.cuda.is_available() or shutil.which("nvidia-smi") is None:
        yield
        return
    used = f"--id=GPU-{torch.cuda.get_device_properties(torch.cuda.current_device()).uuid}"
    query = ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits", used, "--loop-ms=200"]
    watching = subprocess.Popen(query, stdout=subprocess.PIPE, text=True)
    try:
        yield
    finally:
        watching.terminate()
        samples.extend(int(line) for line in watching.communicate()[0].splitlines() if line.strip().isdigit())


def main(arguments: list[str]) -> None:
    """Prints a row for each scheme, network and size of batch."""
    register()
    print(
        "| network | batch | scheme | seconds of an epoch | to its baseline | GPU computes |\n|---|---|---|---|---|---|"
    )
    for model in ("alexnet", "resnet18"):
        for batch_size in (64, 512):
            seconds: dict[str, float] = {}
            for name, chosen in SCHEMES.items():
                samples: list[int] = []
                with tempfile.TemporaryDirectory() as runs, gpu_samples(samples):
                    asked = [
                        *SETTING,
                        f"model={model}",
                        f"optimizer.batch_size={batch_size}",
                        *chosen,
                        f"paths.runs={runs}",
                    ]
                    with initialize_config_dir(str(shipped("conf")), version_base="1.3"):
                        config = typed(compose("train", [*asked, *arguments]))
                    run = train(config)
                    seconds[name] = float(read_metrics(run.folder.metrics)[-1]["seconds"])
                ratio = seconds[name] / seconds[f"baseline {config.model.norm}"]
                share = f"{statistics.fmean(samples):.0f} %" if samples else ""
                print(f"| {model} | {batch_size} | {name} | {seconds[name]:.2f} | {ratio:.2f} | {share} |", flush=True)
    print(
        f"\n{run.record.hardware}; {versions()}; precision={config.trainer.precision}, compile={config.trainer.compile}"
    )


if __name__ == "__main__":
    codes: list[int] = []
    with reporting(codes):
        main(sys.argv[1:])
    sys.exit(max(codes, default=0))
