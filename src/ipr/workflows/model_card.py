"""What may be read of a finished network by whoever gets its weights: a card in Markdown, as model hubs show them.

It tells neither key nor seed, as secrets follow from the seed where there is no key; nor which layers carry a mark, nor
how many bits. A test holds the card, and the artifact it goes with, free of what a claim holds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import yaml

from ipr.config.schema import TrainConfig
from ipr.data.images import ImageData
from ipr.judging.fidelity import largest_class, percent
from ipr.store.record import Record
from ipr.workflows.embedding_checks import Check
from ipr.workflows.request import scheme_of

NAMED_CLASSES = 20
"""So many classes are named; of more, how many there are."""

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
    head = yaml.safe_dump(_front_matter(record), sort_keys=False, allow_unicode=True)
    parts = [
        f"# {record.model} for {record.dataset}",
        _what(config, record),
        f"## Accuracy\n\n{_accuracy(config, data, record)}",
        f"## What was checked when it was trained\n\n{_checked(checks)}",
        f"## How to use it\n\n{_use(config, data, record)}",
        f"## Whose it is\n\n{_proof(record)}",
        f"## Limits\n\n{_limits(record)}",
    ]
    return f"---\n{head}---\n\n" + "\n\n".join(parts) + "\n"


def _front_matter(record: Record) -> dict[str, Any]:
    measured = {"type": "accuracy", "value": round(record.accuracy_without, 4)}
    result = {
        "task": {"type": "image-classification"},
        "dataset": {"type": record.dataset, "name": record.dataset, "split": "test"},
        "metrics": [measured],
    }
    return {
        "library_name": "pytorch",
        "pipeline_tag": "image-classification",
        "tags": ["image-classification", record.model, record.scheme],
        "datasets": [record.dataset],
        "metrics": ["accuracy"],
        "model-index": [{"name": f"{record.model}-{record.dataset}", "results": [result]}],
    }


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


def _use(config: TrainConfig, data: ImageData, record: Record) -> str:
    asked = f"norm={record.norm!r}, width={record.width!r}, channels_in={data.channels}, image_size={data.image_size}"
    rest = ", strict=False" if scheme_of(config).locked else ""
    lines = [
        "```python",
        "from safetensors.torch import load_file",
        "from ipr.models import build_model",
        "",
        f"network = build_model({record.model!r}, {asked}, num_classes={len(data.classes)})",
        f'network.load_state_dict(load_file("public.safetensors"){rest})',
        "network.eval()",
        "```",
        "",
        f"Input: float32, (N, {data.channels}, {data.image_size}, {data.image_size}), each channel as "
        f"(pixel / 255 - mean) / std with mean {_rounded(data.mean)} and std {_rounded(data.std)}.",
        f"Output: logits, (N, {len(data.classes)})" + _classes(data),
    ]
    return "\n".join(lines)


def _rounded(values: Sequence[float]) -> list[float]:
    return [round(value, 6) for value in values]


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
