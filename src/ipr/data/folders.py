"""What an image folder holds, found without opening a picture; what cannot be meant is refused."""

from __future__ import annotations

import os
import re
import stat
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from ipr.data.pictures import ending, may_be_picture, passed_over
from ipr.errors import InputError

FIELD = "dataset.root"

NO_PICTURES = frozenset((
    ".csv", ".db", ".htm", ".html", ".ini", ".ipynb", ".json", ".jsonl", ".lnk", ".log", ".mat", ".md", ".py", ".rst",
    ".tsv", ".txt", ".url", ".xml", ".yaml", ".yml",
))  # fmt: skip
"""Endings of what lies beside pictures and is none: left out, and told."""

PARTS = {
    "training": frozenset(["train", "training", "trainset"]),
    "testing": frozenset(["test", "testing", "testset", "val", "valid", "validation", "dev", "eval", "evaluation"]),
}
"""Words by which people name the parts of a data set."""

NEVER_CLASSES = frozenset(["train", "training", "test", "testing", "validation"])
"""Names that are parts even where only one of them is there."""


class PictureFile(NamedTuple):
    """A picture in an image folder.

    Attributes:
        path: where it is.
        name: where it is in its folder, `<part>/<class>/...`, or `<class>/...` of a folder without parts.
        label: the number of its class.
        state: size, times of change of content and of anything (ns), and inode: another file, or another content, has
            another, for the second time cannot be set.
    """

    path: str
    name: str
    label: int
    state: tuple[int, ...]


@dataclass(frozen=True)
class ImageFolder:
    """What was found.

    Attributes:
        root: the folder.
        classes: their names, in the order of their labels.
        train: by class and name.
        test: likewise; None where there are no parts, and some of `train` are to be set aside.
        left_out: what lies there and is not read, in words.
    """

    root: Path
    classes: tuple[str, ...]
    train: tuple[PictureFile, ...]
    test: tuple[PictureFile, ...] | None
    left_out: tuple[str, ...]

    @property
    def files(self) -> tuple[PictureFile, ...]:
        """All pictures."""
        return self.train + (self.test or ())


class Listing:
    """What lies in an image folder and its parts: each is read once, however often it is asked for."""

    def __init__(self) -> None:
        self._entries: dict[Path, list[os.DirEntry[str]]] = {}

    def entries(self, folder: Path) -> list[os.DirEntry[str]]:
        """All but what is passed over; none where there is no such folder.

        Raises:
            InputError: it cannot be read.
        """
        if folder not in self._entries:
            with _reading(folder):
                self._entries[folder] = list(_entries(folder)) if folder.is_dir() else []
        return self._entries[folder]

    def folders(self, folder: Path) -> list[str]:
        """The names of the folders in it, sorted."""
        return sorted(entry.name for entry in self.entries(folder) if entry.is_dir())


def part_of_folder(folder: Path, part: str, listing: Listing) -> Path | None:
    """The folder `train` or `test` in a folder, in whatever capitals; None where there is none.

    Raises:
        InputError: there are several, or the folder cannot be read.
    """
    found = [name for name in listing.folders(folder) if name.lower() == part]
    if len(found) > 1:
        raise InputError(FIELD, folder, f"has several folders {part} ({', '.join(found)})", "keep one of them")
    return folder / found[0] if found else None


def find_images(folder: Path, listing: Listing, without: Collection[str] = (), *, judging: bool = False) -> ImageFolder:
    """Looks through `train/<class>/` and `test/<class>/`, or `<class>/`, with whatever folders below.

    What is hidden, and what systems leave behind, is passed over.

    Args:
        folder: an image folder.
        listing: what is known of it already.
        without: folders that are no classes.
        judging: whether nothing is trained on: images without parts, and `test/` alone, are test images.

    Raises:
        InputError: it cannot be read, or cannot be meant: parts that would be taken for classes, one class alone, a
            class without an image to train on, other classes to test on, pictures of a kind that is not read.
    """
    other: Counter[str] = Counter()
    train, test = (part_of_folder(folder, part, listing) for part in ("train", "test"))
    if train is None and judging:
        classes, files = _classes_of(test or folder, "", listing, without, other)
        _check_classes(folder, classes)
        return ImageFolder(folder, classes, (), files, _in_words(other))
    if train is None:
        classes, files = _classes_of(folder, "", listing, without, other)
        _check_unparted(folder, classes, files)
        return ImageFolder(folder, classes, files, None, _in_words(other))
    beside = [name for name in listing.folders(folder) if folder / name not in (train, test)]
    if test is None:
        like = next((name for name in beside if _part(name) == "testing"), None)
        remedy = f"rename {like} to test" if like else "add <root>/test/<class>/<image>"
        raise InputError(FIELD, folder, "has a folder train but no folder test", remedy)
    if os.path.samefile(train, test):
        raise InputError(FIELD, folder, "train and test are one folder", "test on images that are not trained on")
    classes, files = _classes_of(train, "train/", listing, (), other)
    test_classes, test_files = _classes_of(test, "test/", listing, (), other)
    if classes != test_classes:
        differing = ", ".join(sorted(set(classes) ^ set(test_classes))[:5])
        problem = f"train and test have different classes ({differing} ...)"
        raise InputError(FIELD, folder, problem, "give both the same folders")
    return ImageFolder(folder, classes, files, test_files, (*(f"{name}/" for name in beside), *_in_words(other)))


