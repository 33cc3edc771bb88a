"""Parts of a data set that are copied only as far as they are looked at."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_map

COPIED = 2**28
"""Bytes of a part that are copied, so that reading it is reading memory; larger ones stay where they are."""


class Rows(Tensor):
    """Rows of a tensor in an order of their own: `pixels[order]`, without its memory.

    Indexed along the first dimension it gives the rows that are asked for: by a tensor of positions, or one number, as
    a plain tensor; as a slice, or split, again as `Rows`. Any other operation is done on a copy of all of it. It cannot
    be handed to NumPy.

    Args:
        pixels: what they are rows of; on the CPU.
        order: positions in it, (N,), int64.
    """

    pixels: Tensor
    order: Tensor

    def __new__(cls, pixels: Tensor, order: Tensor) -> Rows:
        """A tensor that says of itself what the copy would."""
        shape = (order.numel(), *pixels.shape[1:])
        made: Rows = Tensor._make_wrapper_subclass(cls, shape, dtype=pixels.dtype, device=pixels.device)
        return made

    def __init__(self, pixels: Tensor, order: Tensor) -> None:
        self.pixels, self.order = pixels, order

    def __repr__(self, **how: Any) -> str:  # type: ignore[override]
        return f"Rows{tuple(self.shape)}"

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]  # torch's type is of what stands in for none
        cls, func: Any, types: Iterable[type], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """See `torch.Tensor`; called for every operation."""
        kwargs = kwargs or {}
        aten, own = torch.ops.aten, args[0] if args else None
        if isinstance(own, Rows):
            if func is aten.index.Tensor and len(args[1]) == 1:
                return own.pixels[own.order[args[1][0]]]
            if func is aten.select.int and args[1] == 0:
                return own.pixels[own.order[args[2]]]
            if func is aten.slice.Tensor and (args[1] if len(args) > 1 else 0) == 0:
                return Rows(own.pixels, func(own.order, *args[1:], **kwargs))
            if func is aten.split.Tensor and (args[2] if len(args) > 2 else kwargs.get("dim", 0)) == 0:
                return [Rows(own.pixels, part) for part in own.order.split(args[1])]
            if func is aten.detach.default:
                return Rows(own.pixels, own.order)
        return func(*tree_map(_copied, args), **tree_map(_copied, kwargs))


def _copied(value: Any) -> Any:
    return value.pixels[value.order] if isinstance(value, Rows) else value


def chosen(pixels: Tensor, order: Tensor) -> Tensor:
    """The rows of a tensor at some positions: the tensor itself where that is all of it, a copy where it is small.

    Args:
        pixels: (N, ...).
        order: positions, (M,), int64.
    """
    total, count = pixels.shape[0], order.numel()
    if count == total and torch.equal(order, torch.arange(total, device=order.device)):
        return pixels
    base = pixels
    if isinstance(pixels, Rows):
        base, order = pixels.pixels, pixels.order[order]
    if base.device.type != "cpu" or count * base[:1].nbytes <= COPIED:
        return base[order]
    return Rows(base, order)


def gathered(pixels: Tensor, order: Tensor, out: Tensor | None = None) -> Tensor:
    """The rows at some positions as a plain tensor; on the CPU by the thread that asks, and no other.

    Args:
        pixels: (N, ...); may be `Rows`.
        order: positions, (M,), int64; where the pixels are.
        out: where they are written to, (M, ...), and what is returned; only on the CPU. None for a new tensor.

    Raises:
        IndexError: there is no such row.
    """
    if isinstance(pixels, Rows):
        return gathered(pixels.pixels, pixels.order[order], out)
    if pixels.device.type != "cpu":
        return pixels[order]
    if out is None:
        out = torch.empty((order.numel(), *pixels.shape[1:]), dtype=pixels.dtype, device="cpu")
    at = order.numpy()
    if at.size and not 0 <= at.min() <= at.max() < len(pixels):
        raise IndexError(f"there are {len(pixels)} rows, and others were asked for")
    # "clip" writes to where it is told to at once; "raise" would copy once more
    pixels.numpy().take(at, axis=0, out=out.numpy(), mode="clip")
    return out


def placed(pixels: Tensor, device: torch.device, at_once: int = 2**26) -> Tensor:
    """All rows on a device; those of `Rows` block by block, for a copy may not fit beside them.

    Args:
        pixels: (N, ...).
        device: where to.
        at_once: bytes that are copied at a time.
    """
    if not isinstance(pixels, Rows) or device.type == "cpu":
        return pixels.to(device)
    moved = torch.empty(pixels.shape, dtype=pixels.dtype, device=device)
    count = max(1, at_once // max(1, pixels.pixels[:1].nbytes))
    for place, order in zip(moved.split(count), torch.arange(len(pixels), device="cpu").split(count), strict=True):
        place.copy_(gathered(pixels, order))
    return moved
