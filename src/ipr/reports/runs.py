"""What any runs are shown as, those of a study, or those chosen by a tag or by what they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import pandas as pd

from ipr.errors import InputError
from ipr.reports.attacks import attack_markdown, attacks_section
from ipr.reports.files import write_files, write_sections
from ipr.reports.formats import csv_cell, table_markdown
from ipr.reports.run_links import run_links
from ipr.reports.searches import search_section
from ipr.reports.section import Section
from ipr.reports.trainings import records_frame, setting_of, trainings_section
from ipr.store.failure import Failure, find_failures
from ipr.store.record import Record, find_records, load_record
from ipr.store.tags import parted
from ipr.studies.filter import matches
from ipr.studies.planned import Plan
from ipr.workflows.attack_rows import AttackRow, find_rows, load_rows
from ipr.workflows.embedding_checks import embedding_failed


@dataclass(frozen=True)
class Runs:
    """Records of trainings, rows of attacks, and the failures of trainings that diverged, in a folder of runs."""

    folder: Path
    records: Sequence[Record]
    attacked: Sequence[AttackRow]
    failures: Sequence[Failure] = ()

    def sections(self) -> list[Section]:
        """Trainings and attacks, each where there are some, with notes on what is not in the tables."""
        notes = [f"Not in the tables, as its training diverged: {f.kind}/{f.key} ({f.says})." for f in self.failures]
        notes += [f"{line[0].upper()}{line[1:]}." for line in map(embedding_failed, self.records) if line]
        trained = [self._linked(trainings_section(self.records, notes), "train", self.records)] if self.records else []
        if self.attacked:
            trained.append(self._linked(attacks_section(self.attacked), "attack", self.attacked))
        searched = search_section(self.records, self.attacked, self.folder)
        return [*trained, searched] if searched else trained

    def _linked(self, section: Section, kind: str, rows: Sequence[Record | AttackRow]) -> Section:
        return replace(section, runs=run_links(self.folder, ((f"{kind}/{row.key}", asdict(row)) for row in rows)))


def runs_of(plan: Plan, runs: Path) -> Runs:
    """Those of the cells of a study that are done.

    Raises:
        InputError: a record cannot be read.
    """
    done = [runs / cell.run for cell in plan.cells if cell.state(runs) == "done"]
    records = [load_record(path / "record.json") for path in done if path.parent.name == "train"]
    attacks = [path / "rows.jsonl" for path in done if path.parent.name == "attack"]
    return Runs(runs, records, [row for path in attacks for row in load_rows(path).values()])


def chosen_runs(runs: Path, tag: str | None, where: Mapping[str, Sequence[str]]) -> Runs:
    """Those below a folder of runs that were chosen, and the baselines that they are compared with.

    Args:
        runs: the folder.
        tag: only those that carry it, or one of several with commas between; None for all.
        where: only those that agree with it (`studies.filter.chosen`); of attacks, those on such runs.

    Raises:
        InputError: there is no such record, or one cannot be read.
    """
    every = list(find_records(runs))
    tags = None if tag is None else {*tag.split(",")}
    of_runs = {name: values for name, values in where.items() if name != "attack"}

    def fits(row: Record | AttackRow | Failure, facts: Mapping[str, Sequence[str]]) -> bool:
        return (tags is None or not tags.isdisjoint(parted(row.tags))) and matches(asdict(row), facts)

    attacked = [row for row in find_rows(runs) if fits(row, where)]
    victims = {row.victim for row in attacked}
    records = [one for one in every if (one.key in victims if "attack" in where else fits(one, of_runs))]
    if not records:
        _refuse(runs, tag, where, every)
    compared = {setting_of(record) for record in records}
    records += [r for r in every if r.scheme == "baseline" and r not in records and setting_of(r) in compared]
    return Runs(
        runs, records, attacked, [] if where else [failure for failure in find_failures(runs) if fits(failure, {})]
    )


def _refuse(runs: Path, tag: str | None, where: Mapping[str, Sequence[str]], every: Sequence[Record]) -> None:
    problem = f"no finished run in {runs.absolute()}"
    if where:
        asked = " ".join(f"{name}={','.join(values)}" for name, values in where.items())
        raise InputError("report", asked, problem, "`ipr list` shows what is there")
    known = ", ".join(sorted({name for record in every for name in parted(record.tags)})) or "none"
    remedy = f"train first, or choose among the tags: {known}"
    raise InputError("tag" if tag else "paths.runs", tag or runs, problem, remedy)


@dataclass(frozen=True)
class Report:
    """The tables as Markdown, and the files written."""

    table: str
    files: list[Path]


def write_report(runs: Path, tag: str | None, out: Path, where: Mapping[str, Sequence[str]] | None = None) -> Report:
    """Writes tables, figures and a page from the records below a folder of runs.

    Args:
        runs: the folder.
        tag: see `chosen_runs`.
        out: where to write; made if missing.
        where: see `chosen_runs`; None for all.

    Raises:
        InputError: there is no such record, one cannot be read, or the folder cannot be written.
    """
    wanted = where or {}
    found = chosen_runs(runs, tag, wanted)
    report = write_runs(found, out)
    title = " ".join([f"Runs tagged {tag}" if tag else "Runs", *(f"{n}={','.join(v)}" for n, v in wanted.items())])
    return Report(report.table, report.files + write_sections(found.sections(), out, title, runs))


def write_runs(found: Runs, out: Path) -> Report:
    """Writes what a terminal and a document show, and the rows that all comes from: `table.md` and `records.csv` of
    trainings, `attacks.md` and `attacks.csv` of attacks.

    Raises:
        InputError: the folder cannot be written.
    """
    texts: dict[str, str] = {}
    frames: dict[str, pd.DataFrame] = {}
    if found.records:
        (section,) = (one for one in found.sections() if one.name == "runs")
        parts = [*map(table_markdown, section.tables), *section.notes, *section.provenance]
        texts["table.md"], frames["records.csv"] = "\n\n".join(parts), records_frame(found.records)
    if found.attacked:
        texts["attacks.md"] = attack_markdown(found.attacked)
        frames["attacks.csv"] = pd.DataFrame([asdict(row) for row in found.attacked])
    files = {name: text + "\n" for name, text in texts.items()}
    files |= {name: frame.map(csv_cell).to_csv(index=False) for name, frame in frames.items()}
    return Report("\n\n".join(texts.values()), write_files(out, files.items()))
