"""What an offline W&B run holds, read back from its file."""

from __future__ import annotations

import json
import struct
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wandb.proto import wandb_internal_pb2


@dataclass
class Told:
    """One run: what it is called, its configuration, summary, history, axes, artifacts, and the exit codes it ended
    with.
    """

    about: Any = None
    config: dict[str, Any] = field(default_factory=dict)
    summary: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    axes: dict[str, str] = field(default_factory=dict)
    artifacts: list[Any] = field(default_factory=list)
    exits: list[int] = field(default_factory=list)

    def having(self, name: str) -> list[dict[str, Any]]:
        """The rows of the history that hold a metric."""
        return [row for row in self.history if name in row]


def records(path: Path):
    """The records of a .wandb file: a header of 7 bytes, then LevelDB log blocks of 32 KiB."""
    content, position, whole = path.read_bytes(), 7, b""
    while position + 7 <= len(content):
        left = 32768 - position % 32768
        if left < 7:
            position += left
            continue
        _, length, kind = struct.unpack_from("<IHB", content, position)
        if position + 7 + length > len(content):
            return  # still being written
        whole += content[position + 7 : position + 7 + length]
        position += 7 + length
        if kind in (1, 4):  # a full record, or its last part
            record = wandb_internal_pb2.Record()
            record.ParseFromString(whole)
            yield record
            whole = b""


def read(path: Path) -> Told:
    """What is in a file so far."""
    told = Told()
    for record in records(path):
        kind = record.WhichOneof("record_type")
        if kind == "run":
            told.about = record.run
            told.config |= {item.key: json.loads(item.value_json) for item in record.run.config.update}
            told.summary |= _values(record.run.summary.update)
        elif kind == "config":
            told.config |= {item.key: json.loads(item.value_json) for item in record.config.update}
        elif kind == "summary":
            told.summary |= _values(record.summary.update)
        elif kind == "history":
            told.history.append(_values(record.history.item))
        elif kind == "metric":
            told.axes[record.metric.name or record.metric.glob_name] = record.metric.step_metric
        elif kind == "artifact":
            told.artifacts.append(record.artifact)
        elif kind == "request" and record.request.WhichOneof("request_type") == "log_artifact":
            told.artifacts.append(record.request.log_artifact.artifact)
        elif kind == "exit":
            told.exits.append(record.exit.exit_code)
    return told


def read_finished(folder: Path, pattern: str = "wandb/offline-run-*") -> Told:
    """The one W&B run of a run folder. Its service writes the end after `finish` has returned, so this waits for it."""
    (path,) = folder.glob(f"{pattern}/*.wandb")
    end = time.monotonic() + 60
    while not (told := read(path)).exits and time.monotonic() < end:
        time.sleep(0.05)
    return told


def _values(items) -> dict[str, Any]:
    return {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items}
