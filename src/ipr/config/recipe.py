"""How a network is trained: optimiser, learning-rate schedule and clipping (Table IV and what it leaves open)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from ipr.errors import InputError

MISSING: Any = "???"  # OmegaConf's mark for a value that a configuration must give


@dataclass
class Recipe:
    """How it is trained, with SGD: `optimizer=default|published`.

    `schedule=step` divides the rate by 10 at half and at three quarters of the training (Table IV: epochs 100 and 150
    of 200); `cosine` lets it fall to 0; `constant` leaves it, as the authors' attacks do.
    """

    lr: float = MISSING  # learning rate, the highest of the schedule
    momentum: float = MISSING  # of SGD
    weight_decay: float = MISSING  # of SGD
    schedule: str = MISSING  # how the rate changes: cosine | step | constant
    warmup: float = MISSING  # share of the training in which the rate rises, a fraction
    clip_norm: float | None = MISSING  # largest norm of a gradient; null for no clipping
    batch_size: int = MISSING  # images of a step, over all processes
    name: str = MISSING  # set by optimizer=NAME

    def check(self) -> None:
        """Refuses what is no recipe.

        Raises:
            InputError: naming the field that is out of range.
        """
        for field, good, remedy in (
            ("lr", self.lr > 0, "give a number above 0, e.g. 0.01"),
            ("momentum", 0 <= self.momentum < 1, "give 0 to below 1, e.g. 0.9"),
            ("weight_decay", self.weight_decay >= 0, "give 0 or more, e.g. 0.0001"),
            ("schedule", self.schedule in ("step", "cosine", "constant"), "choose step, cosine or constant"),
            ("warmup", 0 <= self.warmup < 1, "give a fraction from 0 to below 1, e.g. 0.1"),
            ("clip_norm", self.clip_norm is None or self.clip_norm > 0, "give a number above 0, or null for none"),
        ):
            if not good:
                raise InputError(f"optimizer.{field}", getattr(self, field), "is out of range", remedy)

    def rate_factor(self, progress: float) -> float:
        """The learning rate as a fraction of `lr`, at a given fraction of the training in [0, 1]."""
        climb = min(1.0, progress / self.warmup) if self.warmup else 1.0
        if self.schedule == "cosine":
            return climb * 0.5 * (1 + math.cos(math.pi * progress))
        if self.schedule == "constant":
            return climb
        return climb * (1.0 if progress < 0.5 else 0.1 if progress < 0.75 else 0.01)
