"""Which numbers the fields of a request may hold: one table, that every request passes before anything is written."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

from ipr.errors import InputError


@dataclass(frozen=True)
class Range:
    """The numbers from `least` to `most`.

    Attributes:
        least: the smallest; None for no limit.
        most: the largest; None for no limit.
        remedy: what to give instead.
        above: whether `least` itself is too small.
        below: whether `most` itself is too large.
    """

    least: float | None
    most: float | None
    remedy: str
    above: bool = False
    below: bool = False

    def problem(self, value: float) -> str | None:
        """What is wrong with a number, or None."""
        if not math.isfinite(value):
            return "is no finite number"
        least, most = self.least, self.most
        if least is not None and (value <= least if self.above else value < least):
            negative = "must not be negative" if least == 0 else f"must be at least {least:g}"
            return f"must be above {least:g}" if self.above else negative
        if most is not None and (value >= most if self.below else value > most):
            return f"must be below {most:g}" if self.below else f"must be at most {most:g}"
        return None


SEED = Range(-(2.0**63), 2.0**63 - 1024, "give e.g. 0")
FRACTION = Range(0, 1, "give a number from 0 to 1")
_MANY, _HUGE = 10**6, 3e38  # what float32 holds


def _count(example: str, least: int = 1, most: int = _MANY) -> Range:
    return Range(least, most, f"give e.g. {example}")


def _positive(example: str, most: float = _HUGE) -> Range:
    return Range(0, most, f"give e.g. {example}", above=True)


def _weight(example: str) -> Range:
    return Range(0, _HUGE, f"give e.g. {example}, or 0")


RANGES = {
    "anomaly": _weight("2"),
    "added": Range(0, 3, "give e.g. 0.25", above=True),
    "alarms": Range(0, 1, "give e.g. 0.05", below=True),
    "alpha": FRACTION,
    "attack_epochs": _count("20, or null for what the attack has by default"),
    "attack_seed": SEED,
    "balance_weight": _weight("1"),
    "batch_size": _count("64"),
    "bits": _count("32"),
    "bound": _positive("0.1, or null for none"),
    "budget": _count("1000, or null for no limit", 0, 10**12),
    "centre_weight": _weight("0.001"),
    "channels": _count("10"),
    "checkpoint_seconds": _weight("60"),
    "classes": _count("4"),
    "clip_norm": _positive("2, or null for none"),
    "columns": _count("253"),
    "copies": _count("5, or 0 for none", 0),
    "count": _count("0", 0),
    "clean": Range(0, 1, "give a share of the images above 0, e.g. 0.05", above=True),
    "convolutions": _count("3"),
    "crop_padding": _count("4, or 0 for no random crop", 0, 512),
    "decay": _weight("0.1"),
    "devices": _count("1", most=65_536),
    "dissimilarity": Range(0, 1, "give e.g. [0.1,0.5]"),
    "dropped": Range(0, 1, "give a fraction from 0 to below 1, e.g. 0.5", below=True),
    "step_energy": _positive("3, or null for the default"),
    "energies": Range(0, _HUGE, "give e.g. [1,3]", above=True),
    "energy": _positive("30, or null for as published"),
    "epochs": _count("20"),
    "epsilon": Range(0, 1, "give e.g. 0.03"),
    "eta": _weight("0.04"),
    "factor": Range(1, _HUGE, "give e.g. 8, or 1 for none"),
    "fidelity": FRACTION,
    "fidelity_threshold": FRACTION,
    "first_epochs": _count("5"),
    "forged": _count("50, or 0 for none", 0),
    "gamma_0": _positive("0.1"),
    "gamma_regulariser": _weight("1e-5"),
    "image_size": _count("32", 8, 512),
    "images": _count("20"),
    "iterations": _count("1000"),
    "limit_test": _count("1000, or null for all", most=10**9),
    "limit_train_batches": Range(0, 2**53, "give a whole number, e.g. 10, or a fraction below 1, e.g. 0.1", above=True),
    "limit_train": _count("1000, or null for all", most=10**9),
    "lr": _positive("0.01"),
    "margin": _weight("3"),
    "max_epochs": _count("20"),
    "mean": Range(0, 1, "give a number from 0 to 1 for each channel, e.g. [0.485,0.456,0.406]"),
    "momentum": Range(0, 1, "give 0 to below 1, e.g. 0.9", below=True),
    "networks": _count("20", 0),
    "nodes": _count("1", most=65_536),
    "noise": _count("3, or 0 for none", 0),
    "number": _count("0", 0),
    "order": _count("11", 2, 1000),
    "p_value": FRACTION,
    "passports": _count("50"),
    "penalty": _weight("0.01"),
    "per_step": _count("2, or null for as many as the training needs"),
    "pooled": _count("512"),
    "processes": _count("1, or null for as many as there is room for"),
    "rank": _count("8"),
    "rate": _positive("10, or null for as fast as it answers"),
    "ratio": FRACTION,
    "rates": Range(0, 1, "give e.g. [0.5,1]"),
    "retries": _count("4, or 0 for none", 0, 1000),
    "rounds": _count("15"),
    "samples": _count("4000"),
    "scale": Range(0, 1e6, "give e.g. 30", above=True),
    "seed": SEED,
    "seeds": SEED,
    "share": Range(0, 1, "give e.g. [0.1,1]", above=True),
    "shift": _weight("1"),
    "sign_loss_weight": _weight("0.1"),
    "size": _count("100"),
    "smoothing": FRACTION,
    "stamped": FRACTION,
    "std": Range(0.001, 1, "give a number from 0.001 to 1 for each channel, e.g. [0.229,0.224,0.225]"),
    "step": _positive("0.01"),
    "steps": _count("1"),
    "strength": _weight("1.5"),
    "temperature": _positive("3"),
    "test_images": _count("200, or null for all", 0, 10**9),
    "threshold": _weight("0.1"),
    "timeout_seconds": _positive("30"),
    "slow_tries": _count("4"),
    "tries": _count("1000000", most=2**32),
    "tried": _count("1, and count this one too", most=10**12),
    "validation": Range(0, 1, "give e.g. 0.1, or 0 for none", below=True),
    "vectors": _count("2, or null for all"),
    "warmup": Range(0, 1, "give a fraction from 0 to below 1, e.g. 0.1", below=True),
    "weight": _weight("0.1"),
    "weight_decay": _weight("0.0005"),
    "width": _positive("0.25, or 1 for Table III", 16),
    "wrong": _count("1000", most=10**9),
    "CalibrateConfig.rate": Range(0, 1, "give e.g. 0.005", above=True, below=True),
    "PartialSignature.wrong": Range(0, 1, "give e.g. [0.1,0.5]"),
    "Combined.epochs": _count("5, or null for what each step has by default"),
    "Quantise.epochs": _count("1, or 0 for none", 0),
    "Quantise.bits": Range(1, 16, "give e.g. [8,4]"),
    "Rule.networks": _count("20"),
    "UnlearnTriggers.images": _count("10, or 0 for none", 0),
    "WeightShift.noise": _weight("1"),
}
"""What a field may hold, by its name; by its class and name where another of that name may hold something else.

