"""Batches of images that do not fit on the device: gathered and copied ahead, so that no step waits for them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor

from ipr.data.rows import gathered
from ipr.machine.threads import in_order

AHEAD = 3
"""So many batches are on their way while one is trained on."""

Batch = tuple[Tensor, Tensor]


def fits(images: Tensor, device: torch.device) -> bool:
    """Whether images may be put on a device: on a CUDA GPU if they fill no more than half of what is free there."""
    return device.type != "cuda" or images.nbytes <= torch.cuda.mem_get_info(device)[0] / 2


def ahead(pixels: Tensor, labels: Tensor, batches: Iterable[Tensor], device: torch.device) -> Iterator[Batch]:
    """Pixels and labels of each batch on a device, in order.

    One thread gathers them into page-locked memory and copies them from there on a stream of its own. Whoever takes a
    batch has his stream wait for the copy, not himself.

    Args:
        pixels: in host memory, or mapped into it; (N, H, W, channels).
        labels: in host memory, (N,).
        batches: positions of the images of each batch, on the CPU; none is larger than the first.
        device: where the batches are wanted.
    """
    lane = _Lane(pixels, labels, device)
    for fetched in in_order(lane.fetch, batches, threads=1, ahead=AHEAD):
        yield lane.take(fetched)


class _Lane:
    """The way of the batches: a few places in page-locked memory, used in turn, and a stream; neither without CUDA."""

    def __init__(self, pixels: Tensor, labels: Tensor, device: torch.device) -> None:
        self.pixels, self.labels, self.device = pixels, labels, device
        self.cuda = device.type == "cuda"
        self.stream = torch.cuda.Stream(device) if self.cuda else None
        self.places: deque[tuple[Batch, Any]] = deque()

    def fetch(self, chosen: Tensor) -> tuple[Batch, Any]:
        """By the thread: a batch on the device, or on its way there, and the event of its arrival."""
        if not self.cuda:
            there = gathered(self.pixels, chosen), gathered(self.labels, chosen)
            return (there[0].to(self.device), there[1].to(self.device)), None
        with torch.cuda.stream(self.stream):  # and so on its device: a thread begins on the first one
            place, event = self._free(chosen.numel())
            for source, target in zip((self.pixels, self.labels), place, strict=True):
                gathered(source, chosen, out=target)
            batch = place[0].to(self.device, non_blocking=True), place[1].to(self.device, non_blocking=True)
            event.record(self.stream)
        self.places.append((place, event))
        return batch, event

    def _free(self, count: int) -> tuple[Batch, Any]:
        """A place that is not being copied from any more."""
        if len(self.places) <= AHEAD:
            shape = (count, *self.pixels.shape[1:])
            place = (
                torch.empty(shape, dtype=self.pixels.dtype, device="cpu", pin_memory=True),
                torch.empty(count, dtype=self.labels.dtype, device="cpu", pin_memory=True),
            )
            return place, torch.cuda.Event()
        (pixels, labels), event = self.places.popleft()
        event.synchronize()
        return (pixels[:count], labels[:count]), event

    def take(self, fetched: tuple[Batch, Any]) -> Batch:
        """By whoever trains: the batch, for his stream."""
        batch, event = fetched
        if event is not None:
            stream = torch.cuda.current_stream(self.device)
            event.wait(stream)
            for tensor in batch:
                tensor.record_stream(stream)  # its memory is not given to the next copy before this stream has read it
        return batch
