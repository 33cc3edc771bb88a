"""Figures, drawn without any global state."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ipr.config.registry import entries
from ipr.reports.summary import ordered
from ipr.reports.summary import rows as table_rows
from ipr.workflows.attack import AttackRow

COLOURS = {"genuine passport": "#0072b2", "no passport": "#999999", "forged passports": "#d55e00"}
"""Told apart by every kind of colour vision (Okabe and Ito)."""

COLUMNS = {
    "genuine passport": "accuracy_genuine",
    "no passport": "accuracy_without",
    "forged passports": "accuracy_forged_mean",
}


def accuracy_figure(part: pd.DataFrame, title: str) -> Figure:
    """Accuracy with the genuine, no and forged passports, side by side, per scheme; bars are means over seeds, whiskers
    the standard deviation, numbers the means, the mark above a forged bar the best forgery of all.
    """
    shown = table_rows(part)
    figure = Figure(figsize=(1.6 + 1.35 * len(shown), 3.6), layout="constrained")
    axes = figure.add_subplot()
    width = 0.26
    for place, (_, seeds) in enumerate(shown):
        kinds = [kind for kind, column in COLUMNS.items() if seeds[column].notna().any()]
        for offset, kind in enumerate(kinds):
            values = 100 * seeds[COLUMNS[kind]].astype(float)
            x = place + (offset - (len(kinds) - 1) / 2) * width
            spread = values.std() if len(values) > 1 else 0
            axes.bar(x, values.mean(), width, yerr=spread or None, color=COLOURS[kind], ecolor="#333333", capsize=2)
            text: dict[str, Any] = {"xytext": (0, 2), "va": "bottom", "color": "black"}
            at = values.mean() + spread
            if kind == "forged passports":  # the mark stands above the bar, so the number stands inside
                axes.plot(x, 100 * seeds["accuracy_forged_max"].max(), "_", color="#333333", markersize=10)
                text, at = {"xytext": (0, 0), "va": "center", "color": "white"}, values.mean() / 2
            axes.annotate(f"{values.mean():.0f}", (x, at), textcoords="offset points", ha="center", fontsize=7, **text)
    for kind, colour in COLOURS.items():
        axes.bar(0, 0, color=colour, label=kind)
    axes.plot([], [], "_", color="#333333", label="best forgery")
    axes.set_xticks(range(len(shown)), [_label(row) for row, _ in shown], fontsize=8)
    _percent_axis(axes, title)
    axes.set_ylim(0, 105)
    figure.legend(ncols=4, fontsize=7, loc="outside lower center", frameon=False)
    return figure


def energy_figure(part: pd.DataFrame, title: str) -> Figure | None:
    """Accuracy against the passport's energy |S|, per scheme, with the baseline of its norm as a line; None where
    the records hold one energy only.
    """
    passported = part[part["passport"].notna()]
    schemes = [
        s
        for s in sorted(set(passported["scheme"]))
        if passported[passported["scheme"] == s]["energy"].nunique(dropna=False) > 1
    ]
    if not schemes:
        return None
    figure = Figure(figsize=(4.2 * len(schemes), 3.2), layout="constrained")
    for axes, scheme in zip(np.atleast_1d(figure.subplots(1, len(schemes))), schemes, strict=True):
        chosen = passported[passported["scheme"] == scheme]
        levels = [*sorted(chosen["energy"].dropna().unique()), *([None] if chosen["energy"].isna().any() else [])]
        for label, column, style in (
            ("genuine passport", "accuracy_genuine", "o-"),
            ("no passport", "accuracy_without", "s--"),
        ):
            if scheme == "passport_v1" and label == "no passport":
                continue
            groups = [
                chosen[chosen["energy"].isna() if level is None else chosen["energy"] == level] for level in levels
            ]
            means = [100 * group[column].astype(float).mean() for group in groups]
            spreads = [100 * group[column].astype(float).std() if len(group) > 1 else 0 for group in groups]
            axes.errorbar(range(len(levels)), means, spreads, fmt=style, color=COLOURS[label], capsize=3, label=label)
        norms = set(chosen["norm"])
        baseline = part[(part["scheme"] == "baseline") & part["norm"].isin(norms)]["accuracy_without"].astype(float)
        if len(baseline):
            axes.axhline(100 * baseline.mean(), color="#333333", linewidth=1, linestyle=":", label="baseline")
        axes.set_xticks(range(len(levels)), ["as published" if e is None else f"{e:g}" for e in levels])
        axes.set_xlabel("passport.energy, |S|")
        axes.tick_params(axis="x", labelsize=8)
        _percent_axis(axes, scheme)
        low, high = axes.dataLim.y0, axes.dataLim.y1
        axes.set_ylim(low - 0.15 * (high - low) - 1, high + 0.45 * (high - low) + 1)  # room for the legend
        axes.legend(fontsize=7, frameon=False, loc="upper center", ncols=3)
    figure.suptitle(title, fontsize=9)
    return figure


def _label(row: dict[str, Any]) -> str:
    name = row["scheme"].replace("passport_v", "V")
    energy = (
        ""
        if row["passport"] is None
        else f"\n|S| {'as published' if row['energy'] is None else format(row['energy'], 'g')}"
    )
    return f"{name} ({row['norm']}){energy}"


def _percent_axis(axes: Axes, title: str) -> None:
    axes.set_ylabel("test accuracy (%)")
    axes.set_title(title, fontsize=9)
    axes.spines[["top", "right"]].set_visible(False)


FORGERS = {
    "weights alone": ("#d55e00", ("fake1", "forge_uchida", "forge_deepmarks", "forge_deepsigns", "forge_trigger_set")),
    "weights and training data": ("#e69f00", ("fake2",)),
}
"""Who forges, in what colour, by which attacks."""


def forgery_figure(rows: Sequence[AttackRow], title: str) -> Figure | None:
    """What a forged claim leaves of a network, per scheme: accuracy with the owner's claim, and with the best forged
    claim that is read, by what the forger has; means over seeds, whiskers the standard deviation. None without one.
    """
    forged = [row for row in rows if row.forged and row.mark_read and any(row.attack in a for _, a in FORGERS.values())]
    schemes = ordered({row.scheme for row in forged}, entries("scheme"))
    if not schemes:
        return None
    figure = Figure(figsize=(1.6 + 0.95 * len(schemes), 3.6), layout="constrained")
    axes = figure.add_subplot()
    for place, scheme in enumerate(schemes):
        own = [row for row in forged if row.scheme == scheme]
        shown = {"owner": (COLOURS["genuine passport"], {row.victim: row.accuracy_before for row in own})}
        for who, (colour, attacks) in FORGERS.items():
            best: dict[str, float] = {}
            for row in own:
                if row.attack in attacks:
                    best[row.victim] = max(best.get(row.victim, 0.0), row.accuracy_after)
            if best:
                shown[who] = (colour, best)
        for offset, (colour, accuracies) in enumerate(shown.values()):
            values = pd.Series(list(accuracies.values()), dtype=float) * 100
            x = place + (offset - (len(shown) - 1) / 2) * 0.27
            spread = values.std() if len(values) > 1 else 0
            axes.bar(x, values.mean(), 0.26, yerr=spread or None, color=colour, ecolor="#333333", capsize=2)
            axes.annotate(
                f"{values.mean():.0f}",
                (x, values.mean() + spread),
                xytext=(0, 2),
                textcoords="offset points",
                ha="center",
                fontsize=7,
            )
    axes.bar(0, 0, color=COLOURS["genuine passport"], label="the owner's claim")
    for who, (colour, _) in FORGERS.items():
        axes.bar(0, 0, color=colour, label=f"best forged claim, from {who}")
    axes.set_xticks(range(len(schemes)), [s.replace("passport_v", "V").replace("_", "\n") for s in schemes], fontsize=8)
    _percent_axis(axes, title)
    figure.legend(ncols=3, fontsize=7, loc="outside lower center", frameon=False)
    return figure
