"""Attacks as a section of a report: every point with its spread, and every attack on every scheme as one table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean

import pandas as pd
from matplotlib.figure import Figure

from ipr.attacks.base import schemes_of
from ipr.config.registry import entries, load_all
from ipr.judging.outcome import mark, nearest
from ipr.reports.drawing import figure_of
from ipr.reports.results import provenance_of, with_chance
from ipr.reports.section import Line, Picture, Section, TableView, Value
from ipr.reports.selection import attacks_in, rank
from ipr.reports.subjects import subject_of
from ipr.reports.trainings import averaged, cut_short, energy_of, started_from
from ipr.reports.units import mean_and_spread
from ipr.store.record import cut_of
from ipr.studies.study import FigureDrawing
from ipr.workflows.attack_rows import ALIGNED, AttackRow

LINES: dict[str, dict[str, Callable[[str], bool]]] = {
    "prune": {"prune, 60 %": lambda point: point == "rate=0.6", "prune, any rate": lambda point: True},
    "overwrite": {
        "overwrite, owner's claim": lambda point: point == "claim=owner",
        "overwrite, second claim": lambda point: point == "claim=second",
    },
}
"""Attacks that take more than one line of the table, and which points each line shows."""


def aligned(point: str) -> bool:
    """Whether a point is that of a suspect which a judge aligned to the victim."""
    return ALIGNED in point.split()


def as_given(point: str) -> bool:
    """Whether it is that of a suspect as it was given."""
    return not aligned(point)


SETTING = ("dataset", "train_images", "test_images", "model", "width", "victim_epochs", "init")

HEADER = {
    "attack": "what was done to the network, or how a claim on it was forged",
    "scheme": "what protects the network",
    "point": "how strong the attack was, e.g. which fraction was pruned; empty where it has one strength",
    "n": "how many judged networks, or forged claims, the row is the mean of",
    "accuracy": "test accuracy in % after the attack, or with the forged claim",
    "points lost": "accuracy before the attack less that after it, in points; below 0 where it rose",
    "least; most lost": "the smallest and the largest of these losses",
    "mark read": "the least and the most of the claimed bits, or trigger images, that was read",
    "succeeded": "at how many of the n the attack succeeded by the paper's rule: accuracy is within epsilon_f (3 "
    "points) of the owner's, and the owner's mark is not read any more, or the forger's is read",
}
"""The headings of a table of points, and what they mean."""

FORGERS = {
    "fake1": "weights alone",
    "forge_uchida": "weights alone",
    "forge_deepmarks": "weights alone",
    "forge_deepsigns": "weights alone",
    "forge_trigger_set": "weights alone",
    "fake2": "weights and training data",
}
"""Attacks that forge a claim -> what their forger has, as far as a figure compares them."""

FORGERIES = FigureDrawing(
    "forgeries",
    "Accuracy with the owner's claim, and with the best forged claim whose mark is read, by what the forger has.",
    "bars",
    x="scheme",
    values={"accuracy": "accuracy"},
    series="whose",
)


@dataclass(frozen=True)
class Cell:
    """What an attack came to on a scheme.

    Attributes:
        succeeded, points: at how many of the judged points it succeeded, over all victims.
        accuracies: of each victim at the point nearest to success, after the attack or with the forged claim.
        marks: the share of bits, or trigger images, that was read there.
    """

    succeeded: int
    points: int
    accuracies: tuple[float, ...]
    marks: tuple[float, ...]

    def __str__(self) -> str:
        count = f"{self.succeeded}/{self.points}"
        accuracies, marks = mean_and_spread(self.accuracies), mean_and_spread(self.marks, digits=0)
        return f"{f'**{count}**' if self.succeeded else count}; {accuracies}; {marks}"


def cell(rows: Sequence[AttackRow]) -> Cell:
    """One cell from the rows of an attack on a scheme."""
    victims = sorted({row.victim for row in rows})
    points = [nearest([row for row in rows if row.victim == victim]) for victim in victims]
    return Cell(
        succeeded=sum(row.attack_succeeded for row in rows),
        points=len(rows),
        accuracies=tuple(row.accuracy_after for row in points),
        marks=tuple(mark(row) for row in points),
    )


def attacks_section(attacked: Sequence[AttackRow]) -> Section:
    """Every point of every attack, with its mean, spread and range over seeds, and a figure of forged claims."""
    views, pictures = [], []
    settings = attack_settings(attacked)
    for number, same in enumerate(settings, 1):
        end = f"-{number}" if len(settings) > 1 else ""
        first = same[0]
        title = f"{first.model}, width {first.width:g}, {first.dataset}, {first.victim_epochs} epochs"
        title += cut_short(cut_of(first.tags)) + started_from(first.init or "")
        lines = [Line([Value(text) for text in cells], subject_of([asdict(row)])) for row, cells in point_lines(same)]
        views.append(TableView(f"points{end}", f"{title}. Accuracies in %.", tuple(HEADER), lines, HEADER))
        if (figure := forgery_figure(same)) is not None:
            shown = subject_of(asdict(row) for row in same if row.attack in FORGERS)
            narrow = forgery_figure(same, narrow=True)
            pictures.append(Picture(f"{FORGERIES.name}{end}", FORGERIES.caption, figure, shown, narrow))
    made = provenance_of((row.hardware, row.versions, row.commit) for row in attacked)
    mixed = [note for same in settings for note in _mixed(same)]
    return Section("attacks", "Attacks", tables=views, pictures=pictures, provenance=made, notes=mixed)


def _mixed(rows: Sequence[AttackRow]) -> Iterator[str]:
    """A warning of each kind of network of which a line averages several of one seed."""
    kinds: dict[Kind, dict[int, set[str]]] = {}
    for row in rows:
        kinds.setdefault(victim_of(row), {}).setdefault(row.seed, set()).add(row.victim)
    for kind, seeds in kinds.items():
        if (count := sum(map(len, seeds.values()))) > len(seeds):
            yield averaged(kind[0], count, len(seeds))


def attack_settings(rows: Sequence[AttackRow]) -> list[list[AttackRow]]:
    """The rows of each setting, which are not to be compared with one another's."""
    settings: dict[tuple[object, ...], list[AttackRow]] = {}
    for row in rows:
        setting = (*(getattr(row, name) for name in SETTING), cut_of(row.tags))
        settings.setdefault(setting, []).append(row)
    return [settings[setting] for setting in sorted(settings, key=str)]


