"""`ipr report`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ipr.cli import loading
from ipr.errors import InputError
from ipr.studies.config import ReportConfig
from ipr.studies.filter import chosen
from ipr.studies.planned import read_plans
from ipr.terminal.console import Console
from ipr.terminal.table import print_table
from ipr.texts import file_name

if TYPE_CHECKING:
    from ipr.reports.section import Section


MOST = 40
"""How many lines a report prints at most; all is in its files."""

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
    console.tell(shortened(report.table, MOST - 2, out / "report.md"))
    tell_files(console, report.files)
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
    of_runs = [plan for plan in plans if not plan.load().draws]
    stated = any(section.statements for section in sections)
    for plan in of_runs:
        shown = write_runs(runs_of(plan, runs), folder if len(plans) == 1 else folder / plan.name)
        most = (MOST // 2 if stated else MOST - 2) // len(of_runs)
        console.tell(shortened(shown.table, most, folder / "report.md"))
        files = [*shown.files, *files]
    if stated:
        tell_statements(console, sections, (MOST // 2 if of_runs else MOST) - 2, folder / "report.md")
    tell_files(console, files)


def shortened(text: str, most: int, where: Path) -> str:
    """At most so many lines of a text, the last of which says where the others are."""
    lines = text.splitlines()
    if len(lines) <= most:
        return text
    kept = lines[: max(most - 2, 0)]
    return "\n".join([*kept, "", f"{len(lines) - len(kept)} more lines in {where}"])


def tell_files(console: Console, files: Sequence[Path]) -> None:
    """Where the page is, and how many files lie beside it."""
    page = next(path for path in files if path.suffix == ".html")
    console.say(f"written: {page} and {len(files) - 1} more files")


def tell_statements(console: Console, sections: Sequence[Section], most: int, where: Path) -> None:
    """What became of the statements of studies, and what was measured where one does not hold.

    Args:
        console: where to print.
        sections: the studies.
        most: how many lines may be printed; never less than one for each study, up to 30, and their headings.
        where: the file that has them all.
    """
    stated = [section for section in sections if section.statements]
    rows = []
    for section in stated:
        counts = Counter(one.holds for one in section.statements)
        told = [f"{counts[True]} of {len(section.statements)}", *(str(counts[held] or "") for held in (False, None))]
        rows.append([section.name, section.scale.split(":")[0], *told])
    print_table("", ["study", "scale", "hold", "fail", "not run"], rows[:30])
    every = [(section.name, one) for section in stated for one in section.statements]
    few = len(every) + len(rows) + 5 <= most  # then those that hold are told, too
    words = {True: "holds", False: "fails", None: "not run"}
    lines = [
        f"{words[one.holds]}: {name}: {one.name}: {one.measured}" for name, one in every if few or one.holds is False
    ]
    for line in shortened("\n".join(lines), most - len(rows[:30]) - 4, where).splitlines():
        console.say(line)
