"""Trigger images in every batch, for all schemes that embed some."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import torch
from torch import Generator, Tensor, nn

from ipr.config.schema import TriggerSetConfig
from ipr.data.images import ImageData, normalise
from ipr.data.share import WHOLE, Share, check_divisible
from ipr.data.trigger_sets import TriggerSet, abstract_trigger_set, folder_trigger_set
from ipr.errors import InputError
from ipr.randomness import generator


class TriggerSamples(nn.Module):
    """Appends t trigger images to every batch (line 8 of Algorithm 2, line 12 of Algorithm 6).

    The images stay in non-persistent buffers: no checkpoint holds them.

    Args:
        triggers: the trigger set.
        per_step: t; 2 by default [2].
        data: gives the normalisation.
        seed: with the epoch, decides the order.
    """

    pixels: Tensor
    labels: Tensor
    order: Tensor

    def __init__(self, triggers: TriggerSet, per_step: int, data: ImageData, seed: int) -> None:
        super().__init__()
        if not 1 <= per_step <= triggers.labels.numel():
            raise InputError(
                "trigger_set.per_step", per_step, f"the trigger set has {triggers.labels.numel()} images", "give e.g. 2"
            )
        self.per_step, self.seed = per_step, seed
        self.register_buffer("pixels", normalise(triggers.pixels, data.mean, data.std), persistent=False)
        self.register_buffer("labels", triggers.labels, persistent=False)
        self.register_buffer("order", torch.arange(triggers.labels.numel()), persistent=False)

    def start_epoch(self, epoch: int) -> None:
        """Draws the order of an epoch from (seed, epoch)."""
        order = torch.randperm(self.labels.numel(), generator=generator(self.seed, f"triggers of epoch {epoch}"))
        self.order.copy_(order)  # in place: a captured step reads it where it is

    def check_shares(self, processes: int) -> None:
        """See `Scheme.check_shares`."""
        check_divisible("trigger_set.per_step", self.per_step, processes)

    def appended(self, x: Tensor, y: Tensor, step: int | Tensor, share: Share = WHOLE) -> tuple[Tensor, Tensor]:
        """The batch of a step, or a share of it, with its trigger images and labels behind it."""
        positions = torch.arange(self.per_step, device=self.order.device) + step * self.per_step
        chosen = self.order[share.of(positions) % self.order.numel()]
        return torch.cat([x, self.pixels[chosen]]), torch.cat([y, self.labels[chosen]])


def make_trigger_set(asked: TriggerSetConfig, data: ImageData, source: Generator) -> TriggerSet:
    """The trigger set that is asked for; abstract images are drawn from `source`.

    Raises:
        InputError: there is no such kind, or the folder cannot be used.
    """
    if asked.name == "folder":
        return folder_trigger_set(asked.root, data.image_size, data.channels, len(data.classes))
    if asked.name != "abstract":
        raise InputError("trigger_set.name", asked.name, "is unknown", "choose abstract or folder")
    return abstract_trigger_set(asked.size, data.image_size, data.channels, len(data.classes), source)


def identity_of_triggers(asked: TriggerSetConfig, data: ImageData) -> dict[str, Any]:
    """What tells trigger sets apart: a folder by what is read from it, wherever it lies; it is not asked how many
    images it has.

    Raises:
        InputError: the folder cannot be used.
    """
    if asked.name != "folder":
        return asdict(asked) | {"root": None}
    read = folder_trigger_set(asked.root, data.image_size, data.channels, len(data.classes))
    return {"name": asked.name, "content": read.content, "per_step": asked.per_step}
