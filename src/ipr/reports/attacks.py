"""Every attack on every scheme as one table: each cell filled, or why the attack does not apply."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean
from string import ascii_lowercase

from ipr.attacks.base import families
from ipr.config.registry import load_all
from ipr.judging.outcome import mark, nearest
from ipr.reports.markdown import cut_short
from ipr.reports.summary import mean_and_spread, ordered
from ipr.store.record import cut_of
from ipr.workflows.attack import AttackRow

LINES: dict[str, dict[str, Callable[[str], bool]]] = {
    "prune": {"prune, 60 %": lambda point: point == "rate=0.6", "prune, any rate": lambda point: True},
    "overwrite": {
        "overwrite, owner's claim": lambda point: point == "claim=owner",
        "overwrite, second claim": lambda point: point == "claim=second",
    },
}
"""Attacks that take more than one line of the table, and which points each line shows."""

SETTING = ("dataset", "train_images", "test_images", "model", "width", "victim_epochs")


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


def attack_markdown(rows: Sequence[AttackRow]) -> str:
    """A table for each setting: attacks down, schemes across, with what each cell says and why a cell is empty."""
    return "\n\n".join(_table(same) for same in attack_settings(rows))


def attack_settings(rows: Sequence[AttackRow]) -> list[list[AttackRow]]:
    """The rows of each setting, which are not to be compared with one another's."""
    settings: dict[tuple[object, ...], list[AttackRow]] = {}
    for row in rows:
        setting = (*(getattr(row, name) for name in SETTING), cut_of(row.tags))
        settings.setdefault(setting, []).append(row)
    return [settings[setting] for setting in sorted(settings, key=str)]


def _table(rows: Sequence[AttackRow]) -> str:
    first = rows[0]
    families_known = families()
    schemes = ordered({row.scheme for row in rows if families_known.get(row.scheme) != "none"}, families_known)
    seeds = len({row.seed for row in rows})
    norms = {scheme: "/".join(sorted({row.norm for row in rows if row.scheme == scheme})) for scheme in schemes}
    reasons: list[str] = []
    lines = [
        f"{first.model} at width {first.width:g} on {first.dataset} ({first.train_images} training and "
        f"{first.test_images} test images), {first.victim_epochs} epochs{cut_short(cut_of(first.tags))}, "
        f"{seeds} seed{'s' if seeds > 1 else ''}. Each cell: at how many of its points the attack **succeeded**; then, "
        "at the point that came nearest, the accuracy and the share of bits or trigger images read, both in %"
        f"{', mean ± standard deviation over the seeds' if seeds > 1 else ''}.",
        "",
        "| attack | "
        + " | ".join(f"{scheme.removeprefix('passport_')} ({norms[scheme]})" for scheme in schemes)
        + " |",
        "|---" * (len(schemes) + 1) + "|",
    ]
    tried, attacks = {row.attack for row in rows}, load_all("attack")
    for name in ordered(tried, attacks):
        for label, shown in LINES.get(name, {name: lambda point: True}).items():
            cells = []
            for scheme in schemes:
                chosen = [r for r in rows if (r.attack, r.scheme) == (name, scheme) and shown(r.point)]
                reason = attacks[name].inapplicable(scheme) if name in attacks else None
                if not chosen and reason:
                    reasons += [] if reason in reasons else [reason]
                    cells.append(f"n/a ({_letter(reasons.index(reason))})")
                else:
                    cells.append(_text(cell(chosen)) if chosen else "not run")
            lines.append(f"| {label} | " + " | ".join(cells) + " |")
    notes = [f"({_letter(number)}) does not apply, because {reason}" for number, reason in enumerate(reasons)]
    found = ["; ".join(notes) + "."] if notes else []
    if absent := [name for name in attacks if name not in tried]:
        found.append(f"Not tried here: {', '.join(absent)}.")
    costs = _costs([row for row in rows if row.iterations is not None])
    machines, software = "; ".join(sorted({r.hardware for r in rows})), "; ".join(sorted({r.versions for r in rows}))
    minutes = sum(seconds for _, seconds in {(row.key, row.seconds) for row in rows}) / 60  # points share a suspect's
    total = f"{machines}; {software}; {minutes:.1f} minutes of attacks in all, judging not counted."
    return "\n\n".join(["\n".join(lines), *found, *costs, total])


def _letter(number: int) -> str:
    """A to z, then aa, bb, ..."""
    return ascii_lowercase[number % 26] * (number // 26 + 1)


def _costs(rows: Sequence[AttackRow]) -> list[str]:
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


def _text(found: Cell) -> str:
    count = f"{found.succeeded}/{found.points}"
    marks = mean_and_spread(found.marks, digits=0)
    return f"{f'**{count}**' if found.succeeded else count}; {mean_and_spread(found.accuracies)}; {marks}"