def _check_unparted(folder: Path, classes: tuple[str, ...], files: tuple[PictureFile, ...]) -> None:
    """Refuses folders that are no classes, and classes of which no image would be left to train on."""
    _check_classes(folder, classes)
    counts = Counter(file.label for file in files)
    if single := next((name for label, name in enumerate(classes) if counts[label] == 1), None):
        problem = f"the class {single} has one image, and none to train on once it is set aside for testing"
        raise InputError(FIELD, folder, problem, "give each class two or more")


def _check_classes(folder: Path, classes: tuple[str, ...]) -> None:
    """Refuses folders that are parts of a data set, not classes."""
    if _holds_parts(classes) or not NEVER_CLASSES.isdisjoint(name.casefold() for name in classes):
        parts = ", ".join(name for name in classes if _part(name))
        remedy = "name them train and test, or keep classes alone"
        raise InputError(FIELD, folder, f"{parts}: parts of a data set, not classes", remedy)


def _classes_of(
    part: Path, prefix: str, listing: Listing, without: Collection[str], other: Counter[str]
) -> tuple[tuple[str, ...], tuple[PictureFile, ...]]:
    """The classes of a part and their files; what is left out is counted in `other`."""
    with _reading(part):
        for entry in listing.entries(part):
            if not entry.is_dir(follow_symlinks=False) and not stat.S_ISDIR(entry.stat().st_mode):
                other["pictures in no class"] += bool(ending(entry.name)) and may_be_picture(entry.name)
    classes = tuple(name for name in listing.folders(part) if name not in without)
    same: dict[tuple[int, int], str] = {}
    files: list[PictureFile] = []
    for label, name in enumerate(classes):
        with _reading(part / name):
            state = (part / name).stat()
            found = sorted(_files_below(str(part / name), frozenset(), other))
        twin = same.setdefault((state.st_dev, state.st_ino), name)
        if twin != name:
            raise InputError(FIELD, part, f"the classes {twin} and {name} are one folder", "remove one of them")
        if not found:
            raise _unusable(part, f"no image in {name}")
        above = len(os.path.join(part, ""))
        files += (PictureFile(path, prefix + path[above:], label, about) for _, path, about in found)
    if not classes:
        raise _unusable(part, "no folders in it")
    if len(classes) == 1:
        remedy = "give it two or more, one folder a class, or point dataset.root at the folder that holds them"
        raise InputError(FIELD, part, f"has one class alone, {classes[0]}: there is nothing to tell apart", remedy)
    return classes, tuple(files)


def _files_below(
    directory: str, above: frozenset[tuple[int, int]], other: Counter[str]
) -> Iterator[tuple[str, str, tuple[int, ...]]]:
    """Folder, path and state of the pictures of a class."""
    here = os.stat(directory)
    if (here.st_dev, here.st_ino) in above:
        raise InputError(FIELD, directory, "is a link that leads back to a folder above it", "remove it")
    folders = []
    for entry in _entries(directory):
        if entry.is_dir():
            folders.append(entry.name)
        elif may_be_picture(entry.name):
            state = entry.stat()
            if not stat.S_ISREG(state.st_mode):
                raise InputError(FIELD, entry.path, "is no regular file", "remove it")
            times = (state.st_mtime_ns, state.st_ctime_ns)
            yield directory, entry.path, (state.st_size, *times, state.st_ino)
        elif (kind := ending(entry.name)) in NO_PICTURES:
            other[kind] += 1
        else:
            raise InputError(FIELD, entry.path, f"is of a kind that is not read ({kind})", "convert or remove it")
    if _holds_parts(folders):
        problem = f"a class that holds parts of a data set ({', '.join(folders)})"
        raise InputError(FIELD, directory, problem, "give <root>/train/<class>/<image> and <root>/test/<class>/<image>")
    for name in folders:
        yield from _files_below(os.path.join(directory, name), above | {(here.st_dev, here.st_ino)}, other)


def _part(name: str) -> str | None:
    """Which of `PARTS` a folder is named after, as `train2017` and `test_images` are."""
    words = set(re.split(r"[\W\d_]+", name.casefold()))
    return next((part for part, known in PARTS.items() if known & words), None)


def _holds_parts(names: Iterable[str]) -> bool:
    return {_part(name) for name in names} >= PARTS.keys()


def _entries(folder: str | Path) -> Iterator[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        yield from (entry for entry in entries if not passed_over(entry.name))


@contextmanager
def _reading(folder: Path) -> Iterator[None]:
    """Names the file or folder that cannot be looked at."""
    try:
        yield
    except OSError as error:
        problem = f"cannot be read ({error.strerror})"
        raise InputError(FIELD, error.filename or folder, problem, "mend or remove it") from error


def _unusable(folder: Path, reason: str) -> InputError:
    remedy = "give it one folder a class with at least one image in each"
    return InputError(FIELD, folder, f"is not a usable image folder ({reason})", remedy)


def _in_words(other: Counter[str]) -> tuple[str, ...]:
    return tuple(f"{what} ({count})" for what, count in sorted(other.items()) if count)
