"""Images a second through crop, flip and normalisation, against torchvision's transforms of PIL images in a DataLoader.

    python benchmarks/inputs.py

Time on the wall, as a DataLoader may have workers: the reference is the faster of none and two.
"""

from __future__ import annotations

import time

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

import measure
from ipr.data.images import augment, normalise
from ipr.data.module import Batches
from measure import Row, take_turns

MEAN, STD = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)


class PilImages(Dataset[tuple[Tensor, int]]):
    """Images as torchvision's CIFAR10 holds them: an array turned into a PIL image whenever one is asked for."""

    def __init__(self, pixels: Tensor, labels: Tensor) -> None:
        self.pixels, self.labels = pixels.numpy(), labels.tolist()
        self.transform = transforms.Compose(
            [
                transforms.RandomCrop(32, padding=4),
                transforms.RandomHorizontalFlip(),
                transforms.ToTensor(),
                transforms.Normalize(MEAN, STD),
            ]
        )

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(Image.fromarray(self.pixels[index])), self.labels[index]


def table_rows(rounds: int, width: float) -> list[Row]:
    """One row."""
    del width  # no network takes part
    count, source = 6400, torch.Generator().manual_seed(6)
    pixels = torch.randint(256, (count, 32, 32, 3), dtype=torch.uint8, generator=source)
    labels = torch.randint(10, (count,), generator=source)

    def ours() -> None:
        order = torch.randperm(count, generator=source)
        for images, _ in Batches(pixels, labels, order, 64):
            normalise(augment(images, 4, True, source), MEAN, STD)

    def theirs(workers: int) -> None:
        for _ in DataLoader(PilImages(pixels, labels), 64, shuffle=True, num_workers=workers, drop_last=True):
            pass

    works = {"ours": ours, "none": lambda: theirs(0), "control": lambda: theirs(0), "two": lambda: theirs(2)}
    seconds = take_turns(works, rounds, clock=time.perf_counter, warm=1)
    best = [min(pair) for pair in zip(seconds["none"], seconds["two"], strict=True)]
    measured = [reference / own for reference, own in zip(best, seconds["ours"], strict=True)]
    control = [a / b for a, b in zip(seconds["control"], seconds["none"], strict=True)]
    return [
        Row("input: images a second / torchvision's DataLoader, time on the wall", 5, measured, control, at_least=True)
    ]


if __name__ == "__main__":
    measure.show(table_rows(*measure.rounds_and_width(__doc__, 7)))
