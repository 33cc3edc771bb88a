"""The facts of exhibits under the names of columns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ipr.studies.columns import COLUMNS

NAMES: Mapping[str, Mapping[str, str]] = {
    "watermark_distributions": {
        "state": "phase",
        "compared": "what",
        "ks_distance": "distance",
        "claim": "whose",
        "bits_share": "mark",
    },
    "trigger_images": {
        "claim": "whose",
        "answered_share": "mark",
        "change": "what",
        "largest": "value",
        "compared": "what",
        "total_variation": "distance",
    },
    "passport_kinds": {
        "kind": "what",
        "layer": "layers",
        "zeros": "share",
        "energy": "value",
        "combinations": "value",
    },
    "distributions": {
        "layer": "layers",
        "network": "what",
        "of": "phase",
        "share_large": "share",
        "share_negative": "share",
        "compared": "what",
        "ks_distance": "distance",
    },
    "scale_signs": {
        "layer": "layers",
        "channel": "index",
        "character_index": "index",
        "agreement": "what",
        "bits_share": "mark",
    },
    "convergence": {
        "test_accuracy": "accuracy",
        "weight_update": "change",
        "summary": "what",
        "final_accuracy": "accuracy",
        "accuracy_std_last": "std",
        "scale_change_ratio": "change",
        "signs_final": "value",
    },
    "timing": {
        "work": "phase",
        "timed": "scheme",
        "timed_norm": "norm",
        "form": "what",
        "ratio_median": "ratio",
        "seconds_per_1000_images": "seconds_per_1000",
        "seconds_epoch": "seconds",
    },
}
"""Exhibit -> name of a fact -> column; facts whose name is a column already keep it."""

ABOUT = ("scheme", "norm", "epochs", "seed", "attack", "transfer", "dataset", "model", "exhibit")
"""What every fact says of its run; a study's cell says it better."""


def as_columns(exhibit: str, fact: Mapping[str, Any]) -> dict[str, Any]:
    """A fact of an exhibit, as it is kept, as a row of results; what has no column is left out."""
    names = NAMES.get(exhibit, {})
    row = {name: value for name, value in fact.items() if name in COLUMNS and name not in ABOUT and name not in names}
    for name, column in names.items():
        if fact.get(name) is not None:
            row[column] = fact[name]
    return row
