"""What must be right on a GPU. Each function is one section; sections run side by side, each in its own process."""

from __future__ import annotations

import contextlib
import copy
import os
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import networks
from gpu.emulated import NAME
from gpu.setting import KINDS, Found, Meter, Setting, found_here, noise, request, train_on
from ipr.config.registry import load_all
from ipr.data.images import LabelledImages
from ipr.data.opening import open_images
from ipr.judging.claim_kinds import load_claim
from ipr.judging.verdict import judge
from ipr.passport.layer import passport_layers
from ipr.schemes.base import Scheme, abouts
from ipr.schemes.baseline import Baseline
from ipr.schemes.passport_v1 import PassportV1
from ipr.schemes.start import load_suspect
from ipr.workflows.attack import attack
from ipr.workflows.train import train
from kernels import counted


def distance(measured: Tensor, reference: Tensor) -> float:
    """|measured - reference| / |reference|, in double precision."""
    return float((measured.double().cpu() - reference.double().cpu()).norm() / reference.double().cpu().norm())


@contextlib.contextmanager
def tf32(allowed: bool) -> Iterator[None]:
    """Inside, convolutions may round to TF32, or may not."""
    before, torch.backends.cudnn.allow_tf32 = torch.backends.cudnn.allow_tf32, allowed
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before


BOUNDS = {"float64": 1e-9, "float32": 5e-3, "tf32": 1e-1, "bf16": 5e-1}
"""Of terms and gradients. The first proves the code; ReLUs near 0 decide the others."""


def exact(setting: Setting, found: Found) -> None:
    """Terms and gradients of a step against float64 on the CPU; scales and their signs under autocast."""
    width = 0.25 if setting.quick else 0.5
    x, y = networks.batch(8 if setting.quick else 32)

    def evaluated(
        scheme: Scheme, device: str, dtype: torch.dtype, ctx: AbstractContextManager[Any]
    ) -> tuple[Tensor, Tensor]:
        scheme = copy.deepcopy(scheme).to(device, dtype)
        with ctx:
            terms = scheme.terms(x.to(device, dtype), y.to(device))
            torch.stack(list(terms.values())).sum().backward()
        gradients = [p.grad.flatten().double().cpu() for p in scheme.trained() if p.grad is not None]
        return torch.stack([t.detach().double().cpu() for t in terms.values()]), torch.cat(gradients)

    for model in networks.LAYERS:
        for name, (kind, norm) in KINDS.items():
            scheme = networks.scheme(kind, model, norm, width)
            reference = evaluated(scheme, "cpu", torch.float64, contextlib.nullcontext())
            for way, bound in BOUNDS.items():
                dtype = torch.float64 if way == "float64" else torch.float32
                ctx = torch.autocast(setting.device, torch.bfloat16) if way == "bf16" else contextlib.nullcontext()
                with tf32(way in ("tf32", "bf16")):
                    got = evaluated(scheme, setting.device, dtype, ctx)
                errors = [distance(a, b) for a, b in zip(got, reference, strict=True)]
                found.values[f"{model} {name} {way}"] = errors
                found.need(all(e < bound for e in errors), f"{model} {name} {way}: {errors} (at most {bound:g})")
            if kind is not Baseline:
                there = copy.deepcopy(scheme).to(setting.device)
                with torch.autocast(setting.device, torch.bfloat16):
                    scales = {n: layer.passport_affine()[0] for n, layer in passport_layers(there.network).items()}
                for n, layer in passport_layers(copy.deepcopy(scheme).double().network).items():
                    far = distance(scales[n], layer.passport_affine()[0])
                    found.need(scales[n].dtype == torch.float32 and far < 1e-6, f"{model} {name} {n}: scales {far:g}")


