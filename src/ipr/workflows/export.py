"""From a finished run to what is given away: weights or an ONNX file, and a card that says how to use it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from ipr.config.schema import DatasetConfig, ModelConfig, PathsConfig
from ipr.data.images import ImageData
from ipr.data.opening import open_images
from ipr.digests import weights_digest
from ipr.errors import InputError
from ipr.files import write_new
from ipr.judging.claim_kinds import load_claim
from ipr.models.as_onnx import INPUT, OUTPUT, onnx_bytes
from ipr.passport.claim import PassportClaim
from ipr.passport.unlock import unlock
from ipr.schemes.start import example_image, load_suspect
from ipr.store.record import load_record
from ipr.store.survey import Found
from ipr.store.weights import WRITERS
from ipr.suspects.weights import read_weights
from ipr.world import own_world

CARD_VERSION = 1

ENDINGS = {"safetensors": ".safetensors", "torch": ".pt", "onnx": ".onnx"}
"""What may be given away, and how its file is called."""


@own_world()
def export(
    run: Path,
    format: str = "safetensors",
    out: Path | None = None,
    kind: str | None = None,
    *,
    paths: PathsConfig | None = None,
    root: str | None = None,
) -> Path:
    """Writes what a run gives away, and beside it a card (`card_of`) whose name ends in `.json`.

    Nothing secret is in either. The same run gives the same bytes.

    Args:
        run: the folder of a finished training.
        format: `safetensors` or `torch` (a `state_dict` that the plain class loads), or `onnx` (weights and network).
        out: the file; None for one in the run's folder `export`.
        kind: of a network that needs its passport (V1) `locked`, the default: without it; or `folded`: with its scales
            and shifts as constants, which works for everybody, and whose signs spell the signature. Of others `public`.
        paths: where images and their cache are; None for where they were in training.
        root: of the data set, where its images have moved since.

    Returns:
        The file.

    Raises:
        InputError: the run is not finished, cannot be exported so, or another file is in the place.
    """
    if format not in ENDINGS:
        raise InputError("format", format, "is unknown", f"choose among: {', '.join(ENDINGS)}")
    model, data = _opened(folder := Found(run), paths, root)
    weights, network = read_weights(folder.weights, "weights"), load_suspect(model, data, folder.weights)
    kinds = ("public",) if weights.keys() == network.state_dict().keys() else ("locked", "folded")
    kind = kind or kinds[0]
    if kind not in kinds:
        problem = f"a run of {load_record(folder.record).scheme} gives away no such network"
        raise InputError("kind", kind, problem, f"choose {' or '.join(kinds)}")
    if kind == "folded":
        claim = load_claim(folder.claim)
        assert isinstance(claim, PassportClaim)
        weights = unlock(network, weights, claim.passport, example_image(data))
        network.load_state_dict(weights)
    content = onnx_bytes(network, data.channels, data.image_size) if format == "onnx" else WRITERS[format](weights)
    suffix = "" if kind == "public" else f"-{kind}"
    path = out or run / "export" / f"{model.name.rpartition(':')[2]}{suffix}{ENDINGS[format]}"
    card = card_of(model, data, format, kind, weights, content)
    told = {path: content, path.with_name(f"{path.name}.json"): (json.dumps(card, indent=2) + "\n").encode()}
    write_new(told, 0o600 if kind == "folded" else 0o666)
    return path


def _opened(folder: Found, paths: PathsConfig | None, root: str | None) -> tuple[ModelConfig, ImageData]:
    """The model of a finished training, and the images that it was trained on."""
    if not folder.record.exists():
        raise InputError("run", folder.path, "is no finished training", "`ipr list` shows those there are")
    record = load_record(folder.record)
    try:
        model = ModelConfig(**folder.asked["model"])
        dataset = DatasetConfig(**folder.asked["dataset"])
        paths = paths or PathsConfig(**folder.asked["paths"])
    except (KeyError, TypeError) as error:
        raise InputError("run", folder.config, f"is damaged ({error})", "train it again by the same command") from error
    data = open_images(replace(dataset, root=root or dataset.root), paths)
    counts = (data.trained_on.numel(), data.test_labels.numel())
    images = folder.asked.get("images", data.fingerprint)  # older runs do not tell
    if (images, *counts) != (data.fingerprint, record.train_images, record.test_images):
        remedy = "give dataset.root=... of the images that it was trained on"
        raise InputError("dataset.root", root or dataset.root, "holds other images than the run's", remedy)
    return model, data


def card_of(
    model: ModelConfig, data: ImageData, format: str, kind: str, weights: Mapping[str, Tensor], content: bytes
) -> dict[str, Any]:
    """What somebody needs to know who has only the file, as plain JSON values.

    Of the architecture it tells what builds the plain network, not which layers would carry a mark.

    Args:
        model: what was trained.
        data: on what.
        format: of the file.
        kind: `public`, `locked` or `folded`.
        weights: what is in the file, as a `state_dict`.
        content: the file.
    """
    return {
        "schema_version": CARD_VERSION,
        "format": format,
        "kind": kind,
        "architecture": {
            "model": {"name": model.name, "norm": model.norm, "width": model.width},
            "channels_in": data.channels,
            "image_size": data.image_size,
            "num_classes": len(data.classes),
        },
        "input": {
            "name": INPUT,
            "type": "float32",
            "layout": "NCHW",
            "shape": [None, data.channels, data.image_size, data.image_size],
            "values": "(pixel / 255 - mean) / std, for each channel",
            "mean": list(data.mean),
            "std": list(data.std),
        },
        "output": {
            "name": OUTPUT,
            "type": "float32",
            "shape": [None, len(data.classes)],
            "classes": list(data.classes),
        },
        "sha256": hashlib.sha256(content).hexdigest(),
        "weights_digest": weights_digest(weights),
    }
