"""Files of pictures: which names are taken for one, and how one becomes pixels of eight bits. All are opened here."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image

from ipr.errors import InputError

READER = 2
"""Of which making the reader is: to be raised when it makes other pixels of the same file, so that what was decoded
before is decoded again."""

FORMATS = ("AVIF", "BMP", "DIB", "GIF", "JPEG", "JPEG2000", "MPO", "PNG", "PPM", "TIFF", "WEBP")
"""What is read, told by a file's first bytes and not by its name; no others: for EPS, Pillow starts a program."""

ENDINGS = frozenset((
    ".apng", ".avif", ".bmp", ".dib", ".gif", ".j2k", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg", ".pbm", ".pgm", ".png",
    ".pnm", ".ppm", ".tif", ".tiff", ".webp",
))  # fmt: skip
"""How the names of such files end, in small letters."""

TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF's orientation -> what makes a picture upright (EXIF 2.3, tag 0x0112)."""

PASSED_OVER = frozenset((
    "__macosx", "__pycache__", "@eadir", "lost+found", "thumbs.db", "ehthumbs.db", "desktop.ini", "$recycle.bin",
    "system volume information",
))  # fmt: skip
"""What systems and programs leave in folders of their own accord, beside what is hidden; in small letters."""


def passed_over(name: str) -> bool:
    """Whether a file or folder of this name is none that a person has put there."""
    return name.startswith(".") or name.casefold() in PASSED_OVER


def ending(name: str) -> str:
    """How a name ends, from the last dot on and in small letters; "" where it has no ending."""
    _, dot, end = name.rpartition(".")
    return f".{end}".lower() if dot else ""


def may_be_picture(name: str) -> bool:
    """Whether a file of this name is taken for a picture: by its ending, or because it has none."""
    return (end := ending(name)) in ENDINGS or not end


def read_picture(path: Path, field: str, mode: str = "RGB", *, as_stored: bool = False) -> Image.Image:
    """A picture, upright and of eight bits a channel.

    Of several pictures in one file (animations, pages) the first is read. A picture is turned as its EXIF says. What
    is transparent lies on white. 16 bits are rounded to 8; floating-point numbers are fractions of white.

    Args:
        path: the file.
        field: the setting that is blamed in an error.
        mode: `RGB`, or `L` for grey.
        as_stored: whether it is read as `torchvision.datasets.ImageFolder` does: Pillow makes `mode` of it, and neither
            EXIF nor transparency are looked at.

    Raises:
        InputError: it is no picture that can be read, or numbers that do not say what is white.
    """
    try:
        if not path.is_file():  # a pipe would be waited for
            raise OSError("no regular file")
        with Image.open(path, formats=_formats()) as image:
            kind = image.format
            if as_stored:
                return image.convert(mode)
            return _opaque(_of_eight_bits(_upright(image), kind)).convert(mode)
    except _NoWhiteError as error:
        remedy = "save it with 8 or 16 bits, or as fractions between 0 and 1"
        raise InputError(field, path, str(error), remedy) from error
    except Exception as error:  # Pillow's readers raise whatever a broken file leads them to
        raise InputError(field, path, "is not an image that can be read", "mend or remove the file") from error


class _NoWhiteError(ValueError):
    """What its numbers mean cannot be told."""


@cache
def _formats() -> tuple[str, ...]:
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)  # AVIF is not in every Pillow


def _upright(image: Image.Image) -> Image.Image:
    image.load()
    try:
        turn = TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # noqa: BLE001 (the picture is whole; what is written beside it is not)
        turn = None
    return image if turn is None else image.transpose(turn)


def _of_eight_bits(image: Image.Image, kind: str | None) -> Image.Image:
    """Integers and floating-point numbers as bytes, which Pillow would cut off at 255; any other picture as it is."""
    if image.mode.startswith("I;16") or (image.mode == "I" and kind in ("PNG", "PPM")):
        return Image.fromarray(np.rint(np.asarray(image) / 257).astype(np.uint8))
    if image.mode == "F":
        values = np.asarray(image)
        if not ((values >= 0) & (values <= 1)).all():
            raise _NoWhiteError(f"holds floating-point numbers from {values.min():g} to {values.max():g}")
        return Image.fromarray(np.rint(values * 255).astype(np.uint8))
    if image.mode == "I":
        raise _NoWhiteError("holds integers of 32 bits, or signed ones, and nothing says which of them is white")
    return image


def _opaque(image: Image.Image) -> Image.Image:
    if not image.has_transparency_data:
        return image
    ground = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(ground, image.convert("RGBA"))
