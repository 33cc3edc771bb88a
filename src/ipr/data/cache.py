"""Decode a data set once, into one file of uint8 pixels that later runs map into memory."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ipr.data.content import content_digest
from ipr.data.images import ImageData
from ipr.data.sources import RawImages, Source, find_source
from ipr.data.told import doubts, say, tell_of
from ipr.digests import elements
from ipr.errors import InputError
from ipr.files import aside_of
from ipr.lease import Lease, saying


def load_images(
    name: str,
    *,
    root: str | None,
    image_size: int,
    download: bool,
    data_folder: Path,
    cache_folder: Path,
    checked: bool = False,
    told: bool = True,
) -> ImageData:
    """A data set, from its cached file or decoded into one. What a folder was taken for is said on stderr.

    Args:
        name: see `ipr.data.sources.find_source`, as the other arguments but the last three.
        root: see there.
        image_size: see there.
        download: see there.
        data_folder: see there.
        cache_folder: where the cached files are; made if missing.
        checked: look whether the images are those of their fingerprint, whoever wrote the file: see `check_content`.
        told: whether to say so.

    Raises:
        InputError: there is nothing to read, the cache cannot be written, or what it holds was changed.
    """

    def located() -> tuple[Source, Path]:
        source = find_source(name, root, image_size, download, data_folder)
        return source, cached_at(cache_folder, name, source)

    source, path = located()
    data, warnings = _found(path), []
    if data is None:
        try:
            with Lease(path.with_suffix(".lease"), saying(f"is decoding {name} into {path}")):
                if (data := _found(path)) is None:  # nor by whom this process has waited for
                    raw = source.read()
                    if source.folder is not None and located()[1] != path:
                        remedy = "give the command again when nobody writes to it"
                        raise InputError("dataset.root", source.folder.root, "was changed while it was read", remedy)
                    _write(raw, path)
                    data, warnings = _read(path), [f"warning: {doubt}" for doubt in doubts(raw)]
        except (OSError, SafetensorError) as error:
            remedy = "choose a folder that you own, and that has room"
            raise InputError("paths.cache", cache_folder, f"cannot be written ({error})", remedy) from error
    if checked:
        check_content(data, path)
    if told and source.folder is not None:
        tell_of(data, source.folder, path.name)
        say(warnings)
    return data


def cached_at(folder: Path, name: str, source: Source) -> Path:
    """Where the images of a source are cached, whether or not they already are.

    Raises:
        InputError: a file of a folder cannot be read.
    """
    identity, found = source.identity, source.folder
    if found is not None:
        identity = f"{content_digest(found.root, found.files, folder)} {identity}"
    return folder / f"{name}-{hashlib.sha256(identity.encode()).hexdigest()[:16]}.safetensors"


def fingerprint_of(data: ImageData | RawImages) -> str:
    """SHA-256 of a data set's content, as hexadecimal digits: class names, and shape and elements of all images and
    labels. Of a whole data set: one that was limited keeps the fingerprint of what it is a part of.
    """
    digest = hashlib.sha256(json.dumps(data.classes).encode())
    for tensor in _tensors(data).values():
        digest.update(str(tuple(tensor.shape)).encode())
        digest.update(elements(tensor))
    return digest.hexdigest()


def check_content(data: ImageData, path: Path) -> None:
    """Refuses images, labels or statistics that are not those of the fingerprint: a cached file that was changed.

    Args:
        data: a whole data set.
        path: where it was read.

    Raises:
        InputError: naming the file.
    """
    mean, std = channel_statistics(data.train_pixels)
    if fingerprint_of(data) != data.fingerprint or [*data.mean, *data.std] != mean + std:
        problem = "the cached images are not those of their fingerprint: they were changed"
        raise InputError("paths.cache", path, problem, "delete the file; it is made again from the data set")


def _tensors(data: ImageData | RawImages) -> dict[str, Tensor]:
    return {name: getattr(data, name) for name in ("train_pixels", "train_labels", "test_pixels", "test_labels")}


def _found(path: Path) -> ImageData | None:
    try:
        return _read(path) if path.exists() else None
    except (SafetensorError, KeyError, json.JSONDecodeError):
        return None  # torn by a crash or a full disk: it is only a cache


def _write(raw: RawImages, path: Path) -> None:
    mean, std = channel_statistics(raw.train_pixels)
    facts = {"classes": raw.classes, "mean": mean, "std": std, "fingerprint": fingerprint_of(raw)}
    aside = aside_of(path)
    try:
        save_file({k: v.contiguous() for k, v in _tensors(raw).items()}, aside, {"facts": json.dumps(facts)})
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


def channel_statistics(pixels: Tensor) -> tuple[list[float], list[float]]:
    """Mean and standard deviation of each channel of uint8 pixels (N, H, W, channels), as fractions of 255.

    Exact: from the count of each of the 256 values.
    """
    values = torch.arange(256, dtype=torch.float64) / 255
    mean, std = [], []
    for channel in range(pixels.shape[3]):
        counts = torch.bincount(pixels[..., channel].flatten(), minlength=256).double()
        share = counts / counts.sum()
        centre = float(share @ values)
        mean.append(centre)
        std.append(max(float(share @ (values - centre) ** 2) ** 0.5, 1 / 255))
    return mean, std


def _read(path: Path) -> ImageData:
    with safe_open(path, framework="pt") as stored:
        facts = json.loads(stored.metadata()["facts"])
        tensors = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118 (not a dict)
    return ImageData(
        **tensors,
        classes=tuple(facts["classes"]),
        mean=tuple(facts["mean"]),
        std=tuple(facts["std"]),
        fingerprint=facts["fingerprint"],
    )
