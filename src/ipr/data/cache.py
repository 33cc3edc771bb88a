"""Decode a data set once, into one file of uint8 pixels that later runs map into memory.

Neither while it is decoded nor afterwards need all of it fit into memory.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

from safetensors import SafetensorError

from ipr.data.census import Census, in_blocks
from ipr.data.content import content_digest
from ipr.data.images import ImageData
from ipr.data.notice import Glance, say, tell_of
from ipr.data.sources import DatasetRequest, Decoding, Source, find_source
from ipr.data.stored import Written, read_stored, write_stored
from ipr.errors import InputError
from ipr.files import ASIDE
from ipr.store.lease import Lease, announce


def load_images(request: DatasetRequest, cache_folder: Path, *, checked: bool = False, told: bool = True) -> ImageData:
    """A data set, from its cached file or decoded into one. What a folder was taken for is said on stderr.

    Args:
        request: which data set.
        cache_folder: where the cached files are; made if missing.
        checked: look whether the images are those of their fingerprint, whoever wrote the file: see `check_content`.
        told: whether to say so.

    Raises:
        InputError: there is nothing to read, the cache cannot be written, or what it holds was changed.
    """
    source = find_source(request)
    path = cached_at(cache_folder, request.name, source)
    unchanged = partial(_check_unchanged, request, source, cache_folder, path)
    data, warnings = _found(path), []
    if data is None:
        try:
            with Lease(path.with_suffix(".lease"), announce(f"is decoding {request.name} into {path}")):
                if (data := _found(path)) is None:  # nor by whom this process has waited for
                    warnings = [f"warning: {doubt}" for doubt in _write(source.read(), path, unchanged)]
                    data = _read(path)
        except (OSError, SafetensorError) as error:
            remedy = "choose a folder that you own, and that has room"
            raise InputError("paths.cache", cache_folder, f"cannot be written ({error})", remedy) from error
    if checked:
        check_content(data, path)
    if told and source.folder is not None:
        tell_of(data, source.folder, path.name)
        say(warnings)
    return data


def _check_unchanged(request: DatasetRequest, source: Source, cache_folder: Path, path: Path) -> None:
    """Refuses a folder that holds something else now: its images would be cached under the name of what it held."""
    if source.folder is not None and cached_at(cache_folder, request.name, find_source(request)) != path:
        remedy = "give the command again when nobody writes to it"
        raise InputError("dataset.root", source.folder.root, "was changed while it was read", remedy)


def cached_at(folder: Path, name: str, source: Source) -> Path:
    """Where the images of a source are cached, whether or not they already are.

    Raises:
        InputError: a file of a folder cannot be read.
    """
    identity, found = source.identity, source.folder
    if found is not None:
        identity = f"{content_digest(found.root, found.files, folder)} {identity}"
    return folder / f"{name}-{hashlib.sha256(identity.encode()).hexdigest()[:16]}.safetensors"


def check_content(data: ImageData, path: Path) -> None:
    """Refuses images, labels or statistics that are not those of the fingerprint: a cached file that was changed.

    Args:
        data: a whole data set.
        path: where it was read.

    Raises:
        InputError: naming the file.
    """
    found = Census(data.classes, data.train_pixels.shape[1:])
    for pixels, labels, counted in (
        (data.train_pixels, data.train_labels, trained := bool(data.train_labels.numel())),
        (data.test_pixels, data.test_labels, not trained),
    ):
        for _ in found.of(in_blocks(pixels), labels, counted=counted):
            pass
    if found.fingerprint != data.fingerprint or (list(data.mean), list(data.std)) != found.statistics:
        problem = "the cached images are not those of their fingerprint: they were changed"
        raise InputError("paths.cache", path, problem, "delete the file; it is made again from the data set")


def _found(path: Path) -> ImageData | None:
    try:
        return _read(path) if path.exists() else None
    except (SafetensorError, KeyError, json.JSONDecodeError):
        return None  # torn by a crash or a full disk: it is only a cache


def _write(images: Decoding, path: Path, unchanged: Callable[[], None]) -> list[str]:
    """Decodes images into a file, and says what is to be doubted about them.

    Args:
        images: where they come from.
        path: the file; this process has the lease of it.
        unchanged: raises if the images are not those that the file is named after.
    """
    parts = {"train": images.train, "test": images.test}
    census, glance = Census(images.classes, images.shape), Glance()
    for left in path.parent.glob(f".{path.name}.*"):
        if ASIDE.fullmatch(left.name):  # by a process that was killed
            left.unlink(missing_ok=True)
    tensors = {}
    for name, part in parts.items():
        tensors[f"{name}_labels"] = Written("I64", (part.labels.numel(),), [part.labels.numpy()])
    for name, part in parts.items():
        counted = (name == "train") is bool(images.train.labels.numel())
        blocks = census.of(glance.at(part.blocks(), test=name == "test"), part.labels, counted=counted)
        tensors[f"{name}_pixels"] = Written("U8", (part.labels.numel(), *images.shape), blocks)
    _check_room(path.parent, sum(tensor.nbytes for tensor in tensors.values()))

    def facts(mean: list[float], std: list[float]) -> str:
        about = {"classes": images.classes, "mean": mean, "std": std, "fingerprint": census.fingerprint}
        return json.dumps(about)

    def known() -> str:
        unchanged()
        return facts(*census.statistics)

    longest = [0.12345678901234567e-100] * images.shape[2]
    write_stored(path, tensors, facts(longest, longest), known)
    return list(glance.doubts(images.train.labels, images.test.labels, census.greys))


def _check_room(folder: Path, size: int) -> None:
    """Refuses to decode for hours what the disk has no room for."""
    if size > (free := shutil.disk_usage(folder).free):
        problem = f"has no room for the decoded images ({size / 1e9:.1f} GB needed, {free / 1e9:.1f} GB free)"
        raise InputError("paths.cache", folder, problem, "choose another folder, or a smaller dataset.image_size")


def _read(path: Path) -> ImageData:
    tensors, about = read_stored(path)
    facts = json.loads(about)
    return ImageData(
        train_pixels=tensors["train_pixels"],
        train_labels=tensors["train_labels"].clone(),
        test_pixels=tensors["test_pixels"],
        test_labels=tensors["test_labels"].clone(),
        classes=tuple(facts["classes"]),
        mean=tuple(facts["mean"]),
        std=tuple(facts["std"]),
        fingerprint=facts["fingerprint"],
    )
