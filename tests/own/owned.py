"""What an owner has before ipr comes in: a folder of pictures, a transform, and a network trained by hand."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import torch
from PIL import Image
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import ImageFolder

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
ENDS = [transforms.ToTensor(), transforms.Normalize(MEAN, STD)]
FOR_TESTS = transforms.Compose([transforms.Resize(18), transforms.CenterCrop(16), *ENDS])
FOR_TRAINING = transforms.Compose([transforms.Resize(18), transforms.RandomCrop(16), *ENDS])


def pictures(folder: Path) -> Path:
    """Handwritten digits as <folder>/train/<class>/<image> and <folder>/test/..., two thirds and a third."""
    digits = load_digits()
    for number, (image, label) in enumerate(zip(digits.images, digits.target, strict=True)):
        place = folder / ("test" if number % 3 == 0 else "train") / f"digit {label}"
        place.mkdir(parents=True, exist_ok=True)
        grey = Image.fromarray((image * 15.9).astype("uint8")).resize((20, 20), Image.Resampling.BICUBIC)
        grey.convert("RGB").save(place / f"{number}.png")
    return folder


def loaders(folder: Path) -> tuple[DataLoader, DataLoader]:
    """To train on, and to judge on, through transforms that ipr has never seen."""
    train, test = ImageFolder(folder / "train", FOR_TRAINING), ImageFolder(folder / "test", FOR_TESTS)
    return DataLoader(train, 64, shuffle=True, drop_last=True), DataLoader(test, 100)


def network() -> nn.Module:
    """A network that no judge knows by name."""
    widths = (3, 16, 32, 64, 64)
    layers: list[nn.Module] = []
    for one, next_ in pairwise(widths):
        layers += [nn.Conv2d(one, next_, 3, padding=1, bias=False), nn.BatchNorm2d(next_), nn.ReLU(), nn.MaxPool2d(2)]
    return nn.Sequential(*layers[:-1], nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(widths[-1], 10))


def train(model: nn.Module, loader: DataLoader, epochs: int) -> nn.Module:
    """By hand, as anybody would."""
    optimizer = torch.optim.SGD(model.parameters(), 0.05, momentum=0.9)
    for _ in range(epochs):
        model.train()
        for x, y in loader:
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x), y).backward()
            optimizer.step()
    return model.eval()


def right(model: nn.Module, loader: DataLoader) -> float:
    """The share of images that are answered as labelled, counted by hand."""
    with torch.no_grad():
        answers = [(model.eval()(x).argmax(1) == y) for x, y in loader]
    return float(torch.cat(answers).float().mean())