def waits(setting: Setting, found: Found) -> None:
    """No step waits for the device: torch raises where one does; the emulated device counts."""
    for name, (kind, norm) in KINDS.items():
        if setting.device == NAME:
            counts = counted("alexnet", name)
            found.values[name] = f"{counts.copies} copies, {counts.waits} waits"
            found.need(counts.copies == counts.waits == 0, f"{name}: {counts}")
            continue
        meter = Meter(setting, 5, 10, 1, forbidden=True)
        size = 4 if setting.quick else 64
        try:
            scheme = networks.scheme(kind, "alexnet", norm, 0.0625 if setting.quick else 0.25)
            train_on(setting, scheme, size, meter, noise(meter.total * size))
            found.values[name] = "none"
        except RuntimeError as error:
            frames = traceback.extract_tb(error.__traceback__)
            ours = [f"{Path(f.filename).name}:{f.lineno}" for f in frames if "/ipr/" in f.filename]
            deepest = f"{Path(frames[-1].filename).name}:{frames[-1].lineno} {frames[-1].line}"
            found.values[name] = f"{str(error)[:80]} at {ours[-1:]}, {deepest}"
            found.problems.append(f"{name}: {found.values[name]}")
        finally:
            if setting.device == "cuda":
                torch.cuda.set_sync_debug_mode("default")


def schemes(setting: Setting, found: Found) -> None:
    """V1, V2 and V3 learn in every precision, and compiled; CPU and device judge alike."""
    ways = ["trainer.precision=32-true", "trainer.precision=bf16-mixed"]
    ways += ["trainer.precision=16-mixed"] if setting.device == "cuda" else []
    asked = [(scheme, way) for way in ways for scheme in ("passport_v1", "passport_v2", "passport_v3")]
    asked += [] if setting.quick else [("passport_v2", "trainer.compile=true")]
    with tempfile.TemporaryDirectory() as runs:
        for scheme, way in asked:
            name = f"{scheme} {way.removeprefix('trainer.')}"
            with noted(found, name):
                config = request(setting, f"scheme={scheme}", way, f"paths.runs={runs}")
                started = time.perf_counter()
                made = train(config)
                record = made.record
                found.values[name] = {
                    "accuracy": record.accuracy_without, "with the passport": record.accuracy_genuine,
                    "bits": [record.bits_agreeing, record.bits_total], "s": round(time.perf_counter() - started, 1),
                }  # fmt: skip
                if not setting.quick:
                    found.need(record.bits_agreeing == record.bits_total, f"{name}: {found.values[name]}")
                    found.need((record.accuracy_genuine or 0) > 0.9, f"{name}: {found.values[name]}")
                if way != ways[0]:
                    continue
                data = open_images(config.dataset, config.paths)
                images = LabelledImages(data.test_pixels, data.test_labels, data.mean, data.std)
                claim, suspect = load_claim(made.folder.claim), load_suspect(config.model, data, made.folder.weights)
                here, there = (judge(suspect.to(d), claim, images, forged=10) for d in ("cpu", setting.device))
                found.need(here.reading == there.reading, f"{name}: CPU and device read other bits")
                pairs = [(here.fidelity.accuracy, there.fidelity.accuracy)]
                pairs += list(zip(here.accuracy_forged, there.accuracy_forged, strict=True))
                far = max(abs(float(a or 0) - float(b or 0)) for a, b in pairs)
                found.values[name]["largest difference of accuracy, CPU to device"] = far
                found.need(far < 0.02, f"{name}: CPU and device differ by {far}")


def watermarks(setting: Setting, found: Found) -> None:
    """Every watermark trains and is judged, in float32 and under autocast."""
    names = [name for name, about in abouts().items() if about.family != "passport" and name != "baseline"]
    keys = {"zhang_content", "zhang_noise", "zhang_unrelated", "guo_potkonjak"}
    with tempfile.TemporaryDirectory() as runs:
        for scheme in names:
            for precision in ("32-true", "bf16-mixed"):
                name = f"{scheme} {precision}"
                with noted(found, name):
                    more = ["trainer.max_epochs=5"] if not setting.quick else []
                    more += ["scheme.epochs=1"] if scheme == "frontier_stitching" else []
                    if setting.quick:  # there are few images
                        more += ["trigger_set.size=10"] if scheme in keys else []
                        more += ["scheme.images=8"] if scheme == "deepsigns" else []
                        more += ["trigger_set.size=4"] if scheme == "frontier_stitching" else []
                    asked = [f"scheme={scheme}", f"trainer.precision={precision}", f"paths.runs={runs}", *more]
                    record = train(request(setting, *asked)).record
                    found.values[name] = [record.accuracy_without, record.bits_agreeing, record.bits_total]


SMALL = {"epochs": "1", "iterations": "20"}


