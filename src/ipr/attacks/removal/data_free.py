"""Data-free extraction (DFAD, Fang et al. 2019): a student learns the answers to images that are made up."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from rich.progress import track
from torch import Tensor, nn
from torch.nn import functional

from ipr.attacks.base import CLAIMED, Attacked, Fit, Victim
from ipr.attacks.students import CLIP_NORM, StudentAttack, falling, teacher_of
from ipr.config.registry import register
from ipr.data.images import ImageData
from ipr.randomness import derive_seed, drawing, generator
from ipr.terminal.console import Console

NOISE = 64
"""Numbers that an image is made from."""

CHANNELS = 64
"""Of the generator's maps."""

STUDENT_STEPS = 5
"""Of a round, against one of the generator (DFAD)."""


class ImageGenerator(nn.Module):
    """Noise (B, `NOISE`) -> normalised images (B, channels, H, H): two steps of doubling, each with a convolution.

    Its last norm gives every channel mean 0 and deviation 1, as normalised images have: no image of the task is needed.

    Args:
        size: H, pixels.
        channels: of an image.
    """

    def __init__(self, size: int, channels: int) -> None:
        super().__init__()
        self.size, self.start = size, math.ceil(size / 4)
        self.spread = nn.Linear(NOISE, CHANNELS * self.start**2)
        self.maps = nn.Sequential(
            nn.BatchNorm2d(CHANNELS),
            nn.Upsample(scale_factor=2),
            nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1),
            nn.BatchNorm2d(CHANNELS),
            nn.LeakyReLU(0.2),
            nn.Upsample(scale_factor=2),
            nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1),
            nn.BatchNorm2d(CHANNELS),
            nn.LeakyReLU(0.2),
            nn.Conv2d(CHANNELS, channels, 3, padding=1),
            nn.BatchNorm2d(channels, affine=False),
        )

    def forward(self, noise: Tensor) -> Tensor:
        """See the class."""
        maps: Tensor = self.maps(self.spread(noise).unflatten(1, (CHANNELS, self.start, self.start)))
        return maps[..., : self.size, : self.size]


def disagreement(student: Tensor, teacher: Tensor) -> Tensor:
    """The mean absolute difference of two networks' logits, (B, classes) each."""
    return functional.l1_loss(student, teacher)


@register("data_free")
@dataclass
class DataFree(StudentAttack):
    """A new network learns to agree with the network in use on images of a generator, which looks for disagreement.

    As in DFAD the generator climbs by the gradient of both networks, so the victim's weights are used, and no image: a
    round is five steps of the student (SGD, rates as in `distill`) and one of the generator (Adam, 0.001), on the mean
    absolute difference of logits. The generator is smaller than the authors' (64 channels), batches and rounds fewer.
    Only answers are learned: no passport, no signature and no projection survives.
    """

    kind = "removal"
    section = "not in the paper"
    attacker_has = "the network in use (for V1 with the distributed passport); no image"
    families = CLAIMED

    rounds: int = 1000  # of five steps of the student and one of the generator
    batch_size: int = 64  # made-up images of a step
    lr: float = 0.1  # learning rate of the student at the start, SGD
    weight_decay: float = 5e-4  # of SGD

    def check(self, scheme: str) -> None:
        """See `Attack.check`."""
        super().check(scheme)
        self.require(self.batch_size > 1, "batch_size", "give 2 or more, e.g. 64")

    def run(self, victim: Victim, data: ImageData, fit: Fit, seed: int) -> Iterator[Attacked]:
        """See `Attack.run`."""
        student, teacher = self.begun(victim, data, seed), teacher_of(victim, data).eval()
        where = next(student.parameters()).device
        with drawing(derive_seed(seed, "generator of images")):
            maker = ImageGenerator(data.image_size, data.channels).to(where)
        source = generator(seed, "noise of images")

        def noise() -> Tensor:
            return torch.randn(self.batch_size, NOISE, generator=source).to(where)

        recipe = falling(self.lr, self.weight_decay)
        learning = torch.optim.SGD(student.parameters(), self.lr, momentum=0.9, weight_decay=self.weight_decay)
        making = torch.optim.Adam(maker.parameters(), 1e-3)
        for done in track(range(self.rounds), "extracting", console=Console(stderr=True), transient=True):
            learning.param_groups[0]["lr"] = self.lr * recipe.rate_factor(done / self.rounds)
            for _ in range(STUDENT_STEPS):
                with torch.no_grad():
                    images = maker(noise())
                    answers = teacher(images)
                learning.zero_grad()
                disagreement(student(images), answers).backward()
                nn.utils.clip_grad_norm_(student.parameters(), CLIP_NORM)
                learning.step()
            images = maker(noise())
            making.zero_grad()
            (-disagreement(student(images), teacher(images))).backward()
            making.step()
        yield Attacked(student, {"": victim.claim}, iterations=self.rounds)
