import itertools
import os
import shutil
import threading
from collections import Counter

import numpy as np
import pytest
import torch
from PIL import Image

from ipr.data.cache import load_images
from ipr.data.content import SETTLED_NS
from ipr.data.opening import open_images
from ipr.data.sources import DatasetRequest
from ipr.errors import InputError
from ipr.workflows.attack import attack

COLOURS = itertools.count(1)


def picture(path, colour=None):
    """A picture of one colour, by default unlike any other."""
    path.parent.mkdir(parents=True, exist_ok=True)
    number = next(COLOURS) * 7919
    Image.new("RGB", (8, 8), colour or (number >> 16 & 255, number >> 8 & 255, number & 255)).save(path)


def fill(root, parts=("train", "test"), classes=("cat", "dog"), count=3, ending="png"):
    for part, label, number in itertools.product(parts, classes, range(count)):
        picture(root / part / label / f"{number}.{ending}")
    return root


@pytest.fixture
def load(tmp_path):
    def loaded(root, cache="cache", name="image_folder"):
        root = None if root is None else str(root)
        request = DatasetRequest(name, root, 8, download=False, data_folder=tmp_path / "data")
        return load_images(request, tmp_path / cache)

    return loaded


def told(capfd):
    return capfd.readouterr().err


@pytest.fixture
def looked_into(monkeypatch):
    """How often each folder was listed."""
    counts = Counter()
    scandir = os.scandir

    def counting(folder):
        counts[str(folder)] += 1
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", counting)
    return counts


@pytest.mark.parametrize("parts", [("train", "test"), ("",)])
def test_a_folder_is_listed_once_and_again_when_it_was_decoded(load, tmp_path, looked_into, parts):
    root = fill(tmp_path / "photos", parts)
    folders = [str(root), *(str(path) for path in root.rglob("*") if path.is_dir())]
    looked_into.clear()
    load(root)
    assert {folder: looked_into[folder] for folder in folders} == dict.fromkeys(folders, 2)
    looked_into.clear()
    load(root)
    assert {folder: looked_into[folder] for folder in folders} == dict.fromkeys(folders, 1)


def test_a_command_lists_a_folder_once(request_for, tmp_path, looked_into):
    """Also where its passport is made with another run, the baseline, and where an attack trains its victim."""
    root = fill(tmp_path / "photos")
    images = (
        "dataset=image_folder",
        f"dataset.root={root}",
        "dataset.limit_train=null",
        "dataset.limit_test=null",
        "optimizer.batch_size=2",
        "trainer.max_epochs=1",
    )
    asked = ("scheme=passport_v1", "passport=shuffled", "passport.images=2", "attack=prune", "attack.rates=[0.5]")
    config = request_for(*images, *asked, command="attack")
    open_images(config.dataset, config.paths)  # decodes them
    folders = [str(root), *(str(path) for path in root.rglob("*") if path.is_dir())]
    looked_into.clear()
    attack(config)
    assert {folder: looked_into[folder] for folder in folders} == dict.fromkeys(folders, 1)


# what is told


def test_classes_and_counts_are_told_once(load, tmp_path, capfd):
    fill(tmp_path / "photos")
    picture(tmp_path / "photos" / "train" / "cat" / "more.png")
    load(tmp_path / "photos")
    first = told(capfd)
    words = "2 classes, 7 training and 6 test images (cat 4 + 3, dog 3 + 3)"
    assert first == f"ipr: {tmp_path / 'photos'}: {words}\n"
    load(tmp_path / "photos")
    assert told(capfd) == ""


def test_many_classes_are_told_in_short_and_what_is_set_aside_too(load, tmp_path, capfd):
    fill(tmp_path / "photos", ("",), [f"c{number:02}" for number in range(30)], 5)
    load(tmp_path / "photos")
    line = told(capfd)
    assert "30 classes, 120 training and 30 test images, a fifth of each class set aside (c00 4 + 1, " in line
    assert "c09 4 + 1, ... each 4 to 4 + 1 to 1)" in line
    assert "c10" not in line


