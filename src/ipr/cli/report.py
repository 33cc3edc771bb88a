"""`ipr report`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.table import Table

from ipr.cli import loading
from ipr.errors import InputError
from ipr.studies.config import ReportConfig
from ipr.studies.filter import chosen
from ipr.studies.planned import read_plans
from ipr.terminal.console import Console
from ipr.texts import file_name

if TYPE_CHECKING:
    from ipr.reports.section import Section


PAPER = "Passports and watermarks: the paper's tables and figures"
"""The title of a report of its studies."""


def execute(config: ReportConfig) -> int:
    """Writes tables, figures and a page from records and says where they are."""
    console, runs, where = Console(), Path(config.paths.runs), chosen(config.where)
    if config.study is not None:
        beside = {"tag": config.tag} if config.tag is not None else {n: ",".join(v) for n, v in where.items()}
        for name, value in beside.items():
            raise InputError(name, value, "does not go with study", "leave one of them out")
        report_studies(runs, config.study, config.scale.name if config.scale else None, config.out, console)
        return 0
    with loading():
        from ipr.reports.runs import write_report

    named = [*([config.tag] if config.tag else []), *(",".join(values) for values in where.values())]
    out = Path(config.out) if config.out else runs / "report" / file_name("-".join(named) or "all")
    report = write_report(runs, config.tag, out, where)
    console.tell(report.table)
    for path in report.files:
        console.say(f"written: {path}")
    return 0


def report_studies(runs: Path, asked: str, scale: str | None, out: str | None, console: Console) -> None:
    """Writes the report of studies that were run, or are running, and prints what became of their statements.

    Args:
        runs: the folder of runs.
        asked: `all`, or studies with commas between.
        scale: only this scale; None for all.
        out: where to write; None for a folder of its own beside the runs.
        console: where to print.

    Raises:
        InputError: none of them was run.
    """
    with loading():
        from ipr.reports.files import write_sections
        from ipr.reports.runs import runs_of, write_runs
        from ipr.reports.study import section_of

    names = [] if asked == "all" else [Path(name).stem for name in asked.split(",")]
    plans, at = read_plans(runs, names, scale), f" at scale={scale}" if scale else ""
    for name in names or ([] if plans else ["all"]):
        if name not in {plan.name for plan in plans}:
            problem = f"was not run in {runs.absolute()}{at}"
            raise InputError("study", name, problem, f"first: ipr reproduce study={name}")
    sections = [section_of(plan, runs) for plan in plans]
    made_for = {plan.load().scale for plan in plans}
    stem = file_name("-".join([*(names or ["studies"]), *([scale] if scale and made_for != {scale} else [])]))
    folder = Path(out) if out else runs / "report" / stem
    own = sections[0].title if len(sections) == 1 else "Studies"
    files = write_sections(sections, folder, PAPER if made_for == {""} else own, runs)
    for plan in plans:
        if not plan.load().draws:
            shown = write_runs(runs_of(plan, runs), folder if len(plans) == 1 else folder / plan.name)
            console.tell(shown.table)
            files = [*shown.files, *files]
    if any(section.statements for section in sections):
        console.print(statement_table(sections))
    page = next(path for path in files if path.suffix == ".html")
    console.say(f"written: {page} and {len(files) - 1} more files")


def statement_table(sections: Sequence[Section]) -> Table:
    """What became of the statements of studies."""
    table = Table(title_justify="left", show_lines=False)
    for heading in ("study", "scale", "statement", "holds", "measured"):
        table.add_column(heading, overflow="fold")
    for section in sections:
        for checked in section.statements:
            holds = {True: "yes", False: "no", None: "not run"}[checked.holds]
            table.add_row(section.name, section.scale.split(":")[0], checked.name, holds, checked.measured)
    return table
