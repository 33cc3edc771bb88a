"""What of a trainer changes the numbers of a run by rounding, as the name of the run has it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ipr.config.schema import TrainerConfig

ROUNDING: Mapping[str, Any] = {"deterministic": True, "tf32": None, "autotune": False}
"""Keys that a run's name holds only where they are not these: earlier runs were named without them."""


def rounding_of(trainer: TrainerConfig) -> dict[str, Any]:
    """What of `ROUNDING` is asked for otherwise."""
    return {name: value for name, usual in ROUNDING.items() if (value := getattr(trainer, name)) != usual}


def named_format(memory_format: str) -> str:
    """A memory format as a run's name has it: `auto` is what was the default before there was `auto`."""
    return "channels_last" if memory_format == "auto" else memory_format
