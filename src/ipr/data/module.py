"""The images as Lightning sees them: on the training device, where batches are cut, augmented and normalised."""

from __future__ import annotations

from collections.abc import Iterator

import lightning as L
import torch
from torch import Tensor

from ipr.data.images import ImageData, augment, normalise
from ipr.data.prefetch import ahead, fits
from ipr.data.rows import gathered, placed
from ipr.data.share import WHOLE, Share
from ipr.errors import InputError
from ipr.randomness import generator


def batches_per_epoch(images: int, batch_size: int, limit: float | None) -> int:
    """How many batches, and so steps, an epoch has: without the last, smaller batch, and no more than the limit.

    Args:
        images: that are trained on.
        batch_size: images of a batch, of all processes together.
        limit: `trainer.limit_train_batches`.

    Raises:
        InputError: the limit leaves none.
    """
    batches = images // max(1, batch_size)
    if limit is None:
        return batches
    if limit < 1 and int(batches * limit) < 1:
        remedy = "give a larger fraction, or a whole number, e.g. 1"
        raise InputError("trainer.limit_train_batches", limit, f"is none of the {batches} batches of an epoch", remedy)
    return min(batches, int(limit)) if limit >= 1 else int(batches * limit)


class Batches:
    """Batches of uint8 pixels and labels in a given order, or a process's share of each; the last, smaller batch is
    left out (as the authors do).

    Args:
        pixels: (N, H, W, channels).
        labels: (N,), on the pixels' device.
        order: positions of the images, on the pixels' device.
        batch_size: images of a batch, of all processes together.
        share: which part of each is this process's.
        device: where the batches are wanted; where it is not the pixels', they are copied ahead.
    """

    def __init__(
        self,
        pixels: Tensor,
        labels: Tensor,
        order: Tensor,
        batch_size: int,
        share: Share = WHOLE,
        device: torch.device | None = None,
    ) -> None:
        self.pixels, self.labels, self.order, self.batch_size = pixels, labels, order, batch_size
        self.share, self.device = share, device or pixels.device

    def __len__(self) -> int:
        return self.order.numel() // self.batch_size

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        own = map(self.share.of, self.order[: len(self) * self.batch_size].split(self.batch_size))
        if self.device != self.pixels.device:
            return ahead(self.pixels, self.labels, own, self.device)
        return ((gathered(self.pixels, chosen), self.labels[chosen]) for chosen in own)


class ImageDataModule(L.LightningDataModule):
    """Training batches of a data set. The order and the augmentation of an epoch depend on (seed, epoch) alone, so a
    run that is resumed after any epoch sees what it would have seen, and processes that train together see, each its
    share, what one would.

    Args:
        data: the images; what is held out of them is left out.
        batch_size: images per step, of all processes together.
        crop_padding: pixels of padding before a random crop; 0 for none.
        flip: mirror half of the images.
        seed: the seed of the run.
        memory_format: how the pixels of a batch lie in memory; `torch.channels_last` costs no copy.

    Raises:
        InputError: the batch size is below 1 or above the number of training images.
    """

    def __init__(
        self,
        data: ImageData,
        *,
        batch_size: int,
        crop_padding: int,
        flip: bool,
        seed: int,
        memory_format: torch.memory_format = torch.channels_last,
    ) -> None:
        super().__init__()
        self.trained_on = data.trained_on
        count = self.trained_on.numel()
        if not 1 <= batch_size <= count:
            problem, remedy = f"there are {count} training images", f"give 1 to {count}, e.g. 64"
            raise InputError("optimizer.batch_size", batch_size, problem, remedy)
        self.data, self.batch_size = data, batch_size
        self.crop_padding, self.flip, self.seed, self.memory_format = crop_padding, flip, seed, memory_format

    def setup(self, stage: str) -> None:
        """Puts the training images on the device, once, if they fit there: 154 MB for CIFAR-10."""
        assert self.trainer is not None
        device, pixels = self.trainer.strategy.root_device, self.data.train_pixels
        if not fits(pixels, device):
            device = pixels.device
        self.pixels, self.labels = placed(pixels, device), self.data.train_labels.to(device)
        self.share = Share(self.trainer.global_rank, self.trainer.world_size)

    def train_dataloader(self) -> Batches:
        """The batches of the current epoch; the trainer asks anew at each (`reload_dataloaders_every_n_epochs=1`)."""
        assert self.trainer is not None
        epoch, device = self.trainer.current_epoch, self.trainer.strategy.root_device
        self.augmentation = generator(self.seed, f"augmentation of epoch {epoch}", device=device)
        drawn = torch.randperm(self.trained_on.numel(), generator=generator(self.seed, f"order of epoch {epoch}"))
        order = self.trained_on[drawn]
        return Batches(self.pixels, self.labels, order.to(self.pixels.device), self.batch_size, self.share, device)

    def on_after_batch_transfer(self, batch: tuple[Tensor, Tensor], dataloader_idx: int) -> tuple[Tensor, Tensor]:
        """uint8 (B, H, W, channels) on the device to augmented, normalised (B, channels, H, W)."""
        pixels, labels = batch
        if self.crop_padding or self.flip:
            pixels = augment(pixels, self.crop_padding, self.flip, self.augmentation, self.share)
        assert self.trainer is not None
        images = normalise(pixels, self.data.mean, self.data.std).contiguous(memory_format=self.memory_format)
        converted: Tensor = self.trainer.precision_plugin.convert_input(images)
        return converted, labels
