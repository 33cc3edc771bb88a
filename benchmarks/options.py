"""What precision, memory format and compilation do to a step of training.

    python benchmarks/options.py

Baseline and V2, as a multiple of the default: float32, channels last, not compiled. Rounds come after the compilation.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

import measure
from ipr.schemes.base import Scheme
from ipr.schemes.baseline import Baseline
from ipr.schemes.passport_v2 import PassportV2
from measure import ratios, spread, take_turns
from networks import batch, scheme, stepping

CHOICES = {
    "default": (False, torch.channels_last, False),
    "control": (False, torch.channels_last, False),
    "contiguous": (False, torch.contiguous_format, False),
    "compile": (False, torch.channels_last, True),
    "bf16-mixed": (True, torch.channels_last, False),
    "bf16-mixed, contiguous": (True, torch.contiguous_format, False),
    "bf16-mixed, compile": (True, torch.channels_last, True),
}
"""Precision, memory format, and whether it is compiled."""


def step_with(
    module: Scheme, half: bool, memory_format: torch.memory_format, compiled: bool, x: Tensor, y: Tensor
) -> Callable[[], None]:
    """One step, as Lightning runs it with these options."""
    module.network.to(memory_format=memory_format)
    images = x.contiguous(memory_format=memory_format)
    if compiled:
        module.compile_network()

    def loss() -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            return torch.stack(list(module.terms(images, y).values())).sum()

    return stepping(module, loss)


def main(rounds: int, width: float) -> None:
    """Prints a row for each network, scheme and choice."""
    x, y = batch()
    print("| network | scheme | " + " | ".join(CHOICES) + " | n |\n" + "|---" * (len(CHOICES) + 3) + "|")
    for name in ("alexnet", "resnet18"):
        for kind, norm in ((Baseline, "bn"), (PassportV2, "gn")):
            works = {what: step_with(scheme(kind, name, norm, width), *how, x, y) for what, how in CHOICES.items()}
            seconds = take_turns(works, rounds)
            cells = [spread(ratios(seconds, what, "default")) for what in CHOICES]
            print(f"| {name} | {kind.__name__} | " + " | ".join(cells) + f" | {rounds} |", flush=True)
    print(f"\n{measure.facts()}")


if __name__ == "__main__":
    main(*measure.rounds_and_width(__doc__, 7))
