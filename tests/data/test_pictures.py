import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from ipr.data.folders import Listing, find_images
from ipr.data.image_folder import read_image_folder
from ipr.data.pictures import read_picture
from ipr.data.trigger_sets import folder_trigger_set
from ipr.errors import InputError

RAMP = np.linspace(0, 65535, 64).reshape(8, 8).astype(np.uint16)
"""A picture of 16 bits from black to white."""

COLOUR = np.random.default_rng(0).integers(0, 256, (6, 4, 3), dtype=np.uint8)
"""A picture that is higher than wide, and has no symmetry."""


def read(path, mode="RGB"):
    return np.asarray(read_picture(path, "dataset.root", mode))


def png_of_16_bits(values):
    """Written by hand: Pillow writes no colours of 16 bits."""
    kind = {1: 0, 2: 4, 3: 2, 4: 6}[values.shape[2]]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    head = struct.pack(">IIBBBBB", values.shape[1], values.shape[0], 16, kind, 0, 0, 0)
    parts = ((b"IHDR", head), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in parts
    )


def portable_map(values, highest):
    return b"P5 8 8 %d\n" % highest + values.astype(">u2").tobytes()


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("plain.png", lambda p: Image.fromarray(RAMP).save(p)),
        ("plain.tif", lambda p: Image.fromarray(RAMP).save(p)),
        ("big.tif", lambda p: Image.frombytes("I;16B", (8, 8), RAMP.astype(">u2").tobytes()).save(p)),
        ("plain.pgm", lambda p: p.write_bytes(portable_map(RAMP, 65535))),
        ("twelve.pgm", lambda p: p.write_bytes(portable_map(RAMP // 16, 4095))),
        ("grey.png", lambda p: p.write_bytes(png_of_16_bits(RAMP[..., None]))),
        ("opaque.png", lambda p: p.write_bytes(png_of_16_bits(np.stack([RAMP, np.full_like(RAMP, 65535)], 2)))),
        ("rgb.png", lambda p: p.write_bytes(png_of_16_bits(np.stack([RAMP] * 3, 2)))),
        ("float.tif", lambda p: Image.fromarray((RAMP / 65535).astype(np.float32)).save(p)),
        ("float.tiff", lambda p: Image.fromarray((RAMP / 65535).astype(np.float32)).save(p, compression="tiff_lzw")),
    ],
)
def test_more_than_eight_bits_become_eight(name, write, tmp_path):
    write(tmp_path / name)
    for mode in ("RGB", "L"):
        got = read(tmp_path / name, mode).astype(int)
        assert np.abs(got.reshape(8, 8, -1) - RAMP[..., None] / 257).max() <= 1
        assert (got.min(), got.max()) == (0, 255)


@pytest.mark.parametrize(
    "values",
    [
        RAMP.astype(np.int32), -RAMP.astype(np.int32), RAMP.astype(np.float32), np.full((8, 8), np.nan, np.float32),
        np.full((8, 8), np.inf, np.float32), np.full((8, 8), -0.1, np.float32),
    ],
)  # fmt: skip
def test_numbers_that_do_not_say_what_is_white_are_refused(values, tmp_path):
    Image.fromarray(values).save(tmp_path / "1.tif")
    words = r"dataset\.root=.*1\.tif: holds (integers|floating-point numbers).*; save it with 8 or 16 bits"
    with pytest.raises(InputError, match=words):
        read(tmp_path / "1.tif")


ORIENTED = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
    8: lambda a: np.rot90(a),
}
"""EXIF's orientation -> how what is stored is to be shown (EXIF 2.3: where row 0 and column 0 are)."""


