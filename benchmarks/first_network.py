"""How long does somebody need from a bare machine to a verdict on his own network? The README's fifteen lines, timed.

    python benchmarks/first_network.py FOLDER

FOLDER holds `train/<class>/<image>` and `test/<class>/<image>`, e.g. a part of CIFAR-10. First, and not timed, it makes
what such a person has: `photos`, up to 200 training and 60 test pictures of the first five classes, and `mine.pt`,
torchvision's ResNet-18 trained on them for 8 epochs. Then, in a temporary folder: this repository is cloned, a virtual
environment made, the package installed with nothing cached, the README's lines run as they stand there, and the network
verified. The last lines are a table in Markdown: steps and seconds. Needs git and a package index.
"""

from __future__ import annotations

import re
import secrets
import shutil
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from torch.nn import functional
from torch.utils.data import DataLoader
from torchvision import datasets, models
from torchvision import transforms as T

ROOT = Path(__file__).parents[1]
CLASSES, TRAINED, TESTED, EPOCHS = 5, 200, 60, 8
EYES = T.Compose(
    [T.Resize(72), T.CenterCrop(64), T.ToTensor(), T.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))]
)
"""As in the README."""


def make_photos(source: Path, place: Path) -> None:
    """The first pictures of the first classes."""
    for part, count in (("train", TRAINED), ("test", TESTED)):
        for folder in sorted(path for path in (source / part).iterdir() if path.is_dir())[:CLASSES]:
            (place / part / folder.name).mkdir(parents=True)
            for picture in sorted(folder.iterdir())[:count]:
                shutil.copy(picture, place / part / folder.name)


def train_mine(photos: Path, file: Path) -> float:
    """Trains the network that is there already; returns its test accuracy, a fraction."""
    torch.manual_seed(0)
    train, test = (datasets.ImageFolder(str(photos / part), EYES) for part in ("train", "test"))
    network = models.resnet18(num_classes=len(train.classes))
    optimizer = torch.optim.SGD(network.parameters(), 0.05, 0.9, weight_decay=5e-4)
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.7)
    for _ in range(EPOCHS):
        for x, y in DataLoader(train, 64, shuffle=True):
            optimizer.zero_grad()
            functional.cross_entropy(network(x), y).backward()
            optimizer.step()
        schedule.step()
    torch.save(network.state_dict(), file)
    network.eval()
    with torch.no_grad():
        right = sum(int((network(x).argmax(1) == y).sum()) for x, y in DataLoader(test, 64))
    return right / len(test)


def lines_of_readme() -> str:
    """The program under "Protect your own network"."""
    (found,) = re.findall(r"```python\n(import torch, .*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    return str(found)


def main(source: Path) -> None:
    """Makes what is there already, then times each step."""
    with TemporaryDirectory() as layer:
        place = Path(layer)
        make_photos(source, place / "photos")
        print(f"mine.pt: {100 * train_mine(place / 'photos', place / 'mine.pt'):.1f} %", flush=True)
        (place / "protect.py").write_text(lines_of_readme())
        (place / "secret.key").write_text(secrets.token_hex(32))
        (place / "secret.key").chmod(0o600)
        claim = ["suspect=mine/public.safetensors", "claim=mine/claim", "images=photos", "rule=paper"]
        steps = {
            "clone": ["git", "clone", "--quiet", str(ROOT), "ipr"],
            "environment": [sys.executable, "-m", "venv", "venv"],
            "`pip install ./ipr`": ["venv/bin/pip", "install", "--quiet", "--no-cache-dir", "./ipr"],
            "the README's lines": ["venv/bin/python", "protect.py"],
            "`ipr verify`": ["venv/bin/ipr", "verify", *claim],
        }
        taken = {}
        for step, command in steps.items():
            began = time.perf_counter()
            subprocess.run(command, cwd=place, check=True)
            taken[step] = time.perf_counter() - began
    print("\n| step | seconds |\n|---|---|")
    for step, seconds in [*taken.items(), ("together", sum(taken.values()))]:
        print(f"| {step} | {seconds:.0f} |")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
