"""A list of sections as files: a page, Markdown, CSV, LaTeX and pictures."""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from ipr.errors import InputError
from ipr.files import write_atomically
from ipr.reports.formats import report_markdown, summary_markdown, table_csv, table_latex, table_markdown
from ipr.reports.page import page_html
from ipr.reports.section import Picture, Section, with_unique_names
from ipr.reports.svg import svg_file


def write_files(out: Path, files: Iterable[tuple[str, str | bytes]]) -> list[Path]:
    """Writes files, by name and content, into a folder, which is made if missing.

    A file that is already there is replaced in one step, so that a reader never sees half of it; others are left.

    Raises:
        InputError: the folder cannot be written.
    """
    written = []
    try:
        out.mkdir(parents=True, exist_ok=True)
        for name, content in files:
            written.append(out / name)
            write_atomically(written[-1], content)
    except OSError as error:
        raise InputError("out", out, f"cannot be written ({error.strerror})", "choose another folder") from error
    return written


def write_sections(sections: Sequence[Section], out: Path, title: str, runs: Path | None = None) -> list[Path]:
    """Writes a list of sections: a page, and beside it everything else.

    `index.html`; `report.md`, and `summary.md` where there are statements; each table as `.md`, `.csv` and `.tex`; each
    picture as `.svg` and `.png`. The same sections, made anew, give the same bytes (a figure that is drawn again may
    shift by a hair: its layout starts from where it was).

    Args:
        sections: in the order in which they appear.
        out: the folder; made if missing.
        title: of the page and of `report.md`.
        runs: the folder of runs, to which the page links if it lies in it; elsewhere, where it is to be handed on,
            links would lead nowhere and tell where it was made. None for no links.

    Returns:
        The files, those that show all others last.

    Raises:
        InputError: the folder cannot be written.
    """
    inside = runs is not None and out.resolve().is_relative_to(runs.resolve())
    base = Path(os.path.relpath(runs.resolve(), out.resolve())).as_posix() if runs is not None and inside else None
    return write_files(out, _contents(with_unique_names(sections), title, base))


def _contents(sections: Sequence[Section], title: str, base: str | None) -> Iterator[tuple[str, str | bytes]]:
    for section in sections:
        for table in section.tables:
            yield f"{table.name}.md", table_markdown(table) + "\n"
            yield f"{table.name}.csv", table_csv(table)
            yield f"{table.name}.tex", table_latex(table) + "\n"
        for picture in section.pictures:
            yield f"{picture.name}.svg", svg_file(picture.figure)
            yield f"{picture.name}.png", _png(picture)
    if summary := summary_markdown(sections):
        yield "summary.md", summary + "\n"
    yield "report.md", report_markdown(title, sections) + "\n"
    yield "index.html", page_html(title, sections, base)


def _png(picture: Picture) -> bytes:
    buffer = io.BytesIO()
    picture.figure.savefig(buffer, format="png", dpi=150)
    return buffer.getvalue()
