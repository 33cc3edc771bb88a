"""The model card of an entry: YAML that hubs read in front, Markdown below, all of it from the entry's own files."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import yaml

from board.entry import Entry
from board.weights import locked
from board.words import NONE, forged, literal, mark_read, outcome, told
from ipr.judging.fidelity import percent
from ipr.judging.outcome import nearest
from ipr.reports.names import described
from ipr.workflows.model_card import front_matter, loading_code


def card(entry: Entry) -> str:
    """The whole file."""
    front = yaml.safe_dump(metadata(entry), sort_keys=False, width=1000)
    return f"---\n{front}---\n\n" + "\n\n".join(_parts(entry)) + "\n"


def metadata(entry: Entry) -> dict[str, Any]:
    """What stands in front, in the fields of the Hugging Face hub; `results` are those that anybody can measure."""
    return {"license": "apache-2.0"} | front_matter(entry.record, entry.name)


def _parts(entry: Entry) -> Iterable[str]:
    record = entry.record
    yield f"# {entry.name}"
    what = f"{literal(record.model)} at width {record.width:g} with norm {literal(record.norm)}"
    about = described("scheme", [record.scheme])[record.scheme]
    yield f"{what}, trained on {literal(record.dataset)} by the scheme {literal(record.scheme)}. {about}"
    yield "An entry of the [leaderboard](../../README.md). `make leaderboard` writes this card of the files beside it."
    yield "## Use"
    yield _use(entry)
    yield "## Results"
    yield _results(entry)
    yield "## Attacks"
    yield _attacks(entry)
    yield "## Training"
    yield _training(entry)
    yield "## Limits"
    yield _limits(entry)


def _use(entry: Entry) -> str:
    record, network = entry.record, entry.network
    alone = not locked(record)
    code = loading_code(
        record,
        channels=network.channels,
        image_size=network.image_size,
        classes=len(network.classes),
        mean=network.mean,
        std=network.std,
    )
    classes = f"Classes, in the order of the logits: {', '.join(literal(one) for one in network.classes)}."
    needs = "It needs its passport, which is not here: what loads answers little better than chance.\n\n"
    without = "" if alone else needs
    return f"{without}{code}\n\n{classes}"


def _results(entry: Entry) -> str:
    record = entry.record
    rows = [
        (
            "accuracy as given away",
            percent(record.accuracy_without, NONE),
            f"{told(entry)}, {record.test_images} images",
        ),
        ("accuracy with the passport", percent(record.accuracy_genuine, NONE), "reported"),
        ("accuracy with forged passports", forged(record), "reported"),
        ("mark", mark_read(record), "reported"),
    ]
    lines = [f"| {name} | {value} | {how} |" for name, value, how in rows if value != NONE]
    head = "| what | value | whose word |\n|---|---|---|"
    return "\n".join([head, *lines])


def _attacks(entry: Entry) -> str:
    by_attack = {name: [row for row in entry.rows if row.attack == name] for name in {row.attack for row in entry.rows}}
    if not by_attack:
        return "None were reported."
    lines = [f"- {outcome(nearest(rows))} (points: {len(rows)})" for _, rows in sorted(by_attack.items())]
    return "The point of each that came nearest to success, as reported:\n\n" + "\n".join(lines)


def _training(entry: Entry) -> str:
    record = entry.record
    how = f"recipe {literal(record.optimizer)}, seed {record.seed}, from {literal(record.init or 'random weights')}"
    commit = f"commit {record.commit}" if record.commit else "no commit"
    made = [record.hardware, record.versions, commit, record.finished]
    size = f"{record.train_images} images, {record.epochs} epochs, {record.parameters} parameters"
    return f"{size}; {how}; {'; '.join(map(literal, made))}."


def _limits(entry: Entry) -> str:
    lines = ["A small network for research on ownership: fit for comparisons, not for use."]
    if entry.record.scheme != "baseline":
        lines.append(
            "Neither its claim nor its passport is published, so nobody but its owner can read the mark. "
            "A mark without a date proves nothing ([threat model](../../../../threat-model.md))."
        )
    return " ".join(lines)
