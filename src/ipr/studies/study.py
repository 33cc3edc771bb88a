"""A study as it is written down, one file each: `experiments/table_06.yaml`, `experiments/quickstart.yaml`."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ipr.config.shipped import shipped, studies
from ipr.errors import InputError
from ipr.store.reading import read_as
from ipr.store.tags import check_tags
from ipr.studies.columns import COLUMNS
from ipr.studies.scale import Scale
from ipr.studies.settable import check_choices, check_set
from ipr.terminal.spelling import choose_among
from ipr.texts import check_name

KINDS = ("curves", "bars", "outcomes", "exhibit")


@dataclass
class Sweep:
    """Cells to run: every combination of what is listed. Names are those of the Hydra groups.

    Attributes:
        scheme, model, dataset: what the victim is; a data set is named as in the paper, and the scale says what stands
            for it.
        norm: other norms than the scheme's own.
        attack: what is done to the victim; [] for training alone.
        transfer: the data sets of the attacker, e.g. what attack=finetune is tuned to; a victim's own is passed over
            unless `set` gives a part of it (`transfer.part: 2/2`, beside `dataset.part: 1/2`).
        rival: forges a claim before a removal attack.
        exhibit: what is shown of the run, or of the attacked run.
        first_seed: whether one seed is enough, as for a picture.
        set: other keys of a training, an attack or an exhibit, e.g. `scheme.signature`; see `studies.settable`.
        variant: what `set` makes of them, in a few words; tells them apart in tables (column `variant`).

    Raises:
        InputError: it sets what a study may not set.
    """

    scheme: list[str] = field(default_factory=list)
    model: list[str] = field(default_factory=lambda: ["alexnet"])
    dataset: list[str] = field(default_factory=lambda: ["cifar10"])
    norm: list[str] = field(default_factory=list)
    attack: list[str] = field(default_factory=list)
    transfer: list[str] = field(default_factory=list)
    rival: str | None = None
    exhibit: list[str] = field(default_factory=list)
    first_seed: bool = False
    set: dict[str, Any] = field(default_factory=dict)
    variant: str | None = None

    def __post_init__(self) -> None:
        check_set("sweeps.set", self.set)
        for group in ("scheme", "model", "dataset", "attack", "exhibit"):
            for choice in getattr(self, group):
                check_choices("sweeps", {group: choice})
        if self.rival is not None:
            check_choices("sweeps", {"attack@rival": self.rival})


@dataclass
class Paper:
    """The paper's numbers, as printed: `rows` under `columns`, names of `COLUMNS`; accuracies and shares in %."""

    columns: list[str] = field(default_factory=list)
    rows: list[list[Any]] = field(default_factory=list)


@dataclass
class TableDrawing:
    """A table: a line for each combination of `rows`, a column for each of `values`, or, with `columns`, for each value
    of that column and each of `values`.

    Attributes:
        name: stem of its files.
        caption: one sentence.
        where: which results, as of `Statement`.
        values: heading -> column.
        least: a column: of the attacks and points of a line only those are told whose mean is the least.
        intervals: whether columns of 0 and 1 are told as counts, with the 95 % interval of their rate.
    """

    name: str
    caption: str
    rows: list[str]
    values: dict[str, str]
    columns: str | None = None
    where: dict[str, Any] = field(default_factory=dict)
    least: str | None = None
    intervals: bool = False


@dataclass
class FigureDrawing:
    """A figure: `curves` or `bars` of `values` (legend -> column) over `x`, a panel for each combination of `panels`, a
    line or group of bars for each value of `series`; `outcomes` of attacks against schemes; or what an `exhibit` shows
    (`name` says which of its pictures).
    """

    name: str
    caption: str
    kind: str
    x: str = ""
    values: dict[str, str] = field(default_factory=dict)
    panels: list[str] = field(default_factory=list)
    series: str = "scheme"
    where: dict[str, Any] = field(default_factory=dict)
    exhibit: str = ""


@dataclass
class Statement:
    """What must hold for the paper's claim to stand.

    Attributes:
        name: e.g. `signatures_survive_pruning`.
        says: the statement in one sentence.
        where: which results it is about: column -> a value, a list of values, null for none, or bounds
            `{at_least: 0.5, at_most: 0.9}`.
        value: the column that is looked at; fractions, not percentages.
        by: results that agree in these columns are averaged before they are compared; [] compares each result.
        at_least, at_most: the bounds; each average, or result, must keep them.
        why: scale -> the cause that was measured where it fails there.
    """

    name: str
    says: str
    value: str
    where: dict[str, Any] = field(default_factory=dict)
    by: list[str] = field(default_factory=list)
    at_least: float | None = None
    at_most: float | None = None
    why: dict[str, str] = field(default_factory=dict)


