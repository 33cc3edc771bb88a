"""What does a passport cost? Runs beside the plain network that was trained for as many steps from the same start.

    python benchmarks/cost.py runs [tag=photographs[,more]] [limit_test=10000]

Pairs every run of a passport scheme with the baseline of its setting, norm and seed (`reports/trainings.py:
setting_of`) and prints a table in Markdown: accuracies in %, mean and standard deviation over the seeds, and the mean
loss in points with its 95 % interval (Student's t over pairs), for the network that is given away (V2, V3) and with the
passport. Runs without such a baseline are left out.

With `limit_test` every network is measured again on so many test images, where it was judged on fewer: seeds share
them, so that what is left of the interval is less the luck of few images.
"""

from __future__ import annotations

import math
import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean, stdev

import yaml
from scipy.stats import t

from branch_statistics import images_of, opened, presented
from ipr.config.schema import ModelConfig
from ipr.judging.fidelity import accuracy
from ipr.reports.trainings import ROW, setting_of, started_from
from ipr.reports.units import mean_and_spread
from ipr.schemes.start import load_suspect
from ipr.store.record import Record, load_record
from ipr.store.tags import parted

HEADS = (
    "scheme", "norm", "energy", "start", "n", "given away", "with the passport", "forged, best of all", "bits",
    "trigger set",
    "loss, given away", "loss, with the passport",
)  # fmt: skip


def interval(losses: Sequence[float]) -> str:
    """Mean of paired differences in points and its 95 % interval: `0.8 [0.2, 1.4]`; the mean alone of one pair."""
    mean = 100 * fmean(losses)
    if len(losses) == 1:
        return f"{mean:.1f}"
    half = 100 * stdev(losses) / math.sqrt(len(losses)) * float(t.ppf(0.975, len(losses) - 1))
    return f"{mean:.1f} [{mean - half:.1f}, {mean + half:.1f}]"


def cells(runs: Sequence[Record], baselines: dict[tuple[object, ...], Record]) -> list[str]:
    """A row of the table, of runs that differ in their seed alone."""
    first = runs[0]
    plain = [baselines[setting_of(run)].accuracy_without for run in runs]
    genuine = [run.accuracy_genuine for run in runs if run.accuracy_genuine is not None]
    energy = "" if first.energy is None else f"{first.energy:g}"
    told = [
        first.scheme,
        first.norm,
        energy,
        started_from(first.init or "").removeprefix(", from ") or "random weights",
    ]
    told += [str(len(runs)), mean_and_spread([run.accuracy_without for run in runs])]
    if first.scheme == "baseline":
        return [*told, *[""] * (len(HEADS) - len(told))]
    forged = [run.accuracy_forged_max for run in runs if run.accuracy_forged_max is not None]
    triggers = [run.trigger_accuracy for run in runs if run.trigger_accuracy is not None]
    agreeing, total = sum(run.bits_agreeing or 0 for run in runs), sum(run.bits_total or 0 for run in runs)
    told += [mean_and_spread(genuine), f"{100 * max(forged):.1f}", f"{agreeing} of {total}"]
    told += [mean_and_spread(triggers) if triggers else ""]
    given = [a - run.accuracy_without for a, run in zip(plain, runs, strict=True)]
    told += ["" if first.scheme == "passport_v1" else interval(given)]
    return [*told, interval([a - b for a, b in zip(plain, genuine, strict=True)])]


def table(records: Sequence[Record]) -> str:
    """The table in Markdown of all runs that have a baseline among them."""
    baselines = {setting_of(record): record for record in records if record.scheme == "baseline"}
    rows: dict[tuple[object, ...], list[Record]] = defaultdict(list)
    for record in sorted(records, key=lambda one: one.seed):
        if setting_of(record) in baselines and (record.scheme == "baseline" or record.accuracy_genuine is not None):
            rows[*setting_of(record)[:-1], *(getattr(record, name) for name in ROW)].append(record)
    lines = [f"| {' | '.join(HEADS)} |", "|---" * len(HEADS) + "|"]
    lines += [f"| {' | '.join(cells(runs, baselines))} |" for _, runs in sorted(rows.items(), key=lambda one: str(one))]
    return "\n".join(lines)


def measured(path: Path, record: Record, limit: int) -> Record:
    """The record of a run with the accuracies that its networks have on so many test images."""
    asked = yaml.safe_load((path.parent / "config.yaml").read_text())["model"]
    if record.passport is None:
        data = images_of(path.parent, limit_test=limit)
        network = load_suspect(ModelConfig(**asked), data, path.with_name("public.safetensors"))
        return replace(record, accuracy_without=accuracy(network, data.test_images))
    network, claim, _, images = opened(path.parent, limit_test=limit)
    plain, genuine = accuracy(network, images), presented(network, [claim], images)[0]
    return replace(record, accuracy_without=plain, accuracy_genuine=genuine)


def main(arguments: Sequence[str]) -> None:
    """Prints the table of the runs of a folder."""
    options = dict(argument.split("=", 1) for argument in arguments[1:])
    tags, limit = {*options["tag"].split(",")} if "tag" in options else None, options.get("limit_test")
    found = {path: load_record(path) for path in sorted(Path(arguments[0]).glob("train/*/record.json"))}
    records = {path: record for path, record in found.items() if tags is None or tags & {*parted(record.tags)}}
    print(table([record if limit is None else measured(path, record, int(limit)) for path, record in records.items()]))


if __name__ == "__main__":
    main(sys.argv[1:])
