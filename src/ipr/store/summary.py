"""What a run folder says of itself, finished or not, in a few facts: for lists, without loading torch."""

from __future__ import annotations

from typing import Any

from ipr.store.survey import Found

STATES = ("done", "running", "stopped", "failed")
"""What can have become of a run: `stopped`, and no process is at it; `failed`, and the same request fails again."""

MISSING = "missing"
"""Of what has no run folder."""


def state_of(folder: Found) -> str:
    """One of `STATES`."""
    if folder.finished:
        return "done"
    if folder.failure.exists():
        return "failed"
    return "running" if folder.held else "stopped"


def about(folder: Found) -> dict[str, Any]:
    """What a run was asked for and what it came to; what cannot be read is missing.

    Returns:
        scheme, model, norm, width, dataset, seed, epochs, attack, kind and state; of a finished one `accuracy` (what a
        legitimate user gets, or of an attack the largest at one of its points; a fraction), `mark` and `finished`.
    """
    facts: dict[str, Any] = {"kind": folder.kind, "state": state_of(folder)}
    places = {
        "scheme": ("scheme", "name"),
        "model": ("model", "name"),
        "norm": ("model", "norm"),
        "width": ("model", "width"),
        "dataset": ("dataset", "name"),
        "epochs": ("trainer", "max_epochs"),
        "attack": ("attack", "name"),
        "exhibit": ("exhibit", "name"),
    }
    for name, (section, field) in places.items():
        found = folder.asked.get(section)
        if isinstance(found, dict) and found.get(field) is not None:
            facts[name] = found[field]
    if "seed" in folder.asked:
        facts["seed"] = folder.asked["seed"]
    rows = folder.rows if folder.finished else []
    if not rows:
        return facts
    facts["finished"] = str(rows[-1].get("finished") or "").partition("+")[0].replace("T", " ")
    first = rows[0]
    if folder.kind == "train":
        names = (
            ["accuracy_genuine", "accuracy_without"] if first.get("scheme") == "passport_v1" else ["accuracy_without"]
        )
        facts["accuracy"] = next((v for name in names if (v := _number(first.get(name))) is not None), None)
        total, agreeing, keys = (first.get(name) for name in ("bits_total", "bits_agreeing", "trigger_accuracy"))
        if total is not None:
            facts["mark"] = f"{agreeing} of {total} bits"
        elif (share := _number(keys)) is not None:
            facts["mark"] = f"{100 * share:.0f} % of triggers"
    elif folder.kind == "attack":
        facts["accuracy"] = max(filter(None, (_number(row.get("accuracy_after")) for row in rows)), default=None)
        succeeded = sum(row.get("attack_succeeded") is True for row in rows)
        facts["mark"] = f"succeeded at {succeeded} of {len(rows)}"
    return facts


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) else None
