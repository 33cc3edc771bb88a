"""How a network is trained: optimiser, learning-rate schedule and clipping (Table IV and what it leaves open)."""

from __future__ import annotations

import math
from dataclasses import dataclass

from ipr.errors import InputError


@dataclass(frozen=True)
class Recipe:
    """SGD with momentum.

    Attributes:
        lr: the learning rate at its highest.
        momentum: of SGD, in [0, 1).
        weight_decay: L2 penalty on every parameter.
        schedule: `step` divides the rate by 10 at half and at three quarters of the training (Table IV: epochs 100
            and 150 of 200); `cosine` lets it fall to 0; `constant` leaves it, as the authors' attacks do.
        warmup: the fraction of the training in which the rate climbs from 0, in [0, 1).
        clip_norm: the largest gradient norm; None for no clipping.
    """

    lr: float
    momentum: float
    weight_decay: float
    schedule: str
    warmup: float
    clip_norm: float | None

    def __post_init__(self) -> None:
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
