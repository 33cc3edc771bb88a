"""How a training computes: what changes its numbers by rounding, and how tensors lie in memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from ipr.config.schema import TrainerConfig
from ipr.errors import InputError
from ipr.machine.device import gpu

PRECISIONS = ("32-true", "64-true", "bf16-mixed", "16-mixed")
MEMORY_FORMATS = {"channels_last": torch.channels_last, "contiguous": torch.contiguous_format}
LAYOUTS = ("auto", *MEMORY_FORMATS)


def check_numerics(trainer: TrainerConfig) -> None:
    """Refuses what is unknown, and what cannot be had together.

    Raises:
        InputError: naming the key.
    """
    for field, value, known in (
        ("trainer.precision", trainer.precision, PRECISIONS),
        ("trainer.memory_format", trainer.memory_format, LAYOUTS),
    ):
        if value not in known:
            raise InputError(field, value, "is unknown", f"choose among: {', '.join(known)}")
    if trainer.precision == "16-mixed" and gpu() is None:
        raise InputError("trainer.precision", trainer.precision, "needs a GPU", "choose bf16-mixed or 32-true")
    if trainer.autotune and trainer.deterministic:
        problem = "chooses by time, so that a run does not repeat bit by bit"
        remedy = "choose trainer.deterministic=false, too, or autotune=false"
        raise InputError("trainer.autotune", True, problem, remedy)
    if trainer.capture and trainer.precision in ("16-mixed", "64-true"):
        problem = f"cannot be had with trainer.precision={trainer.precision}"
        raise InputError("trainer.capture", True, problem, "choose trainer.precision=bf16-mixed or 32-true")
    if trainer.capture and trainer.processes > 1:
        problem = "cannot be had in a training of several processes"
        raise InputError("trainer.capture", True, problem, "choose false, or trainer.devices=1 trainer.nodes=1")


def layout(memory_format: str, network: nn.Module, device: torch.device) -> str:
    """How images and filters lie in memory: one of `MEMORY_FORMATS`.

    `auto` is channels last, in which convolutions run faster; but on a GPU, where torch's group norm knows contiguous
    tensors alone and copies others (docs/gpu.md has what each takes), a network with group norms and no batch norm is
    contiguous.

    Args:
        memory_format: `auto`, or one of `MEMORY_FORMATS`, which is returned.
        network: what is trained.
        device: on what.
    """
    if memory_format != "auto":
        return memory_format
    modules = list(network.modules())
    grouped = any(isinstance(module, nn.GroupNorm) for module in modules)
    batched = any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in modules)
    return "contiguous" if device.type == "cuda" and grouped and not batched else "channels_last"


@contextmanager
def computing(trainer: TrainerConfig) -> Iterator[None]:
    """Inside, torch rounds as it is asked to, and does not fill fresh memory to show that nobody reads it (a kernel for
    each tensor on a GPU, where runs are deterministic); afterwards all is as before.
    """
    settings: Any = torch.utils.deterministic  # a module with a property, which its types do not tell
    filled, settings.fill_uninitialized_memory = settings.fill_uninitialized_memory, False
    products, convolutions = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    if trainer.tf32 is not None:
        torch.set_float32_matmul_precision("high" if trainer.tf32 else "highest")
        torch.backends.cudnn.allow_tf32 = trainer.tf32
    try:
        yield
    finally:
        settings.fill_uninitialized_memory = filled
        if trainer.tf32 is not None:
            torch.set_float32_matmul_precision(products)
            torch.backends.cudnn.allow_tf32 = convolutions