Limits from above are those of a claim (`ipr.models.claimed`), or far beyond what anybody means: what is above
them overflows, or never ends.
"""


def check_numbers(config: Any, prefix: str = "") -> None:
    """Sees that every number of a request is in its range.

    Args:
        config: a dataclass of the schema, with others inside.
        prefix: what stands before its fields' names in an error.

    Raises:
        InputError: naming the first that is not.
    """
    for field in dataclasses.fields(config):
        name, value = prefix + field.name, getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            check_numbers(value, f"{name}.")
        elif isinstance(value, dict):
            for key, inner in value.items():
                if dataclasses.is_dataclass(inner):
                    check_numbers(inner, f"{name}.{key}.")
        else:
            for number in value if isinstance(value, list | tuple) else [value]:
                _check(name, number, range_of(type(config), field.name))


def range_of(kind: type, field: str) -> Range | None:
    """The range of a field of a class of the schema; of its ancestors' where it has none of its own."""
    own = (RANGES.get(f"{ancestor.__name__}.{field}") for ancestor in kind.__mro__)
    return next((found for found in own if found is not None), RANGES.get(field))


def _check(name: str, value: Any, allowed: Range | None) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return
    allowed = allowed or Range(None, None, "give a number")
    try:
        problem = allowed.problem(value)
    except OverflowError:  # an integer beyond every float
        problem = "is no number that can be meant"
    if problem is not None:
        raise InputError(name, f"{value:g}" if isinstance(value, float) else _short(value), problem, allowed.remedy)


def _short(value: int) -> str:
    return str(value) if abs(value) < 10**20 else f"an integer of {value.bit_length()} bits"
