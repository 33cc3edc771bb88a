"""The report of a folder of runs, whatever made them: tables, figures and a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import pandas as pd

from ipr.errors import InputError
from ipr.reports.attacks import attack_markdown
from ipr.reports.files import write_sections
from ipr.reports.formats import csv_cell
from ipr.reports.markdown import markdown
from ipr.reports.records import attacks_section, trainings_section
from ipr.reports.summary import records_frame, setting_of
from ipr.store.failure import Failure, find_failures
from ipr.store.record import Record, find_records
from ipr.store.tags import parted
from ipr.studies.filter import matches
from ipr.workflows.attack import AttackRow, find_rows
from ipr.workflows.embedding_checks import embedding_failed


@dataclass(frozen=True)
class Report:
    """The tables as Markdown, and the files written."""

    table: str
    files: list[Path]


def write_report(runs: Path, tag: str | None, out: Path, where: Mapping[str, Sequence[str]] | None = None) -> Report:
    """Writes tables and figures from the records below a folder of runs.

    Args:
        runs: the folder.
        tag: keep only runs that carry it, and the baselines that they are compared with; None for all.
        out: where to write; made if missing.
        where: keep only runs that agree with it, and these baselines (`studies.filter.chosen`); of attacks, those on
            such runs.

    Raises:
        InputError: there is no such record, or the folder cannot be written.
    """
    every = list(find_records(runs))
    tags, wanted = None if tag is None else tag.split(","), where or {}
    of_runs = {name: values for name, values in wanted.items() if name != "attack"}

    def fits(row: Record | AttackRow | Failure, facts: Mapping[str, Sequence[str]]) -> bool:
        return (tags is None or not set(tags).isdisjoint(parted(row.tags))) and matches(asdict(row), facts)

    attacked = [row for row in find_rows(runs) if fits(row, wanted)]
    of_attacks = {row.victim for row in attacked}
    records = [one for one in every if (one.key in of_attacks if "attack" in wanted else fits(one, of_runs))]
    if not records and wanted:
        asked = " ".join(f"{name}={','.join(values)}" for name, values in wanted.items())
        raise InputError("report", asked, f"no finished run in {runs.absolute()}", "`ipr list` shows what is there")
    if not records:
        found = sorted({t for record in every for t in parted(record.tags)})
        raise InputError(
            "tag" if tag else "paths.runs",
            tag or runs,
            f"no finished run in {runs.absolute()}",
            f"train first, or choose among the tags: {', '.join(found) or 'none'}",
        )
    compared = {setting_of(record) for record in records}
    records += [r for r in every if r.scheme == "baseline" and r not in records and setting_of(r) in compared]
    frame = records_frame(records)
    failed = [] if wanted else [failure for failure in find_failures(runs) if fits(failure, {})]
    notes = [f"Not in the tables, as its training diverged: {one.kind}/{one.key} ({one.says})." for one in failed]
    notes += [f"{line[0].upper()}{line[1:]}." for line in map(embedding_failed, records) if line]
    table = "\n\n".join([markdown(frame), *notes])
    try:
        out.mkdir(parents=True, exist_ok=True)
        files = [out / "table.md", out / "records.csv"]
        files[0].write_text(table + "\n")
        frame.map(csv_cell).to_csv(files[1], index=False)
        if attacked:
            attacks = attack_markdown(attacked)
            files += [out / "attacks.md", out / "attacks.csv"]
            files[2].write_text(attacks + "\n")
            pd.DataFrame([asdict(row) for row in attacked]).map(csv_cell).to_csv(files[3], index=False)
            table += "\n\n" + attacks
    except OSError as error:
        raise InputError("out", out, f"cannot be written ({error.strerror})", "choose another folder") from error
    sections = [one for one in (trainings_section(frame, notes), attacks_section(attacked)) if one is not None]
    title = " ".join([f"Runs tagged {tag}" if tag else "Runs", *(f"{n}={','.join(v)}" for n, v in wanted.items())])
    files += write_sections(sections, out, title)
    return Report(table, files)
