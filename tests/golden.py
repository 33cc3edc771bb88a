"""Numbers of computations in float64 on one thread, compared with stored ones.

They agree to a part in ten million. Another processor's order of summation changes 1e-12 of what is computed in float64
throughout; where weights are folded in float32 on the way, as a thief does with V1, it changes up to 1e-8 (seen on an
AMD EPYC beside an Intel Xeon).
Stored again with: IPR_GOLDEN=write .venv/bin/pytest tests/training/test_golden.py tests/attacks/test_golden.py. Say why
in the commit.
"""

from __future__ import annotations

import csv
import json
import os
import re
from pathlib import Path
from typing import Any

ASKED = ("trainer.precision=64-true", "optimizer.batch_size=32")
"""How what is stored was computed."""

PART, NUMBER = 1e-7, re.compile(r"-?\d+\.\d+")


def losses(metrics: Path) -> list[dict[str, str]]:
    """What a training logged of its training images, one row an epoch."""
    with metrics.open(newline="") as file:
        rows = [{k: v for k, v in row.items() if k.startswith("train/") and v} for row in csv.DictReader(file)]
    return [{name: f"{float(value):.9f}" for name, value in row.items()} for row in rows]


def assert_stored(path: Path, name: str, numbers: Any) -> None:
    """Compares numbers with those of a name in a file, or writes them there where IPR_GOLDEN=write says so."""
    if os.environ.get("IPR_GOLDEN") == "write":
        stored = json.loads(path.read_text()) if path.exists() else {}
        path.write_text(json.dumps(stored | {name: numbers}, indent=1) + "\n")
    assert_close(numbers, json.loads(path.read_text())[name], name)


def assert_close(found: Any, stored: Any, where: str) -> None:
    """The same keys, lengths, texts and whole numbers; other numbers, written or not, to `PART`."""
    if isinstance(stored, dict):
        assert found.keys() == stored.keys(), where
        for key, value in stored.items():
            assert_close(found[key], value, f"{where}.{key}")
    elif isinstance(stored, list):
        assert len(found) == len(stored), where
        for number, value in enumerate(stored):
            assert_close(found[number], value, f"{where}[{number}]")
    elif isinstance(stored, float) or (isinstance(stored, str) and NUMBER.fullmatch(stored)):
        assert abs(float(found) - float(stored)) <= PART * max(1.0, abs(float(stored))), (where, found, stored)
    else:
        assert found == stored, where
