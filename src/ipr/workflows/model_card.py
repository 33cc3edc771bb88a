"""What may be read of a finished network by whoever gets its weights: a card in Markdown, as model hubs show them.

It tells neither key nor seed, as secrets follow from the seed where there is no key; nor which layers carry a mark, nor
how many bits. A test holds the card, and the artifact it goes with, free of what a claim holds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import yaml

from ipr.config.registry import load
from ipr.config.schema import TrainConfig
from ipr.data.images import ImageData
from ipr.judging.fidelity import largest_class, percent
from ipr.schemes.base import Scheme
from ipr.store.record import Record
from ipr.workflows.embedding_checks import Check
from ipr.workflows.request import scheme_of

NAMED_CLASSES = 20
"""So many classes are named; of more, how many there are."""

CODE = """\
```python
import torch
from safetensors.torch import load_file

from ipr.models import build_model

sizes = {{"channels_in": {channels}, "image_size": {size}, "num_classes": {classes}}}
network = build_model("{model}", norm="{norm}", width={width!r}, **sizes)
network.load_state_dict(load_file("public.safetensors"){strict})
mean = torch.tensor({mean}).view(-1, 1, 1)
std = torch.tensor({std}).view(-1, 1, 1)
pixels = torch.zeros(1, {channels}, {size}, {size})  # 0 to 255
logits = network.eval()((pixels / 255 - mean) / std)
```"""

LICENCE = "No licence is named here: who gives the network away says under which one."

MARKED = """\
- A mark without a date proves nothing: whoever holds the weights can make a claim to them. Only a claim that somebody
  else dated before these weights were given away is more than one person's word.
- What a claim reads in these weights may be lost: by training on, in a second network that learns the answers of this
  one, or at the cost of accuracy. The documentation of ipr tells the cheapest known way for every scheme."""


def model_card(config: TrainConfig, data: ImageData, record: Record, checks: Sequence[Check]) -> str:
    """The card: a front matter in YAML without a licence, and what it is, accuracy, checks, use, proof and limits.

    Args:
        config: the request, as it was carried out.
        data: its images; their mean, deviation and classes are told, no image.
        record: of the run.
        checks: of its embedding.
    """
    head = yaml.safe_dump(front_matter(record, f"{record.model}-{record.dataset}"), sort_keys=False, allow_unicode=True)
    parts = [
        f"# {record.model} for {record.dataset}",
        _what(config, record),
        f"## Accuracy\n\n{_accuracy(config, data, record)}",
        f"## What was checked when it was trained\n\n{_checked(checks)}",
        f"## How to use it\n\n{_use(data, record)}",
        f"## Whose it is\n\n{_proof(record)}",
        f"## Limits\n\n{_limits(record)}",
    ]
    return f"---\n{head}---\n\n" + "\n\n".join(parts) + "\n"


def front_matter(record: Record, name: str) -> dict[str, Any]:
    """What stands in front of a card, in the fields of the Hugging Face hub; no licence.

    Args:
        record: of the run.
        name: of the network.
    """
    accuracy = {"type": "accuracy", "name": "accuracy as given away", "value": round(record.accuracy_without, 6)}
    result = {
        "task": {"type": "image-classification", "name": "Image Classification"},
        "dataset": {"name": record.dataset, "type": record.dataset, "split": "test"},
        "metrics": [accuracy],
    }
    return {
        "library_name": "ipr",
        "pipeline_tag": "image-classification",
        "tags": ["pytorch", "safetensors", record.scheme, record.model],
        "datasets": [record.dataset],
        "metrics": ["accuracy"],
        "model-index": [{"name": name, "results": [result]}],
    }


def loading_code(
    record: Record, *, channels: int, image_size: int, classes: int, mean: Sequence[float], std: Sequence[float]
) -> str:
    """Python, as a block of Markdown, that opens the weights beside a card and asks the network.

    Args:
        record: of the run.
        channels: of an image.
        image_size: its height and width, pixels.
        classes: how many.
        mean: of each channel, of pixels from 0 to 1.
        std: their deviation.
    """
    scheme: type[Scheme] = load("scheme", record.scheme)
    return CODE.format(
        channels=channels,
        size=image_size,
        classes=classes,
        model=record.model,
        norm=record.norm,
        width=record.width,
        strict=", strict=False" if scheme.locked else "",
        mean=[round(value, 6) for value in mean],
        std=[round(value, 6) for value in std],
    )


def _what(config: TrainConfig, record: Record) -> str:
    told = (
        f"A plain {record.model} (norm {record.norm}, width {record.width:g}, {record.parameters} parameters), trained "
    )
    told += f"for {record.epochs} epochs on {record.train_images} images of {record.dataset}"
    if record.scheme == "baseline":
        return f"{told}. Nothing is embedded in it."
    told += f" with the scheme `{record.scheme}` of ipr: its owner has a claim to it."
    locked = " These weights are locked: they are meant to answer well with the owner's passport alone."
    return told + (locked if scheme_of(config).locked else "")


def _accuracy(config: TrainConfig, data: ImageData, record: Record) -> str:
    images = f"on {record.test_images} test images of {record.dataset}"
    lines = [f"- {percent(record.accuracy_without)} as it is given away, {images}"]
    if record.accuracy_genuine is not None:
        lines.append(f"- {percent(record.accuracy_genuine)} with the owner's passport, on the same images")
    return "\n".join([*lines, f"- {percent(largest_class(data.test_images))} for an answer that is always the same"])


def _checked(checks: Sequence[Check]) -> str:
    return "\n".join(f"- {check.name}: {check.status}" for check in checks)


def _use(data: ImageData, record: Record) -> str:
    code = loading_code(
        record,
        channels=data.channels,
        image_size=data.image_size,
        classes=len(data.classes),
        mean=data.mean,
        std=data.std,
    )
    return f"{code}\n\nLogits of {len(data.classes)} classes{_classes(data)}"


def _classes(data: ImageData) -> str:
    return f", in the order {', '.join(data.classes)}." if len(data.classes) <= NAMED_CLASSES else "."


def _proof(record: Record) -> str:
    if record.scheme == "baseline":
        return "Nothing in these weights tells."
    return "\n".join(
        [
            "Its owner's claim is secret, and not here. A judge who has the file, the claim and images of the same",
            "kind finds out whether it holds of these weights, or of others that were made from them:",
            "",
            "```",
            "ipr verify suspect=public.safetensors claim=CLAIM",
            "```",
        ]
    )


def _limits(record: Record) -> str:
    measured = f"- Accuracy was measured on test images of {record.dataset}; of other images nothing is known."
    marked = [] if record.scheme == "baseline" else [MARKED]
    return "\n".join([measured, *marked, f"- {LICENCE}"])
