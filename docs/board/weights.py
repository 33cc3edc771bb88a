"""The weights of an entry: opened as a stranger's file is, and, where the images are at hand, measured again."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from board.entry import Entry
from board.folder import LARGEST, WEIGHTS
from board.strict import content, refused
from ipr.config.registry import load
from ipr.config.schema import DatasetConfig, PathsConfig
from ipr.data.images import LabelledImages
from ipr.data.opening import open_images
from ipr.errors import InputError
from ipr.judging.fidelity import accuracy
from ipr.models.claimed import without_memory
from ipr.store.record import Record
from ipr.store.weights import as_safetensors
from ipr.suspects.checks import shown
from ipr.suspects.suspect import Suspect, open_suspect
from ipr.suspects.weights import read_weights

AT_HAND = ("digits", "digits_rgb")
"""Data sets that come with what is installed: whoever checks an entry of these measures it again."""


def locked(record: Record) -> bool:
    """Whether the protected norms have no scale and shift without the passport (V1)."""
    return bool(load("scheme", record.scheme).locked)


def opened(entry: Entry) -> Suspect:
    """The plain network with the weights of an entry.

    Raises:
        InputError: the file is no safetensors of such a network, holds more than its tensors, or has another digest.
    """
    path = entry.folder / WEIGHTS
    held = content(path, LARGEST[WEIGHTS])
    if held[8:9] != b"{" or held[:2] == b"PK":
        raise refused(path, "is no safetensors", "save the weights as safetensors, as `ipr export` does")
    if (found := hashlib.sha256(held).hexdigest()) != entry.network.sha256:
        raise refused(path, f"sha256={found[:16]}... is not the one in network.json")
    suspect = _fitted(entry, path, held)
    if suspect.weights_digest != entry.network.weights_digest:
        raise refused(path, f"weights_digest={suspect.weights_digest[:16]}... is not the one in network.json")
    if bool(suspect.absent) != locked(entry.record):
        problem = f"{len(suspect.absent)} scales and shifts are missing, which is not so of {entry.record.scheme}"
        raise refused(path, problem)
    count = sum(one.numel() for one in suspect.network.parameters())
    if count != entry.record.parameters:
        raise refused(path.with_name("record.json"), f"parameters={entry.record.parameters}, and there are {count}")
    return suspect


def _fitted(entry: Entry, path: Path, held: bytes) -> Suspect:
    """The network with the tensors of a file, which has the network's own names and nothing besides."""
    architecture = entry.network.architecture(entry.record)
    try:
        tensors = read_weights(path)
        more = sorted(tensors.keys() - without_memory(architecture).state_dict().keys())
        if more or as_safetensors(tensors) != held:
            what = f"{shown(more[0])} has no place in the network" if more else "holds more than its tensors"
            raise refused(path, what, "save its state_dict alone, without metadata, as `ipr export` does")
        return open_suspect(path, architecture)
    except InputError as error:
        if error.field == "entry":
            raise
        where = "" if error.field == "suspect" else f"{error.field}={error.value} "
        raise refused(path, f"{where}{error.problem}", error.remedy) from error


def images_of(entry: Entry, root: Path | None, cache: Path) -> LabelledImages | None:
    """All test images of an entry's data set, normalised as the entry says; None where they are not at hand.

    Args:
        entry: the entry.
        root: a folder that holds `cifar10/test/<class>/<image>` and the like; None for none.
        cache: where decoded images are kept.

    Raises:
        InputError: there are other classes, channels, or another number of test images.
    """
    name, network = entry.record.dataset, entry.network
    place = None if root is None else root / name
    if name not in AT_HAND and (place is None or not place.is_dir()):
        return None
    asked = DatasetConfig(name, None if name in AT_HAND else str(place), image_size=network.image_size)
    paths = PathsConfig(runs="runs", data="data", cache=str(cache), judge="")
    data = open_images(asked, paths, told=False, judging=True)
    there: Mapping[str, object] = {"classes": list(data.classes), "channels": data.channels}
    for field, value in there.items():
        if getattr(network, field) != value:
            problem = f"{field}={getattr(network, field)} are not those of {name}, {value}"
            raise refused(entry.folder / "network.json", problem)
    if (count := data.test_labels.numel()) != entry.record.test_images:
        problem = f"test_images={entry.record.test_images}, and {name} has {count}"
        remedy = "train without dataset.limit_test, and write the entry anew"
        raise refused(entry.folder / "record.json", problem, remedy)
    return LabelledImages(data.test_pixels, data.test_labels, tuple(network.mean), tuple(network.std))


def check_accuracy(entry: Entry, suspect: Suspect, images: LabelledImages) -> float:
    """The accuracy of the network as it is given away, measured here; a fraction.

    Another machine rounds otherwise, so that two images, or half a percent of them, may be answered differently.

    Raises:
        InputError: the record says another.
    """
    found, count = accuracy(suspect.network, images), images.labels.numel()
    if abs(found - entry.record.accuracy_without) * count > max(2, count / 200) + 1e-6:
        problem = f"accuracy_without={entry.record.accuracy_without:.4f}, and these weights reach {found:.4f} here"
        raise refused(entry.folder / "record.json", problem)
    return found