def test_names_cannot_steer_the_terminal(load, tmp_path, capfd):
    fill(tmp_path / "photos", classes=("[red]cat", "\x1b[31m:smile:"))
    load(tmp_path / "photos")
    line = told(capfd)
    assert "[red]cat 3 + 3" in line
    assert "\x1b" not in line
    assert ":smile: 3 + 3" in line


def test_what_is_left_out_is_told(load, tmp_path, capfd):
    root = fill(tmp_path / "photos")
    fill(root, ("val",))
    picture(root / "train" / "loose.png")
    for number in range(2):
        (root / "train" / "cat" / f"{number}.txt").write_text("a cat")
    load(root)
    assert told(capfd).endswith("; left out: val/, .txt (2), pictures in no class (1)\n")


def test_images_in_both_parts_and_in_two_classes_are_told(load, tmp_path, capfd):
    root = fill(tmp_path / "photos")
    shutil.copy(root / "train" / "cat" / "0.png", root / "test" / "cat" / "another name.png")
    shutil.copy(root / "train" / "cat" / "1.png", root / "train" / "dog" / "1.png")
    load(root)
    assert told(capfd).splitlines()[1:] == [
        "ipr: warning: 1 of 7 test images are training images, too",
        "ipr: warning: images that are in another class, too: 1",
    ]


def test_images_in_which_there_is_nothing_to_see_are_told(load, tmp_path, capfd):
    """As eight bits become that somebody has stored as sixteen."""
    for part, label, number in itertools.product(("train", "test"), "ab", range(2)):
        path = tmp_path / part / label / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((8, 8), 60 * number, np.uint16)).save(path)
    load(tmp_path)
    assert "warning: all training images are of one grey, 0 of 255" in told(capfd)


# what is meant


@pytest.mark.parametrize("names", [("Train", "Test"), ("TRAIN", "test"), ("train", "Test")])
def test_parts_are_found_in_any_capitals(names, load, tmp_path):
    data = load(fill(tmp_path / "photos", names))
    assert data.classes == ("cat", "dog")
    assert (data.train_labels.numel(), data.test_labels.numel()) == (6, 6)


@pytest.mark.parametrize("hidden", [".git", ".ipynb_checkpoints", "__MACOSX", "@eaDir", "__pycache__"])
def test_hidden_folders_are_no_classes_and_hold_no_images(hidden, load, tmp_path):
    before = load(fill(tmp_path / "photos"))
    for place in ("", "train", "test", "train/cat"):
        shutil.copytree(tmp_path / "photos" / "train" / "dog", tmp_path / "photos" / place / hidden)
    after = load(tmp_path / "photos")
    assert (after.classes, after.fingerprint) == (("cat", "dog"), before.fingerprint)
    apart = load(fill(tmp_path / "unparted", ("",)))
    shutil.copytree(tmp_path / "unparted" / "cat", tmp_path / "unparted" / hidden)
    assert load(tmp_path / "unparted").fingerprint == apart.fingerprint


@pytest.mark.parametrize("name", [".DS_Store", "Thumbs.db", "desktop.ini", "._0.png", ".hidden.png"])
def test_what_systems_leave_behind_is_no_image(name, load, tmp_path):
    before = load(fill(tmp_path / "photos"))
    (tmp_path / "photos" / "train" / "cat" / name).write_bytes(b"\0")
    (tmp_path / "photos" / "train" / name).write_bytes(b"\0")
    assert load(tmp_path / "photos").fingerprint == before.fingerprint


@pytest.mark.parametrize("ending", ["gif", "GIF", "JPG", "tiff", "bmp", "jfif", "ppm", "webp", "PNG"])
def test_no_image_vanishes_for_its_ending(ending, load, tmp_path):
    root = fill(tmp_path / "photos", count=2)
    for part, label in itertools.product(("train", "test"), ("cat", "dog")):
        picture(root / part / label / f"other.{ending}")
    picture(root / "train" / "cat" / "no ending.png")
    (root / "train" / "cat" / "no ending.png").rename(root / "train" / "cat" / "no ending")
    data = load(root)
    assert (data.train_labels.bincount().tolist(), data.test_labels.bincount().tolist()) == ([4, 3], [3, 3])