Kind = tuple[str, str, str | None, float | None, float | None, int | None]
"""What tells networks of one setting apart: scheme, norm, kind of passport, its energies, and the bits embedded."""


def victim_of(row: AttackRow) -> Kind:
    """What kind of network was attacked."""
    return (row.scheme, row.norm, row.passport, row.energy, row.step_energy, row.victim_bits)


def victims_in(rows: Sequence[AttackRow]) -> dict[Kind, str]:
    """The kinds of networks that were attacked, in the order in which a reader meets them, and what is to be said
    behind scheme and norm of those that these do not tell apart.
    """
    kinds = sorted({victim_of(row) for row in rows}, key=lambda kind: (rank("scheme", kind[0]), str(kind[1:])))
    alike = Counter(kind[:2] for kind in kinds)
    return {kind: _behind(kind) if alike[kind[:2]] > 1 else "" for kind in kinds}


def _behind(kind: Kind) -> str:
    _, _, passport, energy, step_energy, bits = kind
    told = [] if passport is None else [passport, f"energy {energy_of(energy, step_energy)}"]
    told += [] if bits is None else [f"{bits} bits"]
    return f", {', '.join(told)}" if told else ", not told"


def point_lines(rows: Sequence[AttackRow]) -> Iterator[tuple[AttackRow, list[str]]]:
    """A line for each attack, scheme and point of one setting; the forged passports of `fake1` are one line.

    Accuracies in %; `points lost` is the accuracy before less that after; `mark read` is the least and the most of the
    claimed bits, or trigger images, that was read.

    Yields:
        A row that stands for the line, and its cells under `HEADER`.
    """
    attacks, victims = attacks_in(row.attack for row in rows), victims_in(rows)
    norms = Counter(scheme for scheme, _ in {(row.scheme, row.norm) for row in rows})
    groups: dict[tuple[int, int, str], list[AttackRow]] = {}
    for row in rows:
        point = ("all" if row.attack == "fake1" else row.point) + _data_of(row)
        groups.setdefault((attacks.index(row.attack), [*victims].index(victim_of(row)), point), []).append(row)
    for (_, _, point), same in sorted(groups.items(), key=lambda group: group[0]):
        lost = [row.accuracy_before - row.accuracy_after for row in same]
        marks = [mark(row) for row in same]
        cells = [
            same[0].attack,
            f"{same[0].scheme}{f' ({same[0].norm})' * (norms[same[0].scheme] > 1)}{victims[victim_of(same[0])]}",
            point,
            str(len(same)),
            mean_and_spread([row.accuracy_after for row in same]),
            mean_and_spread(lost),
            f"{100 * min(lost):.1f}; {100 * max(lost):.1f}",
            _counted(same, min(marks), max(marks)),
            f"{sum(row.attack_succeeded for row in same)}",
        ]
        yield same[0], cells


def _data_of(row: AttackRow) -> str:
    """What images the attacker had, where they were asked for by themselves."""
    if not row.transfer:
        return ""
    if row.shared_images is None or row.fidelity_kept is None:  # not told, or another task
        return f" ({row.transfer})"
    return f" ({row.transfer}: {row.shared_images} of {row.attacker_images} images are the victim's)"


def _counted(rows: Sequence[AttackRow], least: float, most: float) -> str:
    total = rows[0].bits_total
    low, high = (f"{round(share * total)}" if total else f"{100 * share:.0f}" for share in (least, most))
    return f"{low if low == high else f'{low} to {high}'} {f'of {total}' if total else '%'}"


