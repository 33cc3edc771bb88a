"""Which device a command computes on, in the words of `trainer.accelerator`, and a clock for what it computes.

Nothing else chooses one.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import torch

from ipr.errors import InputError

ACCELERATORS = ("auto", "cpu", "gpu", "cuda", "mps")
JUDGING = ("auto", "cpu", "gpu", "cuda")
"""An Apple GPU (`mps`) has no float64, which verdicts are computed in."""


def gpu() -> torch.device | None:
    """The GPU of this process; None where there is none."""
    return torch.device("cuda") if torch.cuda.is_available() else None


def device_for(accelerator: str) -> torch.device:
    """What is judged, attacked, shown and drawn is computed there.

    Args:
        accelerator: one of `ACCELERATORS`; `auto` takes a GPU where there is one. Beside an Apple GPU, which trains
            only, the CPU does all this.
    """
    found = gpu() if accelerator in ("auto", "gpu", "cuda") else None
    return found or torch.device("cpu")


def training_device(accelerator: str) -> torch.device:
    """Where Lightning trains in a process on its own: as `device_for`, or on an Apple GPU."""
    found = device_for(accelerator)
    if found.type == "cpu" and accelerator in ("auto", "mps") and torch.backends.mps.is_available():
        return torch.device("mps")
    return found


def check_accelerator(field: str, accelerator: str, known: Sequence[str] = ACCELERATORS) -> None:
    """Refuses a word for no device, and a device that is not there.

    Args:
        field: the key that holds it.
        accelerator: the word.
        known: those that this command takes.

    Raises:
        InputError: saying so.
    """
    if accelerator not in known:
        raise InputError(field, accelerator, "is unknown", f"choose among: {', '.join(known)}")
    there = torch.backends.mps.is_available() if accelerator == "mps" else gpu() is not None
    if accelerator not in ("auto", "cpu") and not there:
        raise InputError(field, accelerator, "no GPU is at hand", "choose auto or cpu")


def now(device: torch.device) -> float:
    """Seconds on the wall, from some start on, once the device has done all that it was given.

    A GPU is given work and does it later: a clock that does not wait counts the giving, and what was left of the work
    before.

    Args:
        device: what the work that is timed runs on.
    """
    torch.get_device_module(device).synchronize()
    return time.perf_counter()