@dataclass
class Study:
    """What is run together and reported together: one table or figure of the paper, or a question of one's own.

    Attributes:
        title, question, source: what it is, what it asks, where the paper has it.
        sweeps: its cells.
        scale: the size that it is made for (`conf/scale`), where none is asked for; "" for a study of the paper, which
            is run at any size and is one of `study=all`.
        tags: what its runs carry, to be found by (`ipr list tag=...`).
        tables, figures: what is drawn; where there is neither, what any folder of runs is shown as (`reports.runs`).
        notes: what a reader must know to compare.
    """

    title: str
    sweeps: list[Sweep]
    question: str = ""
    source: str = ""
    scale: str = ""
    tags: list[str] = field(default_factory=list)
    statements: list[Statement] = field(default_factory=list)
    paper: Paper = field(default_factory=Paper)
    tables: list[TableDrawing] = field(default_factory=list)
    figures: list[FigureDrawing] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    name: str = ""

    def __post_init__(self) -> None:
        if self.scale:
            check_name(f"{self.name} scale", self.scale)
        check_tags(self.tags)
        for place, columns in self._columns():
            for column in columns:
                if column not in COLUMNS:
                    raise InputError(f"{self.name} {place}", column, "is no column", f"use one of {', '.join(COLUMNS)}")
        for statement in self.statements:
            if statement.at_least is None and statement.at_most is None:
                raise InputError(f"{self.name} {statement.name}", None, "has no bound", "give at_least or at_most")
        for figure in self.figures:
            if figure.kind not in KINDS:
                raise InputError(f"{self.name} {figure.name}", figure.kind, "is no kind", f"use {', '.join(KINDS)}")
        for row in self.paper.rows:
            if len(row) != len(self.paper.columns):
                columns_text = ", ".join(self.paper.columns)
                raise InputError(f"{self.name} paper", row, "is not a row", f"give {columns_text}")

    @property
    def draws(self) -> bool:
        """Whether it says what is drawn."""
        return bool(self.tables or self.figures)

    def _columns(self) -> list[tuple[str, list[str]]]:
        places = [("paper", self.paper.columns)]
        for table in self.tables:
            places.append((table.name, [*table.rows, *table.where, *table.values.values()]))
            places.append((table.name, [column for column in (table.columns, table.least) if column]))
        for figure in self.figures:
            used = [*figure.where, *figure.values.values(), *figure.panels, *([figure.x] if figure.x else [])]
            places.append((figure.name, used))
        for statement in self.statements:
            places.append((statement.name, [statement.value, *statement.where, *statement.by]))
        return places


def load_study(path: Path) -> Study:
    """Reads a study; nothing in it is executed.

    Raises:
        InputError: it cannot be read, or has other fields than a `Study`.
    """
    study: Study = read_as(path, Study, {"name": path.stem}, SHIPPED)
    return study


def find_studies(asked: str) -> list[tuple[Path, Study]]:
    """Studies by name, with their files.

    Args:
        asked: names, or files, with commas between; `all` for the studies of the paper, those without a scale.

    Raises:
        InputError: there is no such study, or it cannot be read.
    """
    known, found = studies(), []
    for name in list(known) if asked == "all" else asked.split(","):
        path = known.get(name) or (Path(name) if name.endswith((".yaml", ".yml")) else None)
        if path is None:
            raise InputError("study", name, "is unknown", choose_among(name, known, "choose all, a file, or among"))
        study = load_study(path)
        if asked != "all" or not study.scale:
            found.append((path, study))
    return found


def load_scale(name: str) -> Scale:
    """A size of `conf/scale`.

    Raises:
        InputError: there is none of this name.
    """
    known = {path.stem: path for path in sorted((shipped("conf") / "scale").glob("*.yaml"))}
    if name not in known:
        raise InputError("scale", name, "is unknown", choose_among(name, known))
    scale: Scale = read_as(known[name], Scale, {}, SHIPPED)
    return scale


SHIPPED = "compare it with those shipped"
"""What to do about a file that does not fit."""