def forgery_figure(rows: Sequence[AttackRow], *, narrow: bool = False) -> Figure | None:
    """What a forged claim leaves of a network, per scheme: accuracy with the owner's claim, and with the best forged
    claim that is read, by what the forger has (`FORGERS`); means over victims. None without one.
    """
    frame = pd.DataFrame([asdict(row) for row in rows if row.attack in FORGERS and row.forged and row.mark_read])
    if frame.empty:
        return None
    owner = frame.drop_duplicates(["scheme", "victim"]).assign(
        accuracy=frame["accuracy_before"], whose="the owner's claim"
    )
    frame["whose"] = frame["attack"].map(FORGERS) + ": best forged claim"
    frame["accuracy"] = frame["accuracy_after"]
    best = frame.groupby(["scheme", "victim", "whose"])[["accuracy"]].max().reset_index()
    together = pd.concat([owner, best], ignore_index=True)[["scheme", "whose", "accuracy"]]
    return figure_of(FORGERIES, with_chance(together.assign(dataset=rows[0].dataset)), narrow=narrow)


def attack_markdown(rows: Sequence[AttackRow]) -> str:
    """A table for each setting: attacks down, schemes across, with what each cell says and why a cell is empty."""
    return "\n\n".join(_table(same) for same in attack_settings(rows))


def _table(rows: Sequence[AttackRow]) -> str:
    first = rows[0]
    unmarked = schemes_of("none")
    victims = victims_in([row for row in rows if row.scheme not in unmarked])
    seeds = len({row.seed for row in rows})
    reasons: dict[str, str] = {}
    heads = [f"{victim[0].removeprefix('passport_')} ({victim[1]}){end}" for victim, end in victims.items()]
    names = " | ".join(heads)
    lines = [
        f"{first.model} at width {first.width:g} on {first.dataset} ({first.train_images} training and "
        f"{first.test_images} test images), {first.victim_epochs} epochs{cut_short(cut_of(first.tags))}"
        f"{started_from(first.init or '')}, {seeds} seed{'s' if seeds > 1 else ''}. Each cell: at how many of its "
        "points the attack **succeeded**; then, at the point that came nearest, the accuracy and the share of bits or "
        f"trigger images read, both in %{', mean ± standard deviation over the seeds' if seeds > 1 else ''}.",
        "",
        f"| attack | {names} |",
        "|---" * (len(victims) + 1) + "|",
    ]
    tried = {row.attack for row in rows}
    for name in attacks_in(tried):
        for label, shown in LINES.get(name, {name: as_given, f"{name}, aligned": aligned}).items():
            own = [row for row in rows if row.attack == name and shown(row.point)]
            if not own and shown is aligned:
                continue
            cells = [_cell([r for r in own if victim_of(r) == v], name, v[0], reasons) for v in victims]
            lines.append(f"| {label} | {' | '.join(cells)} |")
    notes = [f"({letter}) does not apply, because {reason}" for reason, letter in reasons.items()]
    found = ["; ".join(notes) + "."] if notes else []
    if absent := [name for name in entries("attack") if name not in tried]:
        found.append(f"Not tried here: {', '.join(absent)}.")
    machines, software = "; ".join(sorted({r.hardware for r in rows})), "; ".join(sorted({r.versions for r in rows}))
    minutes = sum(seconds for _, seconds in {(row.key, row.seconds) for row in rows}) / 60  # points share a suspect's
    total = f"{machines}; {software}; {minutes:.1f} minutes of attacks in all, judging not counted."
    return "\n\n".join(["\n".join(lines), *found, *_costs(rows), total])


def _cell(rows: Sequence[AttackRow], attack: str, scheme: str, reasons: dict[str, str]) -> str:
    """What the rows of an attack on a scheme say, or why there are none: by a letter, which is kept with its reason."""
    if rows:
        return str(cell(rows))
    known = load_all("attack").get(attack)
    if known is None or not (reason := known.inapplicable(scheme)):
        return "not run"
    number = len(reasons)
    return f"n/a ({reasons.setdefault(reason, chr(ord('a') + number % 26) * (1 + number // 26))})"


def _costs(rows: Sequence[AttackRow]) -> list[str]:
    rows = [row for row in rows if row.kind != "removal" and row.iterations is not None]
    if not rows:
        return []
    lines = [
        "What forging a watermark cost, with no training data (means over the seeds):",
        "",
        "| attack | scheme | way | iterations | seconds | % of the victim's training |",
        "|---|---|---|---|---|---|",
    ]
    for attack, scheme, point in dict.fromkeys((row.attack, row.scheme, row.point) for row in rows):
        same = [row for row in rows if (row.attack, row.scheme, row.point) == (attack, scheme, point)]
        iterations = fmean(row.iterations or 0 for row in same)
        share = 100 * fmean(row.share_of_training for row in same)
        seconds = fmean(row.seconds for row in same)
        way = point.removeprefix("way=").replace("_", " ") or "gradient"
        lines.append(f"| {attack} | {scheme} | {way} | {iterations:.0f} | {seconds:.2f} | {share:.2f} |")
    return ["\n".join(lines)]
