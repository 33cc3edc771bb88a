"""A folder of records as sections of a report: trainings, and attacks on them."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from matplotlib.figure import Figure

from ipr.reports.attacks import attack_settings
from ipr.reports.figures import accuracy_figure, energy_figure, forgery_figure
from ipr.reports.markdown import HEADER, cells_of, cut_short, title_of
from ipr.reports.points import HEADER as POINT_HEADER
from ipr.reports.points import point_lines
from ipr.reports.results import provenance_of
from ipr.reports.section import Line, Picture, Section, TableView, Value
from ipr.reports.summary import rows, tables
from ipr.store.record import cut_of
from ipr.workflows.attack import AttackRow


def trainings_section(frame: pd.DataFrame, notes: Sequence[str] = ()) -> Section:
    """A table and figures for each setting of the trainings, and notes on what is not in them."""
    views, pictures = [], []
    parts = tables(frame)
    for number, (setting, part) in enumerate(parts, 1):
        end = f"-{number}" if len(parts) > 1 else ""
        about = {"model": str(setting["model"]), "dataset": str(setting["dataset"])}
        lines = [
            Line([Value(cell) for cell in cells_of(row, seeds)], about | {"scheme": str(row["scheme"])})
            for row, seeds in rows(part)
        ]
        views.append(TableView(f"runs{end}", title_of(setting, part), HEADER, lines))
        title = f"{setting['model']}, width {setting['width']:g}, {setting['dataset']}, {setting['epochs']} epochs"
        title += cut_short(setting["cut"])
        drawn = {
            "accuracy": (accuracy_figure(part, title), "Accuracy with the genuine passport, none, and forged ones."),
            "energy": (energy_figure(part, title), "Accuracy by the energy |S| of the passports."),
        }
        shown = {name: frozenset([value]) for name, value in about.items()}
        shown["scheme"] = frozenset(map(str, part["scheme"]))
        pictures += _pictures({f"{stem}{end}": one for stem, one in drawn.items()}, shown)
    made = frame[["hardware", "versions", "commit"]].itertuples(index=False, name=None)
    return Section("runs", "Trainings", tables=views, pictures=pictures, provenance=provenance_of(made), notes=notes)


def attacks_section(attacked: Sequence[AttackRow]) -> Section | None:
    """Every point of every attack, with its mean, spread and range over seeds; None where there is none."""
    if not attacked:
        return None
    views, pictures = [], []
    settings = attack_settings(attacked)
    for number, same in enumerate(settings, 1):
        end = f"-{number}" if len(settings) > 1 else ""
        first = same[0]
        title = f"{first.model}, width {first.width:g}, {first.dataset}, {first.victim_epochs} epochs"
        title += cut_short(cut_of(first.tags))
        lines = [
            Line(
                [Value(cell) for cell in cells],
                {"scheme": row.scheme, "model": row.model, "dataset": row.dataset, "attack": row.attack},
            )
            for row, cells in point_lines(same)
        ]
        views.append(TableView(f"points{end}", f"{title}. Accuracies in %.", POINT_HEADER, lines))
        shown = {"model": frozenset([first.model]), "dataset": frozenset([first.dataset])}
        caption = "Accuracy with the owner's claim, and with the best forged claim whose mark is read."
        pictures += _pictures({f"forgeries{end}": (forgery_figure(same, title), caption)}, shown)
    made = {(row.hardware, row.versions, row.commit) for row in attacked}
    return Section("attacks", "Attacks", tables=views, pictures=pictures, provenance=provenance_of(made))


def _pictures(drawn: dict[str, tuple[Figure | None, str]], about: dict[str, frozenset[str]]) -> list[Picture]:
    return [Picture(stem, caption, figure, about) for stem, (figure, caption) in drawn.items() if figure is not None]
