"""What a report is made of, before it is written as Markdown, CSV, LaTeX, pictures or a page."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from matplotlib.figure import Figure

from ipr.reports.subjects import About


@dataclass(frozen=True)
class Value:
    """One cell of a table.

    Attributes:
        ours: what we measured, ready to be read, e.g. `66.1 ± 0.3`; "" where there is nothing.
        n: how many runs it is the mean of; None where it is a single fact or a name.
        paper: the paper's number for the same cell, ready to be read; None where it has none.
    """

    ours: str
    n: int | None = None
    paper: str | None = None


@dataclass(frozen=True)
class Line:
    """One row of a table.

    Attributes:
        cells: one for each column of the header.
        about: what the row is about, for the page's filters.
    """

    cells: Sequence[Value]
    about: About = field(default_factory=dict)


@dataclass(frozen=True)
class TableView:
    """A table: `name` is the stem of its files, `caption` one sentence with units, `columns` what its headings mean."""

    name: str
    caption: str
    header: Sequence[str]
    lines: Sequence[Line]
    columns: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Picture:
    """A figure: `name` is the stem of its files; `about` as of a `Line`; `narrow`, for a phone, has its panels below
    one another (None where it has one).
    """

    name: str
    caption: str
    figure: Figure
    about: About = field(default_factory=dict)
    narrow: Figure | None = None


@dataclass(frozen=True)
class Checked:
    """A statement that must hold for the paper's claim to stand, and what became of it.

    Attributes:
        name: e.g. `signatures_survive_pruning`.
        says: the statement in one sentence.
        holds: None where the runs that it is about are not there.
        measured: what was found, in one line.
        why: where it fails, the cause that was found by measurement; "" elsewhere.
    """

    name: str
    says: str
    holds: bool | None
    measured: str
    why: str = ""


@dataclass(frozen=True)
class CellState:
    """One cell of a study's sweep: `state` is done, failed, running or planned; `reason` says why it failed."""

    name: str
    command: str
    state: str
    reason: str = ""


@dataclass(frozen=True)
class RunLink:
    """A finished run that stands behind a section.

    Attributes:
        name: its folder below the folder of runs, `<kind>/<key>`.
        about: as of a `Line`.
        files: those of its files that a reader may want, e.g. `{"curves": "metrics.csv"}`.
    """

    name: str
    about: About = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Section:
    """One study at one scale, or one part of a folder of records.

    Attributes:
        name: e.g. `table_06`.
        title: e.g. `Table VI: fine-tuning`.
        question: what it asks, in one sentence.
        source: where the paper has it.
        scale: smoke, cpu or paper, and in words what that means; "" for a folder of records.
        provenance: hardware, versions and commits, a line each.
    """

    name: str
    title: str
    question: str = ""
    source: str = ""
    scale: str = ""
    tables: Sequence[TableView] = ()
    pictures: Sequence[Picture] = ()
    statements: Sequence[Checked] = ()
    cells: Sequence[CellState] = ()
    provenance: Sequence[str] = ()
    notes: Sequence[str] = ()
    runs: Sequence[RunLink] = ()


def with_unique_names(sections: Sequence[Section]) -> list[Section]:
    """The same sections; where two sections, two tables or two pictures share a name, the later ones get `-2`, `-3`.

    Characters other than letters, digits, dots, hyphens and underscores become underscores. Names that are already
    so stay, thus doing it twice changes nothing.
    """
    names = iter(_unique(section.name for section in sections))
    # report.md is taken
    tables = iter(_unique((table.name for section in sections for table in section.tables), taken={"report"}))
    pictures = iter(_unique(picture.name for section in sections for picture in section.pictures))
    return [
        replace(
            section,
            name=next(names),
            tables=[replace(table, name=next(tables)) for table in section.tables],
            pictures=[replace(picture, name=next(pictures)) for picture in section.pictures],
        )
        for section in sections
    ]


def _unique(names: Iterable[str], taken: set[str] | None = None) -> list[str]:
    used, found = set(taken or ()), []
    for name in names:
        stem = re.sub(r"[^A-Za-z0-9._-]+", "_", name).lstrip(".") or "part"
        unique, number = stem, 1
        while unique.lower() in used:  # some file systems do not tell A from a
            number += 1
            unique = f"{stem}-{number}"
        used.add(unique.lower())
        found.append(unique)
    return found
