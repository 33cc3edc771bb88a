"""How fast it is on a GPU. Each function is one section; sections take turns, so that nothing else runs beside them."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from subprocess import PIPE
from typing import Any

import lightning as L
import torch

import networks
from gpu.setting import KINDS, Found, Meter, Setting, found_here, noise, timed, train_on
from growth import operations
from ipr.claims.base import Thresholds
from ipr.data.images import LabelledImages
from ipr.judging.verdict import judge
from ipr.passport.claim import PassportClaim
from ipr.schemes.passport_v2 import PassportV2
from ipr.store.record import versions


def card(setting: Setting, found: Found) -> None:
    """The card, its versions, and what it reaches: products of matrices and copies."""
    found.values |= {"versions": versions(), "python": sys.version.split()[0]}
    if setting.device != "cuda":
        return
    properties = torch.cuda.get_device_properties(0)
    found.values |= {
        "gpu": properties.name, "memory GiB": round(properties.total_memory / 2**30, 1),
        "cuda": torch.version.cuda, "cudnn": torch.backends.cudnn.version(),
    }  # fmt: skip
    side = 8192
    a, b = (torch.randn(side, side, device="cuda") for _ in "ab")
    before = torch.backends.cuda.matmul.allow_tf32
    for name, dtype, high in (
        ("tf32", torch.float32, True), ("fp32", torch.float32, False), ("bf16", torch.bfloat16, False),
    ):  # fmt: skip
        torch.backends.cuda.matmul.allow_tf32 = high
        x, y = a.to(dtype), b.to(dtype)
        found.values[f"{name} TFLOP/s"] = round(2 * side**3 / timed(setting, lambda x=x, y=y: x @ y, 5) / 1e12)
    torch.backends.cuda.matmul.allow_tf32 = before
    copying = timed(setting, lambda: [a.clone() for _ in range(8)], 5)
    found.values["copy TB/s"] = round(2 * a.nbytes * 8 / copying / 1e12, 2)


def _measured(setting: Setting, meter: Meter) -> dict[str, Any]:
    return {
        "ms": [1e3 * s for s in sorted(meter.seconds)], "kernels": meter.kernels, "copies": meter.copies,
        "busy": meter.busy / meter.step,
    }  # fmt: skip


def _lengths(setting: Setting, size: int) -> tuple[int, int]:
    """Steps before the first window, and of each."""
    return (5, 2) if setting.quick else (15, 20 if size == 64 else 8)


def steps(setting: Setting, found: Found) -> None:
    """Milliseconds of a step of every scheme, its kernels, and the share of the time in which the card computes."""
    for model in networks.LAYERS:
        for size in (4,) if setting.quick else (64, 512):
            for name, (kind, norm) in KINDS.items():
                meter = Meter(setting, *_lengths(setting, size), profiled=True)
                scheme = networks.scheme(kind, model, norm, setting.width)
                train_on(setting, scheme, size, meter, noise(meter.total * size))
                found.values[f"{model} {size} {name}"] = _measured(setting, meter)
                if size == 64 and name in ("V1", "V2"):
                    top = sorted(meter.names.items(), key=lambda item: -item[1])[:12]
                    found.values[f"{model} {size} {name}"]["longest kernels, ms"] = dict(top)


def options(setting: Setting, found: Found) -> None:
    """What each setting changes: V1 and V2 on ResNet-18, V2 on AlexNet, batch 64."""
    ways: dict[str, dict[str, Any]] = {
        "default": {},
        "deterministic=false": {"deterministic": False},
        "contiguous": {"memory_format": "contiguous"},
        "bf16-mixed": {"precision": "bf16-mixed"},
        "bf16-mixed contiguous": {"precision": "bf16-mixed", "memory_format": "contiguous"},
        "bf16-mixed deterministic=false": {"precision": "bf16-mixed", "deterministic": False},
    }
    for model, name in (("resnet18", "V1"), ("resnet18", "V2"), ("resnet18", "baseline gn"), ("alexnet", "V2")):
        for size in (4,) if setting.quick else (64, 512):
            for way, keys in ways.items():
                kind, norm = KINDS[name]
                meter = Meter(setting, *_lengths(setting, size), 3, profiled=True)
                scheme = networks.scheme(kind, model, norm, setting.width)
                train_on(setting, scheme, size, meter, noise(meter.total * size), **keys)
                found.values[f"{model} {size} {name} {way}"] = _measured(setting, meter)


FAST = {"precision": "bf16-mixed", "deterministic": False, "tf32": True, "autotune": True, "capture": True}
"""conf/trainer/fast.yaml."""


def fast(setting: Setting, found: Found) -> None:
    """Steps in the loop, as they are, captured, and with trainer=fast; batches of 64 and 512."""
    ways: dict[str, dict[str, Any]] = {
        "default": {}, "capture": {"capture": True}, "capture bf16-mixed": {"capture": True, "precision": "bf16-mixed"},
        "fast": FAST,
    }  # fmt: skip
    if setting.quick:
        ways = {way: ways[way] for way in ("default", "capture")}
    kinds = KINDS | {"V2-bn": (PassportV2, "bn")}  # what `scheme=passport_v2` trains; KINDS has the paper's pairs
    for model in ("alexnet",) if setting.quick else networks.LAYERS:
        for name, (kind, norm) in kinds.items():
            other = "channels_last" if norm == "gn" else "contiguous"  # than memory_format=auto takes
            more = {} if setting.quick else {f"fast {other}": FAST | {"memory_format": other}}
            for size in (4,) if setting.quick else (64, 512):
                for way, keys in (ways | more).items():
                    meter = Meter(setting, *_lengths(setting, size), 3, profiled=True)
                    scheme = networks.scheme(kind, model, norm, setting.width)
                    train_on(setting, scheme, size, meter, noise(meter.total * size), **keys)
                    found.values[f"{model} {size} {name} {way}"] = _measured(setting, meter)


def compiled(setting: Setting, found: Found) -> None:
    """torch.compile: seconds until the first step has ended, and milliseconds of a step afterwards."""
    if setting.quick:
        return
    for model, name, precision in (
        ("alexnet", "V2", "32-true"), ("resnet18", "V2", "bf16-mixed"), ("resnet18", "V1", "32-true"),
    ):  # fmt: skip
        kind, norm = KINDS[name]
        meter, started = Meter(setting, 12, 12, 3, profiled=True), time.perf_counter()
        scheme = networks.scheme(kind, model, norm, setting.width)
        train_on(setting, scheme, 64, meter, noise(meter.total * 64), compile=True, precision=precision)
        found.values[f"{model} {name} {precision}"] = _measured(setting, meter) | {
            "s in all": round(time.perf_counter() - started, 1)
        }


def captured(setting: Setting, found: Found) -> None:
    """A bare step (gradients and SGD, without the loop) run and replayed as a CUDA graph: what capture would bring."""
    if setting.device != "cuda":
        return
    for model in networks.LAYERS:
        for name, (kind, norm) in KINDS.items():
            for size in (64, 512):
                scheme = networks.scheme(kind, model, norm, setting.width).to("cuda")
                x, y = (t.to("cuda") for t in networks.batch(size))
                step = networks.training_step(scheme, x, y)
                what = f"{model} {size} {name}"
                try:
                    side = torch.cuda.Stream()
                    side.wait_stream(torch.cuda.current_stream())
                    with torch.cuda.stream(side):
                        for _ in range(5):
                            step()
                    torch.cuda.current_stream().wait_stream(side)
                    eager = timed(setting, lambda step=step: [step() for _ in range(10)], 3) / 10
                    graph = torch.cuda.CUDAGraph()
                    with torch.cuda.graph(graph):
                        step()
                    replayed = timed(setting, lambda graph=graph: [graph.replay() for _ in range(10)], 3) / 10
                    flops = operations(step)
                    found.values[what] = {
                        "eager ms": 1e3 * eager, "replayed ms": 1e3 * replayed, "GFLOP": flops / 1e9,
                        "replayed TFLOP/s": flops / replayed / 1e12,
                    }  # fmt: skip
                except Exception as error:  # noqa: BLE001 (what cannot be captured is what is asked)
                    found.values[what] = f"{type(error).__name__}: {str(error)[:200]}"
                    found.problems.append(f"{what} cannot be captured: {found.values[what]}")
                    torch.cuda.synchronize()


def judging(setting: Setting, found: Found) -> None:
    """Seconds to judge 50 forged passports on 10,000 images."""
    count = 64 if setting.quick else 10000
    for model in networks.LAYERS:
        network = networks.plain(model, "gn", setting.width)
        passport = networks.passport_for(network, model)
        channels = {name: network.get_parameter(f"{name}.weight").shape[0] for name in passport}
        signs = {name: torch.ones(size, dtype=torch.int8) for name, size in channels.items()}
        claim, data = PassportClaim(passport, signs, thresholds=Thresholds(0.1, 0.03)), noise(count, count)
        images = LabelledImages(data.test_pixels, data.test_labels, data.mean, data.std)
        network.to(setting.device)
        found.values[model] = timed(
            setting, lambda n=network, c=claim, i=images: judge(n, c, i, forged=2 if setting.quick else 50), 1
        )


class Counting(L.Callback):
    """Counts the steps of some seconds, waiting for the device every 25 steps; then no training goes on.

    Args:
        setting: where.
        start: when it begins to count, by the clock on the wall.
        seconds: for how long.
    """

    def __init__(self, setting: Setting, start: float, seconds: float) -> None:
        self.setting, self.start, self.end = setting, start, start + seconds
        self.moments: list[float] = []

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *rest: Any) -> None:
        """Counts."""
        if trainer.global_step % 25 == 0:
            self.setting.synchronise()
            now = time.time()
            if self.start <= now <= self.end:
                self.moments.append(now)
            trainer.should_stop = now > self.end

    @property
    def rate(self) -> float:
        """Steps a second; 0 where fewer than 50 were counted."""
        counted = 25 * (len(self.moments) - 1)
        return counted / (self.moments[-1] - self.moments[0]) if counted > 0 else 0.0


def one_of_many(device: str, quick: bool, precision: str) -> None:
    """One training of several: V2 on AlexNet, batch 64. Says that it is ready, reads when to begin, tells its rate."""
    setting = Setting(device, quick)
    size = 4 if quick else 64
    data, warm = noise(size * 300), Meter(setting, 1, 1, 1)
    train_on(setting, networks.scheme(PassportV2, "alexnet", "gn", setting.width), size, warm, noise(size * 30))
    print("ready", flush=True)
    counting = Counting(setting, float(sys.stdin.readline()), 6.0)
    scheme = networks.scheme(PassportV2, "alexnet", "gn", setting.width)
    while time.time() < counting.end:
        train_on(setting, scheme, size, counting, data, precision=precision)
    print(counting.rate, flush=True)


def packed(setting: Setting, found: Found) -> None:
    """Steps a second of 1, 4, 8 and 16 trainings that share the card: V2 on AlexNet, batch 64."""
    for precision in ("32-true",) if setting.quick else ("32-true", "bf16-mixed"):
        for count in (1, 2) if setting.quick else (1, 4, 8, 16):
            code = f"from gpu.speed import one_of_many; one_of_many{(setting.device, setting.quick, precision)!r}"
            ran = [
                subprocess.Popen([sys.executable, "-c", code], stdin=PIPE, stdout=PIPE, text=True, env=found_here())
                for _ in range(count)
            ]
            answers = [said(process) for process in ran]
            begin = time.time() + 1
            for process in ran:
                assert process.stdin is not None
                process.stdin.write(f"{begin}\n")
                process.stdin.flush()
            rates = [float(said(process) or 0) for process in ran]
            for process in ran:
                process.wait()
            found.values[f"{precision} {count}"] = {"steps a second": sum(rates), "slowest": min(rates)}
            found.need(min(rates) > 0, f"{precision} {count}: a process did nothing: {answers} {rates}")


def said(process: subprocess.Popen[str]) -> str:
    """The next line of a process; empty where it has ended."""
    assert process.stdout is not None
    return process.stdout.readline().strip()


MEASURES: dict[str, Callable[[Setting, Found], None]] = {
    measure.__name__: measure for measure in (card, steps, captured, fast, judging, options, packed, compiled)
}
