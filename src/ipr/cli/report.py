"""`ipr report`."""

from __future__ import annotations

from pathlib import Path

from rich.markdown import Markdown
from rich.table import Table

from ipr.cli import loading
from ipr.config.shipped import papers
from ipr.errors import InputError
from ipr.studies.config import ReportConfig
from ipr.studies.filter import chosen
from ipr.terminal.console import Console
from ipr.texts import file_name


def execute(config: ReportConfig) -> int:
    """Writes tables, figures and a page from records and says where they are."""
    console = Console()
    where = chosen(config.where)
    if config.study is not None:
        if config.tag is not None:
            raise InputError("tag", config.tag, "does not go with study", "leave one of them out")
        if where:
            name = next(iter(where))
            raise InputError(name, ",".join(where[name]), "does not go with study", "leave one of them out")
        report_studies(
            config.paths.runs, config.study, config.scale.name if config.scale else None, config.out, console
        )
        return 0
    with loading():
        from ipr.reports.write import write_report

    runs = Path(config.paths.runs)
    named = [*([config.tag] if config.tag else []), *(",".join(values) for values in where.values())]
    out = Path(config.out) if config.out else runs / "report" / file_name("-".join(named) or "all")
    report = write_report(runs, config.tag, out, where)
    console.print(Markdown(report.table) if console.is_terminal else report.table, soft_wrap=True, highlight=False)
    for path in report.files:
        console.print(f"written: {path}", highlight=False, soft_wrap=True)
    return 0


def report_studies(runs_folder: str, asked: str, scale: str | None, out: str | None, console: Console) -> None:
    """Writes the report of studies that were run, or are running, and prints what became of their statements.

    Args:
        runs_folder: the folder of runs.
        asked: `all`, or studies with commas between.
        scale: only this scale; None for all.
        out: where to write; None for a folder of its own beside the runs.
        console: where to print.

    Raises:
        InputError: none of them was run.
    """
    with loading():
        from ipr.reports.files import write_sections
        from ipr.reports.study import section_of
        from ipr.studies.found import read_plans

    runs = Path(runs_folder)
    names = [] if asked == "all" else [Path(name).stem for name in asked.split(",")]
    plans = read_plans(runs, papers(), names, scale)
    found = {plan.study.name for plan in plans}
    for name in names or ([] if plans else ["all"]):
        if name not in found:
            at = f" at scale={scale}" if scale else ""
            raise InputError(
                "study", name, f"was not run in {runs.absolute()}{at}", f"first: ipr reproduce study={name}"
            )
    sections = [section_of(plan, runs) for plan in plans]
    folder = (
        Path(out)
        if out
        else runs / "report" / file_name("-".join([*(names or ["studies"]), *([scale] if scale else [])]))
    )
    title = "Passports and watermarks: the paper's tables and figures"
    files = write_sections(sections, folder, title)
    table = Table(title_justify="left", show_lines=False)
    for heading in ("study", "scale", "statement", "holds", "measured"):
        table.add_column(heading, overflow="fold")
    for section in sections:
        for checked in section.statements:
            holds = {True: "yes", False: "no", None: "not run"}[checked.holds]
            table.add_row(section.name, section.scale.split(":")[0], checked.name, holds, checked.measured)
    console.print(table)
    page = next(path for path in files if path.suffix == ".html")
    console.print(f"written: {page} and {len(files) - 1} more files", highlight=False, soft_wrap=True)
