"""A folder of pictures of classes, as a data set of one's own lies on a disk."""

from __future__ import annotations

from pathlib import Path

from PIL import Image


def folder_of_images(place: Path, *, classes: int = 10, train: int = 8, test: int = 2) -> None:
    """Writes <place>/train/<class>/<image> and <place>/test/...: as many of each class, 32 x 32 pixels, plain."""
    for split, count in (("train", train), ("test", test)):
        for label in range(classes):
            folder = place / split / str(label)
            folder.mkdir(parents=True)
            for number in range(count):
                colour = (250 // classes * label, 240 // max(train, test) * number, 0)
                Image.new("RGB", (32, 32), colour).save(folder / f"{number}.png")