def test_classes_may_be_links_and_hold_folders(load, tmp_path):
    root = fill(tmp_path / "photos")
    wanted = load(root)
    (root / "train" / "cat" / "0.png").rename(tmp_path / "0.png")
    (root / "train" / "cat").rename(tmp_path / "elsewhere")
    (root / "train" / "cat").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "more").mkdir()
    (tmp_path / "0.png").rename(tmp_path / "elsewhere" / "more" / "0.png")
    data = load(root)
    assert data.train_labels.tolist() == wanted.train_labels.tolist()
    assert torch.equal(data.train_pixels[2], wanted.train_pixels[0])  # 1.png, 2.png, more/0.png


def test_names_of_parts_are_classes_where_that_is_meant(load, tmp_path):
    """CIFAR-100 has a class train; valid and invalid, or two tests, tell no parts apart."""
    assert load(fill(tmp_path / "hundred", classes=("car", "train"))).classes == ("car", "train")
    assert load(fill(tmp_path / "checked", ("",), ("valid", "invalid"))).classes == ("invalid", "valid")
    assert load(fill(tmp_path / "tests", ("",), ("test_1", "test_2"))).classes == ("test_1", "test_2")


def test_caltech_is_read_like_any_folder(load, tmp_path):
    """And its class of background is none."""
    unpacked = tmp_path / "data" / "caltech101" / "101_ObjectCategories"
    fill(unpacked, ("",), ("BACKGROUND_Google", "airplanes", "yin_yang"), 5, "jpg")
    (unpacked / "BACKGROUND_Google" / "tmp").write_text("")
    first = load(None, name="caltech101")
    assert first.classes == ("airplanes", "yin_yang")
    assert first.train_labels.bincount().tolist() == [4, 4]
    picture(unpacked / "airplanes" / "0.jpg")
    assert load(None, name="caltech101").fingerprint != first.fingerprint


def test_what_is_not_there_leaves_nothing_behind(load, tmp_path):
    with pytest.raises(InputError, match="no images of caltech101"):
        load(None, name="caltech101")
    assert not list(tmp_path.iterdir())


# what is refused


def _one(root):
    shutil.rmtree(root / "train" / "dog")
    shutil.rmtree(root / "test" / "dog")


def _looping(root):
    (root / "train" / "cat" / "again").symlink_to("..")
    (root / "train" / "dog" / "again").symlink_to(".")


def _pipe(root):
    os.mkfifo(root / "train" / "cat" / "pipe.png")


