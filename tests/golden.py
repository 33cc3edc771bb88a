"""Numbers of computations in float64 on one thread, compared with stored ones digit for digit.

Nine decimals leave out what another processor's order of summation may change (1e-12 or so) and nothing else: what is
computed on the way and stored in float32 (folded scales, drawn feature maps, a fingerprint) is summed in float64 and
rounded once. They are the same as an AMD EPYC computes with oneDNN, MKL and torch for SSE 4.1, AVX2 and AVX-512; torch
without AVX2 (`ATEN_CPU_CAPABILITY=default`) draws other random numbers in their last digits.
Stored again with: IPR_GOLDEN=write .venv/bin/pytest tests/training/test_golden.py tests/attacks/test_golden.py. Say why
in the commit.
"""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path
from typing import Any

ASKED = ("trainer.precision=64-true", "optimizer.batch_size=32")
"""How what is stored was computed."""


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
    assert numbers == json.loads(path.read_text())[name]
