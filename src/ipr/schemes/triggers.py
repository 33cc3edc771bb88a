"""Trigger images in every batch, for all schemes that embed some."""

from __future__ import annotations

import math
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

PRESENTATIONS = 100
"""How often each trigger image is shown in a training, where `trigger_set.per_step` is null.

V3, AlexNet at width 0.25, 10,000 images of CIFAR-10, 10 epochs: shown 31 times, 71 of 100 are learned on group norm and
100 on batch norm (97 with the passport); 62 times, all on both (98 with the passport on group norm). ResNet-18 at width
0.125 learns 54 of them in 94 times. Digits: 18 to 35 (docs/schemes.md).
"""

FEWEST = 2
"""Trigger images of a step at the least, as in the paper (t = 2)."""

LARGEST_SHARE = 1 / 4
"""Trigger images of a step at the most, as a fraction of the batch: a step costs by so much more."""


def images_per_step(size: int, steps: int, batch_size: int, processes: int = 1) -> int:
    """The smallest t with which each trigger image is shown `PRESENTATIONS` times, within what a step can bear.

    An image is shown t * steps / size times: on average, as the order is drawn anew in every epoch.

    Args:
        size: how many trigger images there are.
        steps: of the whole training.
        batch_size: images of a step beside them, of all processes together.
        processes: how many share a step; t is a multiple of it.

    Returns:
        t, at least `FEWEST`, at most `LARGEST_SHARE` of the batch and the whole set; a multiple of the processes even
        where there is none among these.
    """
    needed = max(FEWEST, math.ceil(PRESENTATIONS * size / max(1, steps)))
    most = min(size, max(FEWEST, int(LARGEST_SHARE * batch_size)))
    return max(1, min(math.ceil(needed / processes), most // processes)) * processes


class TriggerSamples(nn.Module):
    """Appends t trigger images to every batch (line 8 of Algorithm 2, line 12 of Algorithm 6).

    The images stay in non-persistent buffers: no checkpoint holds them.

    Args:
        triggers: the trigger set.
        per_step: t.
        data: gives the normalisation.
        seed: with the epoch, decides the order.
    """

    pixels: Tensor
    labels: Tensor
    order: Tensor

    def __init__(self, triggers: TriggerSet, per_step: int, data: ImageData, seed: int) -> None:
        super().__init__()
        if not 1 <= per_step <= triggers.labels.numel():
            problem = f"the trigger set has {triggers.labels.numel()} images"
            remedy = "give fewer, or more images (trigger_set.size)"
            raise InputError("trigger_set.per_step", per_step, problem, remedy)
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


def trigger_count(asked: TriggerSetConfig, data: ImageData) -> int:
    """How many images the trigger set that is asked for has: a folder is not asked for `size` of them.

    Raises:
        InputError: the folder cannot be used.
    """
    if asked.name != "folder":
        return asked.size
    return folder_trigger_set(asked.root, data.image_size, data.channels, len(data.classes)).labels.numel()


def identity_of_triggers(asked: TriggerSetConfig, per_step: int, data: ImageData) -> dict[str, Any]:
    """What tells trigger sets apart: a folder by what is read from it, wherever it lies.

    Args:
        asked: the trigger set.
        per_step: its images in every step (`Scheme.per_step`).
        data: the images that it is embedded with.

    Raises:
        InputError: the folder cannot be used.
    """
    if asked.name != "folder":
        return asdict(asked) | {"root": None, "per_step": per_step}
    read = folder_trigger_set(asked.root, data.image_size, data.channels, len(data.classes))
    return {"name": asked.name, "content": read.content, "per_step": per_step}
