"""What every section of the check shares: its setting, its answer, images of noise, and a training that is timed."""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import lightning as L
import torch
from hydra import compose, initialize_config_dir

sys.path.insert(0, str(Path(__file__).parents[1]))

from ipr.config.schema import DatasetConfig, TrainerConfig
from ipr.config.shipped import shipped
from ipr.data.images import ImageData
from ipr.requests.compose import register, typed
from ipr.schemes.base import Scheme
from ipr.schemes.baseline import Baseline
from ipr.schemes.passport_v1 import PassportV1
from ipr.schemes.passport_v2 import PassportV2, PassportV3
from ipr.training.loop import Training, prepared

KINDS: dict[str, tuple[type[Baseline | PassportV1 | PassportV2], str]] = {
    "baseline bn": (Baseline, "bn"),
    "V1": (PassportV1, "bn"),
    "baseline gn": (Baseline, "gn"),
    "V2": (PassportV2, "gn"),
    "V3": (PassportV3, "gn"),
}
"""What is compared: the scheme and the norm that the paper pairs it with."""


@dataclass(frozen=True)
class Setting:
    """Where and how a section runs.

    Attributes:
        device: `cuda`, `cpu`, or the name of the emulated device.
        quick: whether all is as small as it can be: a try of the check itself.
    """

    device: str
    quick: bool

    @property
    def accelerator(self) -> str:
        """Lightning's word for the device."""
        return "cpu" if self.device == "cpu" else "gpu"

    @property
    def width(self) -> float:
        """Of the networks that are timed: Table III's, or next to nothing."""
        return 0.0625 if self.quick else 1.0

    def synchronise(self) -> None:
        """Waits until the device has done what it was given."""
        if self.device == "cuda":
            torch.cuda.synchronize()


@dataclass
class Found:
    """What a section found.

    Attributes:
        values: numbers by what they are of.
        problems: what is not as it must be; empty where all is.
    """

    values: dict[str, Any] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def need(self, holds: bool, problem: str) -> None:
        """Notes a problem unless it holds."""
        if not holds:
            self.problems.append(problem)


def noise(count: int, test: int = 10) -> ImageData:
    """Images of noise, 32 x 32 in ten classes: what is in them takes no time."""
    source = torch.Generator().manual_seed(7)
    pixels = torch.randint(256, (count, 32, 32, 3), dtype=torch.uint8, generator=source)
    labels = torch.randint(10, (count,), generator=source)
    names = tuple("0123456789")
    return ImageData(pixels, labels, pixels[:test], labels[:test], names, (0.5,) * 3, (0.25,) * 3, "noise")


def request(setting: Setting, *arguments: str, command: str = "train") -> Any:
    """A request of `ipr train` or `ipr attack` for small networks on the digits, which need no download."""
    register(command)
    small = {
        "dataset": "digits_rgb", "model.width": "0.25", "passport": "random", "logger": "csv",
        "trainer.progress_bar": "false", "verification.forged": "10", "trainer.accelerator": setting.accelerator,
        "trainer.max_epochs": "2" if setting.quick else "20",
    }  # fmt: skip
    if setting.quick:
        small |= {"dataset.image_size": "8", "dataset.limit_train": "256"}
    given = dict(argument.split("=", 1) for argument in arguments)
    with initialize_config_dir(str(shipped("conf")), version_base="1.3"):
        return typed(compose(command, [f"{key}={value}" for key, value in (small | given).items()]))


class Meter(L.Callback):
    """Times windows of steps, each between two waits for the device; then profiles five steps.

    Args:
        setting: where.
        warm: steps before the first window.
        steps: steps of a window.
        windows: how many.
        profiled: whether kernels are counted afterwards (on a GPU).
        forbidden: whether a step that waits for the device is an error (torch's sync debug mode).
    """

    def __init__(
        self,
        setting: Setting,
        warm: int,
        steps: int,
        windows: int = 5,
        *,
        profiled: bool = False,
        forbidden: bool = False,
    ) -> None:
        self.setting, self.warm, self.steps, self.windows = setting, warm, steps, windows
        on_gpu = setting.device == "cuda"
        self.profiled, self.forbidden = profiled and on_gpu, forbidden and on_gpu
        self.seconds: list[float] = []
        self.started = 0.0
        self.kernels = self.busy = float("nan")
        self.copies: dict[str, float] = {}
        self.names: dict[str, float] = {}

    @property
    def total(self) -> int:
        """How many steps it needs."""
        return self.warm + self.steps * self.windows + 8

    @property
    def step(self) -> float:
        """Seconds of a step: the median over the windows."""
        return statistics.median(self.seconds)

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *rest: Any) -> None:
        """Starts, ends and counts."""
        done = trainer.global_step
        windows, left = divmod(done - self.warm, self.steps)
        if done >= self.warm and left == 0 and windows <= self.windows:
            if self.forbidden:
                torch.cuda.set_sync_debug_mode("default")
            self.setting.synchronise()
            now = time.perf_counter()
            if windows:
                self.seconds.append((now - self.started) / self.steps)
            self.started = now
            if self.forbidden and windows < self.windows:
                torch.cuda.set_sync_debug_mode("error")
        end = self.warm + self.steps * self.windows
        if self.profiled and done == end:
            self.profiler = torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA])
            self.profiler.start()
        if self.profiled and done == end + 5:
            self.setting.synchronise()
            self.profiler.stop()
            self._count()

    def _count(self) -> None:
        events = [e for e in self.profiler.events() or [] if "CUDA" in str(e.device_type)]
        kernels = [e for e in events if not e.name.startswith(("Memcpy", "Memset"))]
        self.kernels = len(kernels) / 5
        for event in events:
            if event.name.startswith("Memcpy"):
                kind = event.name.split()[1]
                self.copies[kind] = self.copies.get(kind, 0) + 1 / 5
        self.busy = sum(e.device_time_total for e in events) / 5e6  # seconds a step
        for event in kernels:
            self.names[event.name[:60]] = self.names.get(event.name[:60], 0.0) + event.device_time_total / 5e3


def train_on(
    setting: Setting,
    scheme: Scheme,
    batch_size: int,
    callback: L.Callback,
    data: ImageData,
    store: Any = None,
    **options: Any,
) -> None:
    """One epoch as `ipr train` runs it."""
    trainer = TrainerConfig(max_epochs=1, accelerator=setting.accelerator, progress_bar=False, **options)
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        checkpoint = Path(folder) / "last.ckpt"
        training = Training(scheme, trainer, DatasetConfig(), batch_size, 1, 1.0, 0, checkpoint, None)
        with prepared(training, data, [callback], store) as lightning_fit:
            lightning_fit()


def found_here() -> dict[str, str]:
    """The environment of another process that imports the benchmarks."""
    places = [str(Path(__file__).parents[1]), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    return os.environ | {"PYTHONPATH": os.pathsep.join(place for place in places if place)}


def timed(setting: Setting, work: Any, rounds: int) -> float:
    """Seconds of a work, the median over rounds after two of warming up."""
    seconds: Sequence[float] = []
    for number in range(rounds + 2):
        setting.synchronise()
        started = time.perf_counter()
        work()
        setting.synchronise()
        seconds = [*seconds, time.perf_counter() - started] if number >= 2 else seconds
    return statistics.median(seconds)