REFUSED = {
    "one class": (_one, "has one class alone, cat"),
    "training, testing": (
        lambda r: [(r / a).rename(r / b) for a, b in (("train", "training"), ("test", "testing"))],
        "testing, training: parts of a data set, not classes; name them train and test",
    ),
    "train2017, val2017": (
        lambda r: [(r / a).rename(r / b) for a, b in (("train", "train2017"), ("test", "val2017"))],
        "train2017, val2017: parts",
    ),
    "classes beside test": (
        lambda r: [p.rename(r / p.name) for p in (r / "train").iterdir()] and (r / "train").rmdir(),
        "test: parts of a data set",
    ),
    "val for test": (lambda r: (r / "test").rename(r / "val"), "no folder test; rename val to test"),
    "Train and train": (lambda r: shutil.copytree(r / "train", r / "Train"), r"several folders train \(Train, train\)"),
    "parts in classes": (
        lambda r: [shutil.copytree(r / p / "cat", r / p / label / p2) for p, label, p2 in
                   (("train", "dog", "train"), ("train", "dog", "test"))],
        "holds parts of a data set",
    ),
    "a class that is empty": (lambda r: (r / "train" / "bird").mkdir(), "no image in bird"),
    "a class without pictures": (
        lambda r: [p.rename(p.with_suffix(".txt")) for p in (r / "train" / "dog").iterdir()], "no image in dog"
    ),
    "other classes": (lambda r: (r / "test" / "dog").rename(r / "test" / "Dog"), r"different classes \(Dog, dog"),
    "no classes": (lambda r: [shutil.rmtree(p) for p in (r / "train").iterdir()], "no folders in it"),
    "photographs": (lambda r: (r / "train" / "cat" / "1.heic").write_bytes(b"?"),
                    r"1\.heic: is of a kind that is not read \(\.heic\); convert or remove it"),
    "vectors": (lambda r: (r / "test" / "cat" / "1.SVG").write_bytes(b"?"), r"1\.SVG: is of a kind that is not read"),
    "arrays": (lambda r: (r / "test" / "cat" / "1.npy").write_bytes(b"?"), r"1\.npy: is of a kind that is not read"),
    "half a download": (lambda r: (r / "test" / "cat" / "1.png.part").write_bytes(b"?"), r"1\.png\.part: is of a kind"),
    "one folder for two": (lambda r: (r / "train" / "wolf").symlink_to("dog"), "classes dog and wolf are one folder"),
    "one folder for both": (
        lambda r: shutil.rmtree(r / "test") or (r / "test").symlink_to("train"), "train and test are one folder"
    ),
    "a loop": (_looping, "leads back to a folder above it"),
    "a link to itself": (lambda r: (r / "train" / "cat" / "me").symlink_to("me"), r"me: cannot be read \("),
    "a dangling link": (lambda r: (r / "train" / "cat" / "9.png").symlink_to("?"), r"9\.png: cannot be read \("),
    "a dangling class": (lambda r: (r / "train" / "bird").symlink_to("?"), r"bird: cannot be read \("),
    "a pipe": (_pipe, r"pipe\.png: is no regular file"),
}  # fmt: skip


@pytest.mark.parametrize("spoil", REFUSED)
def test_what_cannot_be_meant_is_refused(spoil, load, tmp_path):
    change, words = REFUSED[spoil]
    root = fill(tmp_path / "photos")
    change(root)
    with pytest.raises(InputError, match=words) as error:
        load(root)
    assert error.value.field == "dataset.root"
    assert "\n" not in str(error.value)
    assert not (tmp_path / "cache").exists()


def test_a_class_of_one_image_is_refused_where_some_are_set_aside(load, tmp_path):
    root = fill(tmp_path / "photos", ("",), count=2)
    assert load(root).train_labels.bincount().tolist() == [1, 1]
    (root / "dog" / "1.png").unlink()
    with pytest.raises(InputError, match="the class dog has one image, and none to train on"):
        load(root)


def test_pictures_in_no_folder_are_refused(load, tmp_path):
    for number in range(3):
        picture(tmp_path / "photos" / f"{number}.png")
    with pytest.raises(InputError, match=r"no images of image_folder in .*photos; point dataset\.root at"):
        load(tmp_path / "photos")


# content instead of paths


def fast(path):
    """Sets a file's dates back, as they are once some time has passed: all but the one that cannot be set."""
    os.utime(path, ns=(10**18, 10**18))


def test_other_images_of_equal_size_and_date_are_other_images(load, tmp_path):
    """In the same place, by replacing a file, its content, or the whole folder."""
    root = fill(tmp_path / "photos", ending="bmp")
    seen = [load(root)]
    place = root / "train" / "cat" / "0.bmp"
    spare, size = tmp_path / "spare.bmp", place.stat().st_size

    def changed():
        for path in root.rglob("*.bmp"):
            fast(path)
        assert place.stat().st_size == size
        seen.append(load(root))

    picture(spare)
    shutil.copyfile(spare, place)
    changed()
    picture(spare)
    spare.replace(place)
    changed()
    root.rename(tmp_path / "former")
    fill(root, ending="bmp")
    changed()
    assert len({data.fingerprint for data in seen}) == 4
    assert not torch.equal(seen[0].train_pixels[0], seen[1].train_pixels[0])
    assert not torch.equal(seen[1].train_pixels[0], seen[2].train_pixels[0])


