"""What became of each scheme under each attack, as one picture: by a judge's rule, and by the paper's."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from ipr.reports.selection import attacks_in, chosen, grouped
from ipr.reports.units import label

OUTCOMES = {
    "stands": ("#0072b2", "the owner is verified, or the forger refused"),
    "uncalibrated": ("#9ecae9", "the owner, too, once the claim is calibrated"),
    "too costly": ("#cccccc", "the attack costs the network more than epsilon_f"),
    "open": ("#f0e442", "inconclusive"),
    "broken": ("#d55e00", "the owner is refused, or the forger verified"),
}
"""What may become of a scheme -> colour and words, from the best for an honest owner to the worst."""

PAPER = "by the paper's rule the attack succeeded"


def outcome_of_row(row: pd.Series) -> str:
    """One of `OUTCOMES` for one judged point.

    Args:
        row: a result, with the columns `whose`, `fidelity_kept`, `upheld`, `inconclusive` and `deciding`.
    """
    if row["whose"] == "forged":
        return "broken" if row["upheld"] else "open" if row["inconclusive"] else "stands"
    if not row["fidelity_kept"]:
        return "too costly"
    if row["inconclusive"]:
        return "uncalibrated" if row["deciding"] == "null" else "open"
    return "stands" if row["upheld"] else "broken"


def outcomes_of(frame: pd.DataFrame) -> pd.DataFrame:
    """For each attack, whose claim, scheme and seed the worst outcome of all points; of an attack on the owner's claim
    points at which the network became worthless count only where no other is there.

    Returns:
        The columns `attack`, `whose`, `scheme`, `seed`, `outcome` and `succeeded` (the paper's rule).
    """
    told = frame[frame["attack"].notna() & frame["whose"].notna() & frame["upheld"].notna()]
    rows = []
    for key, points in grouped(told, ["attack", "whose", "scheme", "seed"]):
        each = [outcome_of_row(point) for _, point in points.iterrows()]
        outcome = worst([one for one in each if one != "too costly"] or each)
        rows.append((*key, outcome, bool(points["succeeded"].astype(float).max())))
    return pd.DataFrame(rows, columns=["attack", "whose", "scheme", "seed", "outcome", "succeeded"])


def worst(outcomes: Iterable[str]) -> str:
    """The one that is worst for an honest owner."""
    return max(outcomes, key=list(OUTCOMES).index)


def outcome_figure(frame: pd.DataFrame, attacks: Sequence[str] = ()) -> Figure | None:
    """A grid of attacks (down) and schemes (across), coloured by the worst outcome over the seeds, with how many seeds
    have it where not all do; a dot where the attack succeeded by the paper's rule in any.

    Args:
        frame: of results.
        attacks: in which order attacks stand; others follow, in the order in which a reader meets them.

    Returns:
        None where nothing was judged.
    """
    found = outcomes_of(frame)
    if found.empty:
        return None
    schemes = [key for (key,), _ in grouped(found, ["scheme"])]
    lines = _lines(found, attacks)
    width = max(0.42 * len(schemes) + 2.6, 7.0)  # the legend's, at least
    figure = Figure(figsize=(width, 0.24 * len(lines) + 2.4), layout="constrained")
    axes = figure.subplots()
    for down, (attack, whose) in enumerate(lines):
        for across, scheme in enumerate(schemes):
            seeds = chosen(found, {"attack": attack, "whose": whose, "scheme": scheme})
            if seeds.empty:
                continue
            outcome = worst(seeds["outcome"])
            axes.add_patch(_square(across, down, OUTCOMES[outcome][0]))
            count = int((seeds["outcome"] == outcome).sum())
            if count < len(seeds):
                axes.text(across, down, f"{count}/{len(seeds)}", ha="center", va="center", fontsize=6)
            if seeds["succeeded"].any():
                axes.plot(across + 0.36, down - 0.3, ".", color="#000000", ms=2.5)
    axes.set_xlim(-0.5, len(schemes) - 0.5)
    axes.set_ylim(len(lines) - 0.5, -0.5)
    axes.set_xticks(range(len(schemes)), [label("scheme", one) for one in schemes], rotation=60, ha="right", fontsize=7)
    axes.set_yticks(range(len(lines)), [_told(found, *line) for line in lines], fontsize=7)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    patches = [Patch(color=colour, label=words) for colour, words in OUTCOMES.values()]
    dot = axes.plot([], [], ".", color="#000000", ms=4, label=PAPER)
    figure.legend(handles=[*patches, *dot], ncols=2, fontsize=7, frameon=False, loc="outside lower center")
    return figure


def _square(across: int, down: int, colour: str) -> Rectangle:
    return Rectangle((across - 0.46, down - 0.44), 0.92, 0.88, facecolor=colour, edgecolor="none")


def _lines(found: pd.DataFrame, attacks: Sequence[str]) -> list[tuple[str, str]]:
    """Attacks on owners' claims first, then forged claims."""
    order = list(dict.fromkeys([*attacks, *attacks_in(found["attack"])]))
    pairs = {(str(a), str(w)) for a, w in zip(found["attack"], found["whose"], strict=True)}
    return sorted(pairs, key=lambda pair: (pair[1] == "forged", order.index(pair[0])))


def _told(found: pd.DataFrame, attack: str, whose: str) -> str:
    both = found.loc[found["attack"] == attack, "whose"].nunique() > 1
    own = {"genuine": "owner's claim", "forged": "second claim"}
    return f"{attack.replace('_', ' ')}, {own[whose]}" if both else attack.replace("_", " ")
