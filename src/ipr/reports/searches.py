"""What searches found: what protection costs against what an attack leaves of the mark, over victims that differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from ipr.judging.outcome import mark, nearest
from ipr.reports.colours import DARK, PALETTE
from ipr.reports.drawing import BAND, EPSILON
from ipr.reports.results import provenance_of
from ipr.reports.section import Line, Picture, Section, TableView, Value
from ipr.reports.subjects import subject_of
from ipr.reports.trainings import records_frame
from ipr.store.record import Record
from ipr.store.survey import Found
from ipr.studies.front import MAXIMIZE, MINIMIZE, front
from ipr.workflows.attack_rows import ALIGNED, AttackRow

FEWEST = 5
"""From so many victims on that differ, and were attacked alike, a search is shown."""

SEARCHED = ("scheme", "passport", "trigger_set", "optimizer", "model", "attack", "dataset", "trainer", "init")
"""Sections and keys of a request that make a trial another one."""

COSTS = {
    "points lost": "accuracy of the plain network, trained alike, less that of a legitimate user before the attack",
    "bits read": "of the bits that were embedded, after the attack",
    "accuracy after": "of the attacked network, in %",
    "best": "yes: no other trial costs as little, or less, and leaves as much, or more, of the mark",
}
"""The headings of a table of trials behind the keys that were searched over, and what they mean."""


@dataclass(frozen=True)
class Trial:
    """A protected network and what an attack left of it.

    Attributes:
        row: the attack's, of the point that came nearest.
        asked: key -> value of the request, as far as it may differ between trials.
        lost: accuracy lost to the plain network before the attack, in points.
        left: the share of the bits that is read after it, in %.
    """

    row: AttackRow
    asked: Mapping[str, Any]
    lost: float
    left: float


def searches(records: Sequence[Record], attacked: Sequence[AttackRow], runs: Path) -> list[list[Trial]]:
    """The attacks on owners' bits in groups that differ in nothing but their requests: the trials of searches.

    Args:
        records: of trainings, the plain networks among them.
        attacked: rows of attacks.
        runs: the folder of runs, whose requests tell the trials apart.
    """
    frame = records_frame(records)
    gains = dict(zip(frame["key"], frame["gain"], strict=True)) if not frame.empty else {}
    attacks: dict[str, list[AttackRow]] = {}
    for row in attacked:
        if not row.forged and row.bits_total and ALIGNED not in row.point.split():
            attacks.setdefault(row.key, []).append(row)
    groups: dict[tuple[Any, ...], list[Trial]] = {}
    for key, rows in sorted(attacks.items()):
        row = nearest(rows)
        if (gain := gains.get(row.victim)) is None or gain != gain:
            continue
        alike = (row.attack, row.scheme, row.model, row.norm, row.dataset, row.transfer or "", row.seed)
        asked = _asked(Found(runs / "attack" / key).asked)
        groups.setdefault(alike, []).append(Trial(row, asked, -100 * gain, 100 * mark(row)))
    return [same for _, same in sorted(groups.items()) if len({trial.row.victim for trial in same}) >= FEWEST]


def _asked(request: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name in SEARCHED if request else ():
        part = request.get(name)
        found |= {f"{name}.{key}": value for key, value in part.items()} if isinstance(part, dict) else {name: part}
    return found


def differing(trials: Sequence[Trial]) -> list[str]:
    """The keys in which the requests of trials differ, in their order; a request that is not there differs in none."""
    there = [trial.asked for trial in trials if trial.asked]
    keys = dict.fromkeys(key for asked in there for key in asked)
    return [key for key in keys if len({str(asked.get(key)) for asked in there}) > 1]


def best_trials(trials: Sequence[Trial]) -> list[Trial]:
    """The Pareto front, by what its trials cost: the lower, and the more is left, the better."""
    found = front({number: (one.lost, one.left) for number, one in enumerate(trials)}, (MINIMIZE, MAXIMIZE))
    return sorted((trials[number] for number in found), key=lambda one: one.lost)


def search_section(records: Sequence[Record], attacked: Sequence[AttackRow], runs: Path) -> Section | None:
    """A table and a picture of each search; None where there is none. See `searches`."""
    found = searches(records, attacked, runs)
    tables, pictures = [], []
    for number, trials in enumerate(found, 1):
        end, first = f"-{number}" if len(found) > 1 else "", trials[0].row
        title = f"{len(trials)} networks with {first.scheme} ({first.model}, {first.dataset}, seed {first.seed})"
        about = subject_of(asdict(trial.row) for trial in trials)
        tables.append(_table(trials, f"search{end}", f"{title}, before and after {first.attack}."))
        caption = f"What protection costs, and what {first.attack} leaves of the bits: {title}."
        pictures.append(Picture(f"search{end}", caption, search_figure(trials), about))
    if not found:
        return None
    made = provenance_of((t.row.hardware, t.row.versions, t.row.commit) for trials in found for t in trials)
    return Section("searches", "Searches", tables=tables, pictures=pictures, provenance=made)


def _table(trials: Sequence[Trial], name: str, caption: str) -> TableView:
    keys, best = differing(trials), best_trials(trials)
    lines = []
    for trial in sorted(trials, key=lambda one: (one.lost, -one.left)):
        row = trial.row
        cells = [_shown(trial.asked.get(key)) for key in keys]
        cells += [f"{trial.lost:z.1f}", f"{row.bits_agreeing} of {row.bits_total}", f"{100 * row.accuracy_after:.1f}"]
        lines.append(Line([Value(cell) for cell in [*cells, "yes" * (trial in best)]], subject_of([asdict(row)])))
    return TableView(name, caption, (*keys, *COSTS), lines, COSTS)


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return f"{value:.3g}" if isinstance(value, float) else "" if value is None else str(value)


def search_figure(trials: Sequence[Trial]) -> Figure:
    """Trials by what they cost and what was left, a colour for each number of bits embedded, with the Pareto front as
    steps; open marks where chance explains what was read, and epsilon_f, which may be lost, as a band.
    """
    figure = Figure(figsize=(5.6, 3.8), layout="constrained")
    axes = figure.subplots()
    best = best_trials(trials)
    ringed: dict[str, Any] = {"marker": "o", "ms": 9, "mfc": "none", "mew": 0.8, "color": DARK, "lw": 0.9}
    steps = [one.lost for one in best], [one.left for one in best]
    axes.plot(*steps, **ringed, drawstyle="steps-post", zorder=1, label="best: beaten by no other in both")
    dots: dict[str, Any] = {"marker": "o", "ls": "none", "ms": 5}
    sizes = sorted({trial.row.bits_total or 0 for trial in trials})
    for number, bits in enumerate(sizes):
        colour = PALETTE[number % len(PALETTE)]
        axes.plot([], [], **dots, color=colour, label=f"{bits} bits embedded")
        for read, face in ((True, colour), (False, "none")):
            same = [one for one in trials if one.row.bits_total == bits and one.row.mark_read is read]
            axes.plot([one.lost for one in same], [one.left for one in same], **dots, mfc=face, mec=colour)
    if not all(trial.row.mark_read for trial in trials):
        axes.plot([], [], **dots, mfc="none", mec=DARK, label="open: chance explains what is read")
    left, right = axes.get_xlim()
    if right > 0 and left < 100 * EPSILON:
        axes.axvspan(left, min(right, 100 * EPSILON), color=DARK, alpha=0.08, lw=0, zorder=0.5, label=BAND)
    axes.set_xlim(left, right)
    axes.set_xlabel("accuracy lost to the plain network, before the attack (points)", fontsize=8)
    axes.set_ylabel(f"bits read after {trials[0].row.attack} (%)", fontsize=8)
    axes.tick_params(labelsize=7)
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(ncols=2, fontsize=7, frameon=False, loc="outside lower center")
    return figure
