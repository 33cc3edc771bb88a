"""A clock for what a device computes."""

from __future__ import annotations

import time

import torch


def now(device: torch.device) -> float:
    """Seconds on the wall, from some start on, once the device has done all that it was given.

    A GPU is given work and does it later: a clock that does not wait counts the giving, and what was left of the work
    before.

    Args:
        device: what the work that is timed runs on.
    """
    torch.get_device_module(device).synchronize()
    return time.perf_counter()