def attacks(setting: Setting, found: Found) -> None:
    """Every attack, and a forged claim beside two removals."""
    asked = []
    for name, kind in load_all("attack").items():
        scheme = next(s for s in ("passport_v2", "passport_v1", *kind.schemes()) if s in kind.schemes())
        asked.append((scheme, name, [f"attack.{f}={v}" for f, v in SMALL.items() if f in kind.__dataclass_fields__]))
    asked += [("passport_v1", name, ["attack.epochs=1"]) for name in ("fake2", "fake3", "finetune")]
    for rival in ("fake2", "fake2_signature"):
        asked.append(("passport_v2", "prune", ["attack.rates=[0.5]", f"attack@rival={rival}", "rival.epochs=1"]))
        asked.append(("passport_v2", "finetune", ["attack.epochs=1", f"attack@rival={rival}", "rival.epochs=1"]))
    with tempfile.TemporaryDirectory() as runs:
        for scheme, name, more in asked:
            what = " ".join([scheme, name, *(m for m in more if "rival=" in m)])
            with noted(found, what):
                started = time.perf_counter()
                short = ["trainer.max_epochs=5"] if not setting.quick else []
                short += ["scheme.images=8"] if setting.quick and scheme == "deepsigns" else []
                words = [f"scheme={scheme}", f"attack={name}", f"paths.runs={runs}", *short, *more]
                attack(request(setting, *words, command="attack"))
                found.values[what] = round(time.perf_counter() - started, 1)


def bits(setting: Setting, found: Found) -> None:
    """The same command twice, and killed after an epoch and gone on with: the same weights, bit by bit."""
    words = [
        "dataset=digits_rgb", "model.width=0.25", "passport=random", "logger=csv", "trainer.progress_bar=false",
        "scheme=passport_v3", "verification.forged=0", "trainer.checkpoint_seconds=0",
        f"trainer.accelerator={setting.accelerator}",
        f"trainer.max_epochs={4 if setting.quick else 12}",
        *(["dataset.image_size=8", "dataset.limit_train=256"] if setting.quick else []),
    ]  # fmt: skip

    with tempfile.TemporaryDirectory() as folder:

        def start(name: str) -> subprocess.Popen[bytes]:
            program = [sys.executable, "-c", "from ipr.cli import main; main()", "train", *words]
            return subprocess.Popen([*program, f"paths.runs={folder}/{name}"], stdout=subprocess.DEVNULL)

        one, two, cut = start("one"), start("two"), start("cut")
        while cut.poll() is None and not list(Path(folder, "cut").glob("train/*/checkpoints/last.ckpt")):
            time.sleep(0.02)
        found.values["killed"] = cut.poll() is None
        cut.send_signal(signal.SIGKILL)
        cut.wait()
        ended = [start("cut").wait(), one.wait(), two.wait()]
        found.need(ended == [0, 0, 0], f"ended with {ended}")
        if ended == [0, 0, 0]:
            public = {n: next(Path(folder, n).glob("train/*/public.safetensors")) for n in ("one", "two", "cut")}
            contents = {name: path.read_bytes() for name, path in public.items()}
            again, resumed = contents["one"] == contents["two"], contents["one"] == contents["cut"]
            found.values |= {"two runs": again, "resumed": resumed}
            found.need(again, "two runs of one command differ")
            found.need(resumed, "a resumed run differs")


GRAPHS = ("baseline", "passport_v1", "passport_v2", "passport_v3", "uchida", "deepsigns", "trigger_set")


def graphs(setting: Setting, found: Found) -> None:
    """A training whose steps are replayed as CUDA graphs has the bits of one whose steps are run one by one."""
    asked = [(scheme, precision) for scheme in GRAPHS for precision in ("32-true", "bf16-mixed")]
    if setting.quick:
        asked = [(scheme, "32-true") for scheme in ("baseline", "passport_v3")]
    with tempfile.TemporaryDirectory() as folder:
        for scheme, precision in [*asked, ("passport_v2 alternate", "32-true")]:
            name, _, alternation = scheme.partition(" ")
            with noted(found, f"{scheme} {precision}"):
                words = [f"scheme={name}", f"trainer.precision={precision}", "verification.forged=0"]
                words += ["scheme.alternation=alternate"] if alternation else []
                words += [] if setting.quick else ["trainer.max_epochs=3"]
                runs = [
                    train(request(setting, *words, f"trainer.capture={way}", f"paths.runs={folder}/{way}"))
                    for way in ("false", "true")
                ]
                same = len({run.folder.weights.read_bytes() for run in runs}) == 1
                found.values[f"{scheme} {precision}"] = {
                    "the same bits": same, "s": [round(run.record.train_seconds, 2) for run in runs],
                }  # fmt: skip
                found.need(same, f"{scheme} {precision}: other bits as a graph")