def test_one_relative_path_in_two_folders_is_two_data_sets(load, tmp_path, monkeypatch):
    seen = []
    for place in ("one", "two"):
        fill(tmp_path / place / "photos", ending="bmp")
        for path in (tmp_path / place).rglob("*.bmp"):
            fast(path)
        monkeypatch.chdir(tmp_path / place)
        seen.append(load("photos").fingerprint)
    assert seen[0] != seen[1]
    monkeypatch.chdir(tmp_path / "one")
    assert load("photos").fingerprint == seen[0]


def test_the_same_images_elsewhere_are_not_decoded_again(load, tmp_path):
    """Moved, copied, with other dates, under Train, through a link: one cached file."""
    first = load(fill(tmp_path / "photos"))
    (cached,) = (tmp_path / "cache").glob("*.safetensors")
    written = cached.stat().st_mtime_ns
    (tmp_path / "photos").rename(tmp_path / "moved")
    shutil.copytree(tmp_path / "moved", tmp_path / "copied")
    (tmp_path / "linked").symlink_to("moved")
    (tmp_path / "copied" / "train").rename(tmp_path / "copied" / "Train")
    for place in ("moved", "copied", "linked"):
        assert load(tmp_path / place).fingerprint == first.fingerprint
    assert [path.stat().st_mtime_ns for path in (tmp_path / "cache").glob("*.safetensors")] == [written]


def test_a_renamed_or_removed_file_is_seen(load, tmp_path):
    root = fill(tmp_path / "photos")
    seen = [load(root).train_labels.tolist()]
    (root / "train" / "cat" / "0.png").rename(root / "train" / "dog" / "9.png")
    seen.append(load(root).train_labels.tolist())
    (root / "train" / "dog" / "9.png").unlink()
    seen.append(load(root).train_labels.tolist())
    assert seen == [[0] * 3 + [1] * 3, [0] * 2 + [1] * 4, [0] * 2 + [1] * 3]


def test_files_that_have_settled_are_not_read_again(load, tmp_path, monkeypatch):
    """Their digest is kept beside what the system says of them; young files are read each time, so none is missed."""
    import ipr.data.content as content

    root, opened = fill(tmp_path / "photos"), []
    digest = content._digest
    monkeypatch.setattr(content, "_digest", lambda file: opened.append(file.name) or digest(file))
    first = load(root).fingerprint
    assert len(opened) >= 12
    opened.clear()
    load(root)
    assert len(opened) == 12
    now = content.time.time_ns()
    monkeypatch.setattr(content.time, "time_ns", lambda: now + 2 * SETTLED_NS)
    load(root)
    opened.clear()
    assert load(root).fingerprint == first
    assert opened == []
    fast(root / "train" / "cat" / "0.png")
    assert load(root).fingerprint == first
    assert len(opened) == 12


def test_a_folder_that_changes_while_it_is_read_is_refused(load, tmp_path, monkeypatch):
    import ipr.data.image_folder as sources

    root, read = fill(tmp_path / "photos"), sources.read_picture

    def meanwhile(path, field, **how):
        another = tmp_path / f"{threading.get_ident()}.png"  # whole, as several are read at a time
        picture(another)
        another.replace(root / "train" / "cat" / "0.png")
        return read(path, field, **how)

    monkeypatch.setattr(sources, "read_picture", meanwhile)
    with pytest.raises(InputError, match="was changed while it was read"):
        load(root)
    assert not list((tmp_path / "cache").glob("*.safetensors"))


def test_a_cache_that_cannot_be_written_to_still_serves(load, tmp_path):
    root = fill(tmp_path / "photos")
    first = load(root).fingerprint
    for path in (tmp_path / "cache").glob("content-*"):
        path.unlink()
    (tmp_path / "cache").chmod(0o500)
    try:
        assert load(root).fingerprint == first
    finally:
        (tmp_path / "cache").chmod(0o700)
