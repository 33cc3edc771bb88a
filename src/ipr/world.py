"""`own_world`: what a caller has set for a whole process changes no result, and nothing that is set here stays.

Every function of ours that computes something runs in it: `ipr.train` of one key gives one network, whoever calls it.
"""

from __future__ import annotations

import logging
import os
import random
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any

import numpy as np
import torch

VARIABLES = ("CUBLAS_", "PL_", "PYTHONHASHSEED", "WANDB_", "HYDRA_")
"""How environment variables begin that Lightning, W&B or Hydra set."""

SERVICE = "WANDB_SERVICE"
"""Names the process that serves W&B. One that has died inside is not put back: nothing would be logged any more."""

LOGGERS = ("lightning", "lightning.pytorch", "lightning.fabric", "wandb", "matplotlib", "PIL")

FP32 = ("cuda.matmul", "cudnn.conv", "cudnn.rnn", "mkldnn.matmul", "mkldnn.conv", "mkldnn.rnn")
"""Parts of `torch.backends` that may compute float32 in less."""

CUDNN = {"enabled": True, "deterministic": False, "benchmark": False, "allow_tf32": True}
"""torch's own choices."""

_ONE_AT_A_TIME = threading.RLock()
_inside = threading.local()


@contextmanager
def own_world() -> Iterator[None]:
    """Inside, the process is as if nobody had set anything; afterwards it is as it was. Also a decorator.

    Set for the time: the global random generators, torch's default dtype and device, autocast, gradients and inference
    mode, deterministic algorithms, cuDNN's choices, the precision of float32, denormal numbers, NumPy's floating-point
    errors and Pillow's patience with torn files. Put back besides: warning filters, log levels, signal handlers, the
    number of threads and the environment variables of `VARIABLES`. With how many threads it begins is up to the caller,
    and recorded with a run.

    One thread at a time is inside, and others wait. Most of this belongs to the whole process, torch's generator of
    initial weights above all, so that generators of one's own would not keep two trainings apart.
    """
    if getattr(_inside, "here", False):  # a run inside a run
        yield
        return
    with _ONE_AT_A_TIME, ExitStack() as undo:
        _inside.here = True
        undo.callback(setattr, _inside, "here", False)
        _keep(undo)
        _set(undo)
        yield


def _keep(undo: ExitStack) -> None:
    """Has everything put back that a run may change."""
    undo.enter_context(warnings.catch_warnings())
    undo.callback(random.setstate, random.getstate())
    undo.callback(np.random.set_state, np.random.get_state())
    if torch.cuda.is_initialized():
        undo.callback(torch.cuda.set_rng_state_all, torch.cuda.get_rng_state_all())
    elif torch.cuda.is_available():  # its generators get the caller's seed, as if they had waited for the caller
        undo.callback(lambda: torch.cuda.manual_seed_all(torch.initial_seed()))
    undo.callback(torch.set_rng_state, torch.get_rng_state())
    threads = torch.get_num_threads()
    undo.callback(lambda: None if torch.get_num_threads() == threads else torch.set_num_threads(threads))
    for name in LOGGERS:
        undo.callback(logging.getLogger(name).setLevel, logging.getLogger(name).level)
    undo.callback(_put_back, {name: text for name, text in os.environ.items() if name.startswith(VARIABLES)})
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGCHLD):
            if (handler := signal.getsignal(number)) is not None:  # None: one that is not Python's
                undo.callback(signal.signal, number, handler)


def _put_back(variables: dict[str, str]) -> None:
    for name in [name for name in os.environ if name.startswith(VARIABLES) and name not in variables]:
        del os.environ[name]
    os.environ.update({name: text for name, text in variables.items() if name != SERVICE})


def _set(undo: ExitStack) -> None:
    """Sets what a result depends on, and has it put back."""
    random.seed(0)
    np.random.seed(0)
    torch.default_generator.manual_seed(0)  # what draws from it without a seed of the run draws the same for everybody
    undo.enter_context(torch.inference_mode(False))
    undo.enter_context(torch.enable_grad())
    for kind in ("cpu", "cuda", "mps", "xpu"):
        if torch.is_autocast_enabled(kind):
            undo.enter_context(torch.autocast(kind, enabled=False))
    if torch.get_default_device().type != "cpu":
        undo.enter_context(torch.device("cpu"))
    _to(torch.float32, torch.get_default_dtype, torch.set_default_dtype, undo)
    _to(0, torch.get_deterministic_debug_mode, torch.set_deterministic_debug_mode, undo)
    for name, value in CUDNN.items():
        if name != "allow_tf32" or not _mixed():
            _to(value, partial(getattr, torch.backends.cudnn, name), partial(setattr, torch.backends.cudnn, name), undo)
    _set_float32(undo)
    _to(False, lambda: bool(torch.tensor(1e-40) * 1 == 0), torch.set_flush_denormal, undo)
    undo.callback(np.seterr, **np.seterr(divide="warn", over="warn", under="ignore", invalid="warn"))
    if (files := sys.modules.get("PIL.ImageFile")) is not None:
        name = "LOAD_TRUNCATED_IMAGES"
        _to(False, partial(getattr, files, name), partial(setattr, files, name), undo)


def _to(value: Any, read: Callable[[], Any], write: Callable[[Any], object], undo: ExitStack) -> None:
    before = read()
    if before != value:
        write(value)
    undo.callback(lambda: None if read() == before else write(before))


def _mixed() -> bool:
    """Whether the precision of float32 was set in torch's new way, after which the old one cannot be read."""
    try:
        torch.get_float32_matmul_precision()
        return False
    except RuntimeError:
        return True


def _set_float32(undo: ExitStack) -> None:
    parts = {name: _part(name) for name in ("", *FP32) if hasattr(_part(name), "fp32_precision")}
    before = {name: part.fp32_precision for name, part in parts.items()}
    if not _mixed():
        if torch.get_float32_matmul_precision() != "highest":
            undo.callback(torch.set_float32_matmul_precision, torch.get_float32_matmul_precision())
            torch.set_float32_matmul_precision("highest")
        return
    for name, part in parts.items():
        undo.callback(setattr, part, "fp32_precision", before[name])
        part.fp32_precision = "tf32" if name.startswith("cudnn") else "none"


def _part(name: str) -> Any:
    part: Any = torch.backends
    for step in filter(None, name.split(".")):
        part = getattr(part, step, None)
    return part
