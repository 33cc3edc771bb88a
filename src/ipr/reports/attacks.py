"""Every attack on every scheme as one table: each cell filled, or why the attack does not apply."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import fmean

from ipr.attacks import ATTACKS
from ipr.attacks.base import EVERY
from ipr.runs.attack import AttackRow

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
        succeeded, points: at how many of the judged points it succeeded.
        accuracy: after the attack, or with the forged claim, at the point that came nearest to success; a fraction.
        mark: the share of bits, or trigger images, that was read there.
        share_of_training: what that point cost.
        iterations: of a forgery that has no epochs; None elsewhere.
    """

    succeeded: int
    points: int
    accuracy: float
    mark: float
    share_of_training: float
    iterations: float | None


def cell(rows: Sequence[AttackRow]) -> Cell:
    """One cell from its rows; over several victims, the means of what each came to."""
    victims = {row.victim for row in rows}
    nearest = [_nearest([row for row in rows if row.victim == victim]) for victim in sorted(victims)]
    iterations = [row.iterations for row in nearest if row.iterations is not None]
    return Cell(
        succeeded=sum(row.attack_succeeded for row in rows),
        points=len(rows),
        accuracy=fmean(row.accuracy_after for row in nearest),
        mark=fmean(_mark(row) for row in nearest),
        share_of_training=fmean(row.share_of_training for row in nearest),
        iterations=fmean(iterations) if iterations else None,
    )


def _mark(row: AttackRow) -> float:
    if row.bits_total:
        return (row.bits_agreeing or 0) / row.bits_total
    return row.trigger_accuracy or 0.0


def _nearest(rows: Sequence[AttackRow]) -> AttackRow:
    """The point that succeeded, or came nearest: for the owner's claim the one that reads least of the mark where
    fidelity is kept; for another's the most accurate one that is verified.
    """

    def rank(row: AttackRow) -> tuple[bool, bool, float, float]:
        if row.forged:
            return row.attack_succeeded, row.verified, row.accuracy_after, _mark(row)
        return row.attack_succeeded, row.fidelity_kept is not False, -_mark(row), row.accuracy_after

    return max(rows, key=rank)


def attack_markdown(rows: Sequence[AttackRow]) -> str:
    """A table for each setting: attacks down, schemes across, with what each cell says and why a cell is empty."""
    settings = sorted({tuple(getattr(row, name) for name in SETTING) for row in rows})
    return "\n\n".join(_table(s, [r for r in rows if tuple(getattr(r, n) for n in SETTING) == s]) for s in settings)


def _table(setting: tuple[object, ...], rows: Sequence[AttackRow]) -> str:
    dataset, train, test, model, width, epochs = setting
    schemes = [scheme for scheme in EVERY if any(row.scheme == scheme for row in rows)]
    seeds = len({row.seed for row in rows})
    norms = {scheme: "/".join(sorted({row.norm for row in rows if row.scheme == scheme})) for scheme in schemes}
    reasons: list[str] = []
    lines = [
        f"{model} at width {width:g} on {dataset} ({train} training and {test} test images), {epochs} epochs, "
        f"{seeds} seed{'s' if seeds > 1 else ''}. Each cell: at how many of its points the attack **succeeded**; then, "
        "at the point that came nearest, the accuracy and the share of bits or trigger images read, both in %.",
        "",
        "| attack | "
        + " | ".join(f"{scheme.removeprefix('passport_')} ({norms[scheme]})" for scheme in schemes)
        + " |",
        "|---" * (len(schemes) + 1) + "|",
    ]
    for attack in ATTACKS.values():
        name = next(key for key, kind in ATTACKS.items() if kind is attack)
        for label, shown in LINES.get(name, {name: lambda point: True}).items():
            cells = []
            for scheme in schemes:
                chosen = [r for r in rows if (r.attack, r.scheme) == (name, scheme) and shown(r.point)]
                if reason := attack.inapplicable(scheme):
                    reasons += [] if reason in reasons else [reason]
                    cells.append(f"n/a ({'abcdefghijkl'[reasons.index(reason)]})")
                else:
                    cells.append(_text(cell(chosen)) if chosen else "not run")
            lines.append(f"| {label} | " + " | ".join(cells) + " |")
    letters = "abcdefghijkl"
    notes = [f"({letters[number]}) does not apply, because {reason}" for number, reason in enumerate(reasons)]
    costs = [
        f"`{r.attack}` on {r.scheme}{', ' + r.point if r.point else ''}: {r.iterations} iterations, "
        f"{r.seconds:.2f} s, {100 * r.share_of_training:.2f} % of the training"
        for r in rows
        if r.iterations is not None
    ]
    machines, software = "; ".join(sorted({r.hardware for r in rows})), "; ".join(sorted({r.versions for r in rows}))
    found = ["; ".join(notes) + "."] if notes else []
    paid = ["Forging a watermark took: " + "; ".join(costs) + "."] if costs else []
    return "\n\n".join(["\n".join(lines), *found, *paid, f"{machines}; {software}."])


def _text(found: Cell) -> str:
    count = f"{found.succeeded}/{found.points}"
    return f"{f'**{count}**' if found.succeeded else count}; {100 * found.accuracy:.1f}; {100 * found.mark:.0f}"
