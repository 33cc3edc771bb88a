"""Trainings as a section of a report: a table and figures for each setting, one row for each scheme."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace
from typing import Any

import pandas as pd

from ipr.reports.drawing import picture_of
from ipr.reports.results import provenance_of, with_chance
from ipr.reports.section import Line, Picture, Section, TableView, Value
from ipr.reports.selection import baseline_of, grouped, rank
from ipr.reports.subjects import subject_of_results
from ipr.reports.units import mean_and_spread
from ipr.schemes.start import TRAINED
from ipr.store.record import Record, cut_of
from ipr.studies.study import FigureDrawing

SETTING = [
    *("dataset", "train_images", "test_images", "model", "width"),
    *("optimizer", "epochs", "precision", "memory_format", "compile", "cut", "start"),
]
"""What one table holds fixed."""

ROW = ["norm", "scheme", "passport", "energy", "step_energy", "alternation", "bits_total"]
"""What tells its rows apart; seeds are averaged over."""

HEADER = {
    "scheme": "what protects the network; baseline is the plain one",
    "norm": "bn: batch norm, gn: group norm",
    "energy": "|S|, the length of the passports, and the shorter one as at which scales are trained",
    "n": "how many trainings, one a seed, the row is the mean of",
    "no passport": "test accuracy in % as the network is given away",
    "genuine passport": "test accuracy in % with its owner's passport",
    "forged (mean; best)": "test accuracy in % with random passports: the mean over them, and the best of all",
    "to baseline": "difference to the plain network of the same norm and seed, in points, for what a legitimate "
    "user gets (with the passport in V1, without it in others); - where that network was not trained",
    "bits read": "how many bits of the signature, or of the watermark, agree with the claim, over all n",
    "trigger set": "share of the trigger images that is answered as assigned, in %",
    "consistent": "how many of the n work with their owner's claim and have its mark read. Whose the "
    "network is does not follow; ipr verify decides that",
}
"""The headings of a table of trainings, and what they mean."""

ACCURACIES = {
    "genuine passport": "accuracy_genuine",
    "forged passports": "accuracy_forged_mean",
    "no passport": "accuracy_without",
}

FIGURES = (
    FigureDrawing(
        "accuracy",
        "Accuracy with the genuine passport, none, and forged ones.",
        "bars",
        x="scheme",
        values=ACCURACIES,
        panels=["norm"],
        series="energy",
    ),
    FigureDrawing(
        "energy",
        "Accuracy by the energy |S| of the passports.",
        "bars",
        x="energy",
        values={name: ACCURACIES[name] for name in ("genuine passport", "no passport")},
        panels=["scheme"],
        series="norm",
    ),
)


def setting_of(record: Record) -> tuple[Any, ...]:
    """What a run shares with the baseline that it is compared with."""
    row = asdict(record) | _named(record)
    return tuple(row[name] for name in [*SETTING, "norm", "seed"])


def _named(record: Record) -> dict[str, str]:
    """What of a setting a record tells in other words: how epochs were cut short, and what it started from."""
    return {"cut": cut_of(record.tags), "start": record.init or ""}


def records_frame(records: Iterable[Record]) -> pd.DataFrame:
    """Records as a table, with `cut` and `start` (`_named`), `accuracy_used` (what a legitimate user gets) and `gain`,
    its difference to the baseline of the same setting, norm and seed (as a fraction; NaN where that baseline is not
    among the records).
    """
    rows = [asdict(one) | _named(one) | {"accuracy_used": one.accuracy_used} for one in records]
    frame = pd.DataFrame(rows)
    if frame.empty:
        return frame
    baseline = baseline_of(frame, [*SETTING, "norm", "seed"], "accuracy_used", frame["scheme"] == "baseline")
    frame["gain"] = frame["accuracy_used"] - baseline
    return frame


def tables(frame: pd.DataFrame) -> list[tuple[dict[str, Any], pd.DataFrame]]:
    """One table per setting: the setting, and its rows with the records of each."""
    return [(dict(zip(SETTING, key, strict=True)), part) for key, part in grouped(frame, SETTING)]


def rows(part: pd.DataFrame) -> list[tuple[dict[str, Any], pd.DataFrame]]:
    """The rows of a table: batch norm before group norm, the baseline before its schemes, those in their own order."""
    found = [
        ({k: None if v != v else v for k, v in zip(ROW, keys, strict=True)}, seeds)
        for keys, seeds in part.groupby(ROW, dropna=False, sort=True)
    ]
    return sorted(found, key=lambda row: (row[0]["norm"], rank("scheme", row[0]["scheme"])))


def trainings_section(records: Sequence[Record], notes: Sequence[str] = ()) -> Section:
    """A table and figures for each setting of the trainings, and notes on what is not in them."""
    frame = records_frame(records)
    views, pictures, mixed = [], list[Picture](), list[str]()
    parts = tables(frame)
    for number, (setting, part) in enumerate(parts, 1):
        end = f"-{number}" if len(parts) > 1 else ""
        lines = [Line([Value(cell) for cell in cells_of(row, seeds)], _subject(seeds)) for row, seeds in rows(part)]
        views.append(TableView(f"runs{end}", title_of(setting, part), tuple(HEADER), lines, HEADER))
        pictures += _pictures(part, end)
        mixed += [note for row, seeds in rows(part) if (note := _mixed(row, seeds))]
    made = provenance_of((one.hardware, one.versions, one.commit) for one in records)
    total = f"{frame['train_seconds'].sum() / 60:.1f} minutes of training in all."
    return Section("runs", "Trainings", tables=views, pictures=pictures, provenance=made, notes=[*notes, *mixed, total])


def _mixed(row: dict[str, Any], seeds: pd.DataFrame) -> str:
    """A warning of a row in which networks of one seed are averaged; "" where there is one a seed."""
    count, different = len(seeds), seeds["seed"].nunique()
    return averaged(row["scheme"], count, different) if count > different else ""


def averaged(scheme: str, networks: int, seeds: int) -> str:
    """What is said of a line in which more networks than seeds are averaged."""
    told = f"{scheme}: {networks} networks of {seeds} seeds are averaged. They differ in a setting that has no column "
    return told + "here: their `config.yaml` has it; choose some of them by a tag."


def _subject(part: pd.DataFrame) -> dict[str, frozenset[str]]:
    return subject_of_results(part.assign(attack=None))


def _pictures(part: pd.DataFrame, end: str) -> list[Picture]:
    """Those of `FIGURES` that show something: energies where there are several."""
    lengths = part["energy"].astype(object).where(part["energy"].notna(), "as published")
    named = part.assign(energy=lengths.where(part["passport"].notna(), None))
    several = named["energy"].nunique() > 1
    drawn: dict[str, pd.DataFrame] = {
        "accuracy": named if several else named.assign(energy=None),
        "energy": named[named["energy"].notna()] if several else named[:0],
    }
    found = []
    for drawing in FIGURES:
        if (picture := picture_of(drawing, with_chance(drawn[drawing.name]).assign(attack=None))) is not None:
            found.append(replace(picture, name=f"{drawing.name}{end}"))
    return found


def cut_short(cut: str) -> str:
    """What a title says of epochs that were cut short (`store.record.cut_of`); "" of whole ones."""
    return f" of few batches ({cut})" if cut else ""


def started_from(start: str) -> str:
    """What a title says of the weights that training began with; "" of random ones."""
    if not start:
        return ""
    return ", from the trained baseline" if start == TRAINED else f", from weights {start}"


def title_of(setting: dict[str, Any], part: pd.DataFrame) -> str:
    """What a table holds fixed, in a sentence."""
    forged = part["forged"].dropna()
    title = (
        f"{setting['model']} at width {setting['width']:g} on {setting['dataset']} ({setting['train_images']} training "
        f"and {setting['test_images']} test images), {setting['epochs']} epochs{cut_short(setting['cut'])}, "
        f"optimizer={setting['optimizer']}{started_from(setting['start'])}. "
        "Accuracy in %, mean ± standard deviation over n seeds"
    )
    if not forged.empty:
        title += f"; {int(forged.max())} forged passports each"
    return title + "."


def energy_of(energy: float | None, step_energy: float | None) -> str:
    """The length of passports, and the shorter one as at which scales are trained."""
    told = "as published" if energy is None else f"{energy:g}"
    return told if step_energy is None else f"{told}, steps {step_energy:g}"


def cells_of(row: dict[str, Any], seeds: pd.DataFrame) -> list[str]:
    """The cells of one row, under `HEADER`: means and spread over its seeds."""
    without = mean_and_spread(seeds["accuracy_without"])
    if row["scheme"] == "baseline":
        return ["baseline", row["norm"], "", str(len(seeds)), without, "", "", "", "", "", ""]
    energy = forged = genuine = ""
    if row["passport"]:
        energy = energy_of(row["energy"], row["step_energy"])
        best = seeds["accuracy_forged_max"].max()
        forged = f"{mean_and_spread(seeds['accuracy_forged_mean'])}; {100 * best:.1f}" if best == best else "-"
        genuine = mean_and_spread(seeds["accuracy_genuine"])
    bits = seeds["bits_total"].dropna()
    return [
        row["scheme"],
        row["norm"],
        energy,
        str(len(seeds)),
        without,
        genuine,
        forged,
        mean_and_spread(seeds["gain"], sign="+") or "-",
        f"{int(seeds['bits_agreeing'].sum())} of {int(bits.sum())}" if len(bits) else "",
        mean_and_spread(seeds["trigger_accuracy"]),
        f"{int(seeds['consistent'].sum())} of {len(seeds)}",
    ]
