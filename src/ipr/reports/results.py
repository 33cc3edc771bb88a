"""From the cells of a plan to one frame of results: a row for each run, judged point of an attack, or fact."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from ipr.judging.decision import INCONCLUSIVE, VERIFIED
from ipr.judging.outcome import mark
from ipr.reports.selection import baseline_of
from ipr.store.folder import RunFolder
from ipr.store.record import Record, load_record
from ipr.store.summary import state_of
from ipr.studies.columns import COLUMNS, LABELS
from ipr.studies.facts import as_columns
from ipr.studies.planned import Plan, PlannedCell
from ipr.workflows.attack_rows import AttackRow, load_rows
from ipr.workflows.embedding_checks import embedding_failed
from ipr.workflows.exhibit import facts_path, load_facts

CLASSES = {"digits": 10, "digits_parity": 2, "cifar10": 10, "cifar100": 100, "caltech101": 101}
"""Data set -> how many classes it has, where that is known by its name."""

OPTIONAL = ("hardware", "versions", "commit")


@dataclass(frozen=True)
class Results:
    """What the finished cells of a plan came to.

    Attributes:
        frame: under the names of `COLUMNS`, with NaN where a column does not apply.
        exhibits: for each exhibit's cell that is done, its folder.
        provenance: hardware, versions and commits, each once.
        failed: a line for each training whose embedding failed.
    """

    frame: pd.DataFrame
    exhibits: Mapping[str, RunFolder]
    provenance: list[str]
    failed: Sequence[str] = ()


def results_of(plan: Plan, runs: Path) -> Results:
    """Reads every finished cell.

    Args:
        plan: with the runs of its cells.
        runs: the folder of runs.

    Raises:
        InputError: a record cannot be read.
    """
    rows: list[dict[str, Any]] = []
    exhibits: dict[str, RunFolder] = {}
    made: set[tuple[str, ...]] = set()
    failed: dict[str, None] = {}
    for cell in plan.cells:
        folder = cell.folder(runs)
        if folder is None or state_of(folder) != "done":
            continue
        if folder.kind == "train":
            record = load_record(folder.record)
            made.add((record.hardware, record.versions, record.commit))
            rows.append(about(cell) | of_record(record))
            if line := embedding_failed(record):
                failed[line] = None
        elif folder.kind == "attack":
            for row in load_rows(folder.path / "rows.jsonl").values():
                made.add((row.hardware, row.versions, row.commit))
                rows.append(about(cell) | of_attack(row))
        else:
            exhibits[str(cell.about["exhibit"])] = folder
            for fact in load_facts(facts_path(folder)):
                made.add(tuple(str(fact.get(name, "")) for name in OPTIONAL))
                rows.append(about(cell) | as_columns(str(cell.about["exhibit"]), fact))
    frame = with_chance(pd.DataFrame(rows, columns=list(COLUMNS)), plan.datasets)
    return Results(with_baselines(frame), exhibits, provenance_of(made), tuple(failed))


def about(cell: PlannedCell) -> dict[str, Any]:
    """What a cell says of itself, under the names of columns."""
    return {name: value for name, value in cell.about.items() if name in LABELS}


def of_record(record: Record) -> dict[str, Any]:
    """A training as a row."""
    genuine, without, used = record.accuracy_genuine, record.accuracy_without, record.accuracy_used
    marked = share(record.bits_agreeing, record.bits_total)
    watermark = record.passport is None and record.scheme != "baseline"
    return {
        "norm": record.norm,
        "whose": None if record.scheme == "baseline" else "genuine",
        "accuracy": used,
        "accuracy_with_claim": used if genuine is None else genuine,
        "accuracy_without": without,
        "accuracy_genuine": genuine,
        "accuracy_forged": record.accuracy_forged_mean,
        "accuracy_forged_best": record.accuracy_forged_max,
        "lost_without": None if genuine is None else genuine - without,
        "mark": record.trigger_accuracy if watermark and marked is None else marked,
        "triggers": record.trigger_accuracy,
        "mark_read": number(record.mark_read),
        "fidelity_kept": number(record.fidelity_holds),
        "seconds": record.train_seconds,
    }


def of_attack(row: AttackRow) -> dict[str, Any]:
    """A judged point of an attack as a row.

    With the owner's classifier put back the accuracy on the other task says nothing, and without it the trigger images
    have no labels among the new classes: neither is told. Bits are told once.
    """
    point = dict(token.split("=", 1) for token in row.point.split() if "=" in token)
    restored, other = point.get("classifier") == "owner", row.transfer is not None and row.fidelity_kept is None
    images = row.bits_total is None and row.trigger_accuracy is not None
    reached = None if restored else row.accuracy_after
    told = restored or not other if images else not restored  # bits are the same with either classifier
    marked = mark(row) if told and (row.bits_total or images) else None
    layers = point.get("layers")
    return {
        "norm": row.norm,
        "whose": "forged" if row.forged else "genuine" if row.bits_total or images else None,
        "way": point.get("way"),
        "point": row.point or None,
        "deciding": row.deciding or None,
        "layers": layers,
        "layers_count": None if layers is None or layers == "all" else layers.count("+") + 1,
        **{name: float(point[name]) for name in ("rate", "dissimilarity", "wrong") if name in point},
        "accuracy": reached,
        "accuracy_with_claim": None if other else row.accuracy_claimed,
        "lost": None if reached is None or other else row.accuracy_before - reached,
        "mark": marked,
        "bits": None if marked is None else row.bits_agreeing,
        "chance": None if marked is None else row.p_value_log10 / math.log10(2),
        "mark_freed": share(row.bits_freed, row.bits_total),
        "mark_over_accuracy": None if marked is None or reached is None else marked - reached,
        "triggers": None if other and not restored else row.trigger_accuracy,
        "mark_read": number(row.mark_read),
        "fidelity_kept": number(row.fidelity_kept),
        "upheld": None if row.decision is None else number(row.decision == VERIFIED),
        "inconclusive": None if row.decision is None else number(row.decision == INCONCLUSIVE),
        "succeeded": number(row.attack_succeeded),
        "seconds": row.seconds,
        "share_of_training": row.share_of_training,
        "iterations": row.iterations,
    }


def share(part: int | None, whole: int | None) -> float | None:
    """Their ratio, where there is one."""
    return None if part is None or not whole else part / whole


def number(truth: bool | None) -> float | None:
    """1 for true, 0 for false, None for neither."""
    return None if truth is None else float(truth)


def with_chance(frame: pd.DataFrame, datasets: Mapping[str, str] | None = None) -> pd.DataFrame:
    """Fills `by_chance`: the accuracy of a guess on the task that a network was last trained for.

    Args:
        frame: of results, or of records.
        datasets: what stands for the data sets that it names; None where they stand for themselves.
    """
    task = frame["dataset"] if "transfer" not in frame else frame["transfer"].astype(object).fillna(frame["dataset"])
    guess = {name: 1 / CLASSES[real] for name, real in (datasets or {n: n for n in CLASSES}).items() if real in CLASSES}
    return frame.assign(by_chance=task.map(guess).astype(float))


def with_baselines(frame: pd.DataFrame) -> pd.DataFrame:
    """Fills `baseline` and `gain` for trainings and for fine-tuning to another task, from the baselines among them."""
    if frame.empty:
        return frame
    plain = (frame["scheme"] == "baseline") & frame["exhibit"].isna() & frame["accuracy"].notna()
    compared = frame["exhibit"].isna() & (frame["attack"].isna() | (frame["attack"] == "finetune"))
    same = ("model", "norm", "dataset", "transfer", "attack", "seed")
    frame["baseline"] = baseline_of(frame, same, "accuracy", plain).where(compared)
    frame["gain"] = (frame["accuracy"].astype(float) - frame["baseline"]).where(frame["scheme"] != "baseline")
    return frame


def provenance_of(made: Iterable[tuple[str, ...]]) -> list[str]:
    """Hardware, versions and commits of runs, each combination of the first two once."""
    commits: dict[tuple[str, str], list[str]] = {}
    for hardware, versions, commit in sorted(set(made)):
        commits.setdefault((hardware, versions), []).append(commit or "unknown")
    return [f"{hardware}; {versions}; commit {', '.join(of)}" for (hardware, versions), of in commits.items()]
