"""Tables as Markdown."""

from __future__ import annotations

from typing import Any

import pandas as pd

from ipr.reports.summary import mean_and_spread, rows, tables

HEADER = (
    "scheme",
    "norm",
    "energy",
    "n",
    "no passport",
    "genuine passport",
    "forged (mean; best)",
    "to baseline",
    "bits read",
    "trigger set",
    "consistent",
)


def markdown(frame: pd.DataFrame) -> str:
    """Every table of a frame of records, each under a line that says what it holds fixed. Accuracies in %."""
    return "\n\n".join(_table(setting, part) for setting, part in tables(frame))


def _table(setting: dict[str, Any], part: pd.DataFrame) -> str:
    lines = [title_of(setting, part), "", "| " + " | ".join(HEADER) + " |", "|---" * len(HEADER) + "|"]
    lines += ["| " + " | ".join(cells_of(row, seeds)) + " |" for row, seeds in rows(part)]
    machines = "; ".join(sorted(set(part["hardware"])))
    software = "; ".join(sorted(set(part["versions"])))
    total = part["train_seconds"].sum() / 60
    return "\n".join([*lines, "", f"{machines}; {software}; {total:.1f} minutes of training in all."])


def cut_short(cut: str) -> str:
    """What a title says of epochs that were cut short (`runs.record.cut_of`); "" of whole ones."""
    return f" of few batches ({cut})" if cut else ""


def title_of(setting: dict[str, Any], part: pd.DataFrame) -> str:
    """What a table holds fixed, in a sentence."""
    forged = part["forged"].dropna()
    title = (
        f"{setting['model']} at width {setting['width']:g} on {setting['dataset']} ({setting['train_images']} training "
        f"and {setting['test_images']} test images), {setting['epochs']} epochs{cut_short(setting['cut'])}, "
        f"optimizer={setting['optimizer']}. "
        "Accuracy in %, mean ± standard deviation over n seeds"
    )
    if not forged.empty:
        title += f"; {int(forged.max())} forged passports each"
    return title + "."


def cells_of(row: dict[str, Any], seeds: pd.DataFrame) -> list[str]:
    """The cells of one row, under `HEADER`: means and spread over its seeds."""
    if row["scheme"] == "baseline":
        accuracy = mean_and_spread(seeds["accuracy_without"])
        return ["baseline", row["norm"], "", str(len(seeds)), accuracy, "", "", "", "", "", ""]
    energy = forged = genuine = ""
    if row["passport"]:
        energy = "as published" if row["energy"] is None else f"{row['energy']:g}"
        best = seeds["accuracy_forged_max"].max()
        forged = f"{mean_and_spread(seeds['accuracy_forged_mean'])}; {100 * best:.1f}" if best == best else "-"
        genuine = mean_and_spread(seeds["accuracy_genuine"])
    bits = seeds["bits_total"].dropna()
    trigger = seeds["trigger_accuracy"].dropna()
    return [
        row["scheme"],
        row["norm"],
        energy,
        str(len(seeds)),
        mean_and_spread(seeds["accuracy_without"]),
        genuine,
        forged,
        mean_and_spread(seeds["gain"], signed=True),
        f"{int(seeds['bits_agreeing'].sum())} of {int(bits.sum())}" if len(bits) else "",
        mean_and_spread(trigger) if len(trigger) else "",
        f"{int(seeds['consistent'].sum())} of {len(seeds)}",
    ]
