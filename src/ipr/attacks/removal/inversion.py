"""What makes a network answer with a class: a patch on any image (Wang et al., S&P 2019), or an image by itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional

from ipr.data.images import ImageData, extremes
from ipr.models.inspection import device_of, frozen, logits_of

BATCH = 32
"""Images of a step."""

AT_ONCE = 500
"""Images that are inverted together."""

RATE = 0.1
"""Adam's learning rate, of numbers that a sigmoid makes pixels of."""

MOMENTS = (0.5, 0.9)
"""Adam's decays, as the authors of Neural Cleanse have them."""

WORKS = 0.75
"""The share of images that a patch must turn, so that its size says something."""

CONSISTENT = 1.4826
"""The standard deviation of a normal distribution in units of its median absolute deviation."""


@dataclass(frozen=True)
class Patch:
    """What turns images to a class: (1 - mask) x + mask * pattern.

    Attributes:
        mask: (H, W), from 0 to 1, in steps of 1 / 255.
        pattern: (C, H, W), pixels in such steps, normalised as the images are.
        works: the share of images that it turned in the last step.
        losses: before every step, (steps,).
    """

    mask: Tensor
    pattern: Tensor
    works: float
    losses: Tensor

    @property
    def size(self) -> float:
        """The sum of the mask, in pixels."""
        return float(self.mask.sum())

    def on(self, x: Tensor) -> Tensor:
        """Images (B, C, H, W), normalised, with the patch."""
        return (1 - self.mask) * x + self.mask * self.pattern


def inverted_patch(
    network: nn.Module, x: Tensor, data: ImageData, label: int, *, penalty: float, steps: int, source: Generator
) -> Patch:
    """The smallest patch that makes a network answer with a class: cross-entropy + penalty * |mask|_1, by Adam.

    Args:
        network: asked in evaluation mode; left as it was.
        x: images, (N, C, H, W), normalised; they take turns, `BATCH` in a step.
        data: gives the normalisation.
        label: the class.
        penalty: lambda, 0 or more.
        steps: of Adam, at least 1.
        source: draws the start.
    """
    black, white = (value.to(x) for value in extremes(data.mean, data.std))
    start = torch.randn((x.shape[1] + 1, *x.shape[2:]), generator=source).to(x).requires_grad_()
    optimizer, batches = torch.optim.Adam([start], RATE, MOMENTS), x.split(BATCH)
    losses, works = [], x.new_zeros(())
    with frozen(network), torch.enable_grad():
        for step in range(steps):
            mask, pattern = start[0].sigmoid(), black + (white - black) * start[1:].sigmoid()
            batch = batches[step % len(batches)]
            logits = logits_of(network, (1 - mask) * batch + mask * pattern)
            wanted = torch.full((batch.shape[0],), label, device=x.device)
            loss = functional.cross_entropy(logits, wanted) + penalty * mask.sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.detach())
            works = (logits.detach().argmax(1) == wanted).float().mean()
    found = (255 * start.detach().sigmoid()).round() / 255
    return Patch(found[0], black + (white - black) * found[1:], float(works), torch.stack(losses).cpu())


def anomalous(patches: Sequence[Patch], least: float) -> list[int]:
    """The classes whose patch is smaller than others' by at least so many deviations (MAD); the smallest one of all
    where there is none. Patches that do not turn images (`WORKS`) are passed over, unless none does.

    Args:
        patches: one for each class.
        least: how many deviations below the median, in standard deviations of a normal distribution.
    """
    candidates = [n for n, patch in enumerate(patches) if patch.works >= WORKS] or [*range(len(patches))]
    sizes = torch.tensor([patches[n].size for n in candidates], dtype=torch.float64)
    below = sizes.quantile(0.5) - sizes
    deviation = CONSISTENT * below.abs().quantile(0.5)
    found = [n for n, far in zip(candidates, below, strict=True) if far > 0 and far >= least * deviation]
    return found if deviation > 0 and found else [candidates[int(sizes.argmin())]]


def inverted_images(network: nn.Module, labels: Tensor, data: ImageData, *, steps: int, source: Generator) -> Tensor:
    """Images that a network answers with given classes, from noise, by Adam on the cross-entropy alone.

    Args:
        network: asked in evaluation mode; left as it was.
        labels: the class of each, (N,).
        data: gives the size of images and their normalisation.
        steps: of Adam, at least 1.
        source: draws the noise.

    Returns:
        uint8, (N, H, W, channels), on the CPU.
    """
    device, found = device_of(network), []
    black, white = (value.to(device) for value in extremes(data.mean, data.std))
    for wanted in labels.to(device).split(AT_ONCE):
        shape = (wanted.numel(), data.channels, data.image_size, data.image_size)
        start = torch.randn(shape, generator=source).to(device).requires_grad_()
        optimizer = torch.optim.Adam([start], RATE, MOMENTS)
        with frozen(network), torch.enable_grad():
            for _ in range(steps):
                logits = logits_of(network, black + (white - black) * start.sigmoid())
                optimizer.zero_grad()
                functional.cross_entropy(logits, wanted, reduction="sum").backward()
                optimizer.step()
        found.append((255 * start.detach().sigmoid()).round().to(torch.uint8).permute(0, 2, 3, 1).cpu())
    return torch.cat(found)
