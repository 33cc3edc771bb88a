"""The memory that images take while they are decoded, opened, trained on and judged on, beside their bytes.

    python benchmarks/memory.py

Makes a folder of small pictures in a temporary place, and has a process of its own do each of these. What counts is
memory that the system cannot take back (`RssAnon` of /proc, every 5 ms): that of mapped files it can. Linux only.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image

STAGES = ("decoded", "opened", "checked by a judge", "three steps of training, judged")


def pictures(root: Path, count: int) -> Path:
    """A folder of `count` training and `count` / 10 test images in two classes: ten files of noise, by many names."""
    noise = np.random.default_rng(0)
    root.mkdir(parents=True)
    files = [root / f".{number}.bmp" for number in range(10)]
    for path in files:
        Image.fromarray(noise.integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(path)
    for part, images in (("train", count), ("test", count // 10)):
        for number in range(images):
            place = root / "images" / part / f"class {number % 2}" / f"{number}.bmp"
            place.parent.mkdir(parents=True, exist_ok=True)
            os.link(files[number % 10], place)
    return root / "images"


def anonymous() -> int:
    """Bytes of this process that lie in no file."""
    status = Path("/proc/self/status").read_text()
    return 1024 * int(status.split("RssAnon:")[1].split()[0])


@contextmanager
def peak() -> Iterator[Callable[[], int]]:
    """Inside, the most memory that is taken beyond what is taken at the beginning."""
    before, seen = anonymous(), [0]
    reading, ended = threading.Lock(), threading.Event()

    def most() -> int:
        with reading:
            seen[0] = max(seen[0], anonymous() - before)
            return seen[0]

    def watch() -> None:
        while not ended.wait(0.005):
            most()

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield most
    finally:
        ended.set()
        watcher.join()


def work(stage: str, images: Path, size: int, more: Sequence[str] = ()) -> None:
    """One of the stages; a training with more arguments."""
    from ipr.data.cache import load_images
    from ipr.data.sources import DatasetRequest

    place = images.parent
    if stage == STAGES[3]:
        from ipr.cli import main

        training = ["scheme=passport_v1", "passport=random", "model.width=0.1", "optimizer.batch_size=4"]
        dataset = ["dataset=image_folder", f"dataset.root={images}", f"dataset.image_size={size}"]
        short = ["trainer.limit_train_batches=3", "trainer.max_epochs=1", "verification.forged=1", "logger=csv"]
        where = [f"paths.cache={place / 'cache'}", f"paths.runs={place / 'runs'}", "trainer.accelerator=cpu"]
        try:
            main(["train", *training, *dataset, *short, *where, "dataset.limit_test=8", *more])
        except SystemExit as ended:
            if ended.code not in (0, 1):  # 1: so short a training embeds no passport
                raise
        return
    request = DatasetRequest("image_folder", str(images), size, download=False, data_folder=place)
    load_images(request, place / "cache", checked=stage == STAGES[2])


def main() -> None:
    """Prints a line for each stage."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=5000, help="training images; default 5000")
    parser.add_argument("--size", type=int, default=224, help="their edge in pixels; default 224")
    parser.add_argument("--stage", help="what the process of a stage is called with")
    parser.add_argument("--folder", type=Path, help="likewise")
    asked = parser.parse_args()
    if asked.stage:
        import ipr.data.cache
        import ipr.workflows.train  # noqa: F401 (what libraries take is not counted)

        with peak() as most:
            work(asked.stage, asked.folder, asked.size)
        print(f"PEAK {most()}")
        return
    total = (asked.images + asked.images // 10) * asked.size**2 * 3
    print(f"{total / 2**20:.0f} MiB of pixels\n\n| work | MiB at most | of the pixels |\n|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        images = pictures(Path(folder) / "data", asked.images)
        for stage in STAGES:
            command = [sys.executable, __file__, "--stage", stage, "--folder", str(images), "--size", str(asked.size)]
            ran = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, stderr=subprocess.DEVNULL)
            found = int(ran.stdout.split("PEAK ")[1])
            print(f"| {stage} | {found / 2**20:.0f} | {found / total:.2f} |", flush=True)


if __name__ == "__main__":
    main()