@pytest.mark.parametrize("kind", ["png", "webp", "tif"])
@pytest.mark.parametrize("orientation", ORIENTED)
def test_a_picture_is_turned_as_its_exif_says(orientation, kind, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if kind == "webp" else {}
    Image.fromarray(COLOUR).save(tmp_path / f"1.{kind}", exif=exif, **options)
    assert np.array_equal(read(tmp_path / f"1.{kind}"), ORIENTED[orientation](COLOUR))


def test_grey_of_16_bits_and_palettes_are_turned_too(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(RAMP).save(tmp_path / "1.png", exif=exif)
    assert np.array_equal(read(tmp_path / "1.png", "L"), np.rot90(np.rint(RAMP / 257).astype(np.uint8), -1))
    Image.fromarray(COLOUR[..., 0]).convert("P").save(tmp_path / "2.png", exif=exif)
    assert np.array_equal(read(tmp_path / "2.png", "L"), np.rot90(COLOUR[..., 0], -1))


def test_a_picture_with_broken_exif_is_read_as_it_is(tmp_path):
    Image.fromarray(COLOUR).save(tmp_path / "1.png", exif=b"Exif\0\0of no use")
    assert np.array_equal(read(tmp_path / "1.png"), COLOUR)


def test_both_readers_of_folders_turn_pictures(tmp_path):
    """Data sets and trigger sets: stored lying, meant standing."""
    exif = Image.Exif()
    exif[0x0112] = 6
    square = np.ascontiguousarray(COLOUR[:4])
    for number, label in enumerate(("cat", "dog"), 1):
        for part in ("train", "test"):
            (tmp_path / part / label).mkdir(parents=True)
            Image.fromarray(square).save(tmp_path / part / label / "1.png", exif=exif)
        Image.fromarray(square).save(tmp_path / f"{number}.png", exif=exif)
    (tmp_path / "labels.txt").write_text("0\n1\n")
    wanted = np.rot90(square, -1)
    assert np.array_equal(next(read_image_folder(find_images(tmp_path, Listing()), 4).train.blocks())[0], wanted)
    assert np.array_equal(folder_trigger_set(str(tmp_path), 4, 3, 2).pixels[1].numpy(), wanted)


def _glyph(mode):
    """A black glyph on nothing: without its transparency it is all black."""
    alpha = np.zeros((8, 8), np.uint8)
    alpha[2:6, 3:5] = 255
    black = np.zeros((8, 8), np.uint8)
    planes = {"LA": [black, alpha], "RGBA": [black, black, black, alpha]}[mode]
    return Image.fromarray(np.stack(planes, 2))


@pytest.mark.parametrize("mode", ["LA", "RGBA"])
def test_what_is_transparent_lies_on_white(mode, tmp_path):
    _glyph(mode).save(tmp_path / "1.png")
    wanted = np.full((8, 8), 255)
    wanted[2:6, 3:5] = 0
    assert np.array_equal(read(tmp_path / "1.png", "L"), wanted)
    half = Image.fromarray(np.full((8, 8, 4), (100, 100, 100, 51), np.uint8))
    half.save(tmp_path / "2.png")
    assert np.abs(read(tmp_path / "2.png").astype(int) - (0.2 * 100 + 0.8 * 255)).max() <= 1


def test_a_transparent_colour_of_a_palette_or_of_colours_lies_on_white(tmp_path):
    painted = Image.new("P", (8, 8), 0)
    painted.putpalette([0, 0, 0, 10, 20, 30])
    painted.paste(1, (2, 2, 6, 6))
    painted.save(tmp_path / "1.png", transparency=0)
    painted.save(tmp_path / "2.gif", transparency=0)
    painted.convert("RGB").save(tmp_path / "3.png", transparency=(0, 0, 0))
    for path in tmp_path.iterdir():
        got = read(path)
        assert got[0, 0].tolist() == [255, 255, 255]
        assert got[3, 3].tolist() == [10, 20, 30]


def test_opaque_pictures_keep_every_pixel(tmp_path):
    whole = Image.fromarray(COLOUR)
    whole.save(tmp_path / "1.png")
    whole.convert("RGBA").save(tmp_path / "2.png")
    whole.convert("RGB").save(tmp_path / "3.ppm")
    whole.save(tmp_path / "4.BMP")
    for path in tmp_path.iterdir():
        assert np.array_equal(read(path), COLOUR)
    for mode in ("1", "L", "P"):
        whole.convert(mode).save(tmp_path / "5.png")
        assert np.array_equal(read(tmp_path / "5.png"), np.asarray(whole.convert(mode).convert("RGB")))
    Image.new("CMYK", (8, 8), (0, 255, 255, 0)).save(tmp_path / "6.jpg")
    assert np.abs(read(tmp_path / "6.jpg")[4, 4].astype(int) - (255, 0, 0)).max() <= 3


def test_the_first_of_several_pictures_is_read(tmp_path):
    red, blue = Image.new("RGB", (8, 8), "red"), Image.new("RGB", (8, 8), "blue")
    for name in ("1.gif", "2.png", "3.webp", "4.tif"):
        red.save(tmp_path / name, save_all=True, append_images=[blue])
        assert np.abs(read(tmp_path / name)[0, 0].astype(int) - (255, 0, 0)).max() <= 2


def _truncated(path):
    Image.fromarray(COLOUR).resize((90, 90)).save(path, "PNG")
    path.write_bytes(path.read_bytes()[:-60])


def _torn_chunk(path):
    Image.fromarray(COLOUR).save(path, "PNG")
    content = bytearray(path.read_bytes())
    content[37:41] = b"\xff\xff\xff\xff"
    path.write_bytes(content)


@pytest.mark.parametrize(
    "spoil",
    [
        _truncated,
        _torn_chunk,
        lambda p: p.write_bytes(b""),
        lambda p: p.write_bytes(b"not a picture"),
        lambda p: p.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\n"),
        lambda p: p.symlink_to("nowhere"),
        lambda p: p.mkdir(),
    ],
)
def test_what_is_no_whole_picture_is_refused_in_a_line(spoil, tmp_path):
    spoil(tmp_path / "1.png")
    with pytest.raises(InputError, match=r"1\.png: is not an image that can be read; mend or remove") as error:
        read(tmp_path / "1.png")
    assert "\n" not in str(error.value)