def processes(setting: Setting, found: Found) -> None:
    """DDP over NCCL with one process; two processes that share the card over gloo; both against no DDP, in float64."""
    import socket

    with tempfile.TemporaryDirectory() as folder:
        # what `training.distributed.group.joined` asks for; NCCL refuses two processes on one card
        cases = {
            "one, nccl": (1, "cpu:gloo,cuda:nccl" if setting.device == "cuda" else "gloo"),
            "two, gloo": (2, "gloo"),
        }
        for name, (world, backend) in cases.items():
            with socket.create_server(("127.0.0.1", 0)) as free:
                port = free.getsockname()[1]
            ranks = []
            for rank in range(world):
                facts = [setting.device, rank, world, port, backend, f"{folder}/{name}"]
                code = f"from gpu.checks import follow; follow(*{facts!r})"
                ranks.append(subprocess.Popen([sys.executable, "-c", code], env=found_here()))
            try:
                codes = [rank.wait(150) for rank in ranks]
            except subprocess.TimeoutExpired:
                codes = [-1] * world
            for process in ranks:
                process.kill()
            found.need(codes == [0] * world, f"{name}: ended with {codes}")
        alone = _trained(setting, None)
        for name in cases:
            path = Path(folder, name)
            if path.exists():
                weights = torch.load(path, weights_only=True)
                far = max(float((alone[k].double() - weights[k].double()).abs().max()) for k in alone)
                found.values[name] = far
                found.need(far < 1e-7, f"{name}: weights differ by {far:g}")


def _trained(setting: Setting, store: Any) -> dict[str, Tensor]:
    torch.manual_seed(0)
    scheme = networks.scheme(PassportV1, "alexnet", "bn", 0.25)
    devices = 1 if store is None else torch.distributed.get_world_size()
    nothing = Meter(replace(setting, device="cpu"), 1, 1, 1)
    train_on(setting, scheme, 32, nothing, noise(6 * 32), store, devices=devices, precision="64-true")
    return {k: v.cpu() for k, v in scheme.network.state_dict().items()}


def follow(device: str, rank: int, world: int, port: int, backend: str, out: str) -> None:
    """One of several processes on one device, which Lightning would refuse."""
    from datetime import timedelta

    from torch import distributed

    if device == "cuda":
        from lightning.pytorch.accelerators.cuda import CUDAAccelerator

        shared: Any = CUDAAccelerator
        shared.parse_devices = staticmethod(lambda devices: list(range(int(devices))))
        shared.get_parallel_devices = staticmethod(lambda devices: [torch.device("cuda", 0)] * len(devices))
        torch.cuda.init()  # looks at each device that there is
        torch.cuda.device_count = lambda: world
    os.environ["LOCAL_RANK"] = str(rank)
    limit = timedelta(seconds=100)
    # torch's stubs leave these out of what it exports
    store = distributed.TCPStore("127.0.0.1", port, world, rank == 0, timeout=limit)  # type: ignore[attr-defined]
    own = distributed.PrefixStore("group", store)  # type: ignore[attr-defined]
    distributed.init_process_group(backend, store=own, rank=rank, world_size=world, timeout=limit)
    weights = _trained(Setting(device, True), store)
    if rank == 0:
        torch.save(weights, out)
    distributed.destroy_process_group()


@contextlib.contextmanager
def noted(found: Found, name: str) -> Iterator[None]:
    """Inside, an error is a problem of that name, and the section goes on."""
    try:
        yield
    except Exception as error:  # noqa: BLE001 (whatever it is, it is what the check is for)
        frames = traceback.extract_tb(error.__traceback__)
        where = [f"{Path(f.filename).name}:{f.lineno}" for f in frames if "/ipr/" in f.filename][-2:]
        found.values[name] = f"{type(error).__name__}: {str(error)[:300]} at {where}"
        found.problems.append(f"{name}: {found.values[name]}")


CHECKS: dict[str, Callable[[Setting, Found], None]] = {
    check.__name__: check for check in (exact, waits, schemes, watermarks, attacks, bits, graphs, processes)
}
