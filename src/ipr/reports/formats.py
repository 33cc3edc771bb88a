"""A table, and a list of sections, as Markdown, CSV and LaTeX text.

Markdown and LaTeX are written here and not by pandas: its `to_markdown` needs `tabulate`, and escapes nothing; its
`to_latex` (3.1) draws no rule below a heading that is split in ours and the paper's, and leaves letters such as ± and
γ as they are, at which pdflatex stops.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import pandas as pd

from ipr.reports.section import Checked, Section, TableView, Value

NUMBER = re.compile(r"\s*[+\-\N{MINUS SIGN}±]?\d")  # "66.1 ± 0.3", "-2.5", "3/15; 58.4": what is read from the right


def is_numeric(view: TableView, column: int) -> bool:
    """Whether a column holds numbers, which stand on the right: there is an n or a paper's number, or all begin so.

    A dash stands for none.
    """
    if _has_n(view, column) or _has_paper(view, column):
        return True
    filled = [text for line in view.lines if (text := line.cells[column].ours).strip(" -")]
    return bool(filled) and all(NUMBER.match(text) for text in filled)


def verdict(statement: Checked) -> str:
    """PASS, FAIL, or NOT YET where the runs are missing."""
    return "NOT YET" if statement.holds is None else "PASS" if statement.holds else "FAIL"


def table_csv(view: TableView) -> str:
    """A table as CSV; n and the paper's numbers are columns of their own, `<column>, n` and `<column>, paper`, after
    the columns that have them.
    """
    columns: list[tuple[str, list[str]]] = []
    for i, name in enumerate(view.header):
        values = [line.cells[i] for line in view.lines]
        columns.append((name, [value.ours for value in values]))
        if _has_n(view, i):
            columns.append((f"{name}, n", ["" if value.n is None else str(value.n) for value in values]))
        if _has_paper(view, i):
            columns.append((f"{name}, paper", [value.paper or "" for value in values]))
    frame = pd.DataFrame(zip(*(texts for _, texts in columns), strict=True), dtype=object).map(csv_cell)
    return frame.to_csv(index=False, header=[csv_cell(name) for name, _ in columns], lineterminator="\n")


FORMULA = tuple("=+-@\t\n\uff1d\uff0b\uff0d\uff20")  # the last four: the first four, twice as wide
HARMLESS = re.compile(r"[+\-]?([\d.][\d.,;:%/±eE+\- ]*|inf|nan)?")


def csv_cell(value: Any) -> Any:
    """A cell that a spreadsheet computes nothing from: a text that it would take for a formula gets an apostrophe.

    Numbers stay as they are, and so does what is no text: -0.5, "-2.5 ± 0.3".
    """
    if not isinstance(value, str):
        return value
    text = value.replace("\r", "\n")  # on its own it would begin a row, unquoted
    return f"'{text}" if text.startswith(FORMULA) and not HARMLESS.fullmatch(text) else text


def table_markdown(view: TableView) -> str:
    """A table as Markdown under its caption. A cell reads `66.1 ± 0.3 (n 3; paper 65.2)`."""
    columns = range(len(view.header))
    rows = ["| " + " | ".join(_markdown(name) for name in view.header) + " |"]
    rows.append("|" + "|".join("---:" if is_numeric(view, column) else "---" for column in columns) + "|")
    rows += ["| " + " | ".join(_markdown_cell(value) for value in line.cells) + " |" for line in view.lines]
    return "\n".join([_markdown(view.caption), "", *rows])


def statements_markdown(statements: Sequence[Checked]) -> str:
    """Statements as a Markdown list: the verdict, what was to hold, what was measured, and why it fails."""
    lines = []
    for statement in statements:
        text = f"- **{verdict(statement)}** {_markdown(statement.says)} (`{_code(statement.name)}`)"
        if statement.measured:
            text += f" Measured: {_markdown(statement.measured)}"
        lines.append(text)
        if statement.holds is False and statement.why:
            lines.append(f"  Why: {_markdown(statement.why)}")
    return "\n".join(lines)


def summary_markdown(sections: Sequence[Section]) -> str:
    """What became of every section's statements, a line each; those that fail by name. "" where nothing is stated."""
    stated = [section for section in sections if section.statements]
    if not stated:
        return ""
    lines = ["| study | scale | statements that hold | that fail | not judged yet |", "|---|---|---:|---|---:|"]
    for section in stated:
        held = sum(statement.holds is True for statement in section.statements)
        failing = [f"`{_code(s.name)}`" for s in section.statements if s.holds is False]
        missing = sum(statement.holds is None for statement in section.statements)
        scale, title = _markdown(section.scale.split(":")[0]), _markdown(section.title)
        count = f"{held} of {len(section.statements)}"
        lines.append(f"| {title} | {scale} | {count} | {', '.join(failing)} | {missing or ''} |")
    return "\n".join(lines)


def report_markdown(title: str, sections: Sequence[Section]) -> str:
    """A whole report as Markdown, for a repository; pictures are links to `<name>.png` beside it."""
    parts = [f"# {_markdown(title)}", *filter(None, [summary_markdown(sections)])]
    for section in sections:
        parts.append(f"## {_markdown(section.title)}")
        parts += [_markdown(section.question)] if section.question else []
        facts = [f"Scale: {_markdown(section.scale)}."] if section.scale else []
        facts += [f"Source: {_markdown(section.source)}."] if section.source else []
        parts += [" ".join(facts)] if facts else []
        parts += [statements_markdown(section.statements)] if section.statements else []
        parts += [table_markdown(table) for table in section.tables]
        for picture in section.pictures:
            parts += [f"![{_markdown(picture.caption)}]({picture.name}.png)", _markdown(picture.caption)]
        parts += ["\n".join(f"- {_markdown(note)}" for note in section.notes)] if section.notes else []
        failed = [cell for cell in section.cells if cell.state == "failed"]
        if failed:
            count = f"Failed: {len(failed)} of {len(section.cells)} cells."
            parts.append("\n".join([count, "", *(
                f"- {_markdown(cell.name)}: {_markdown(cell.reason)} `{_code(cell.command)}`" for cell in failed
            )]))  # fmt: skip
        parts += ["\n".join(f"- {_markdown(line)}" for line in section.provenance)] if section.provenance else []
    return "\n\n".join(parts)


def table_latex(view: TableView) -> str:
    r"""A table as a LaTeX `table` of the package booktabs, labelled `tab:<name>`.

    A column that the paper has too is split in two, ours and the paper's. Letters that pdflatex does not know without
    further packages are left as they are.
    """
    columns = range(len(view.header))
    compared = [_has_paper(view, column) for column in columns]
    kinds = "".join(("r" if is_numeric(view, i) else "l") + ("r" if compared[i] else "") for i in columns)
    caption = _latex(view.caption)
    if any(_has_n(view, column) for column in columns):
        caption += " In brackets: the number of runs."
    head = [" & ".join(
        rf"\multicolumn{{2}}{{c}}{{{_latex(name)}}}" if compared[i] else _latex(name)
        for i, name in enumerate(view.header)
    ) + r" \\"]  # fmt: skip
    if any(compared):
        starts = [1 + i + sum(compared[:i]) for i in columns]
        head.append(" ".join(rf"\cmidrule(lr){{{starts[i]}-{starts[i] + 1}}}" for i in columns if compared[i]))
        head.append(" & ".join("ours & paper" if compared[i] else "" for i in columns) + r" \\")
    body = []
    for line in view.lines:
        cells = []
        for i, value in enumerate(line.cells):
            count = f" ({value.n})" if value.n is not None and value.ours else ""
            cells += [_latex(value.ours) + count, *([_latex(value.paper or "")] if compared[i] else [])]
        body.append(" & ".join(cells) + r" \\")
    return "\n".join([
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{caption}}}",
        rf"\label{{tab:{view.name}}}",
        rf"\begin{{tabular}}{{{kinds}}}",
        r"\toprule",
        *head,
        r"\midrule",
        *body,
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
    ])  # fmt: skip


def _has_n(view: TableView, column: int) -> bool:
    return any(line.cells[column].n is not None for line in view.lines)


def _has_paper(view: TableView, column: int) -> bool:
    return any(line.cells[column].paper is not None for line in view.lines)


def _markdown_cell(value: Value) -> str:
    extra = [f"n {value.n}"] if value.n is not None and value.ours else []
    extra += [f"paper {_markdown(value.paper)}"] if value.paper is not None else []
    return " ".join([*([_markdown(value.ours)] if value.ours else []), *([f"({'; '.join(extra)})"] if extra else [])])


def _markdown(text: str) -> str:
    """Text that Markdown shows as it is; underscores inside a word mean nothing there and stay readable."""
    text = re.sub(r"([\\`*\[\]|~]|(?<!\w)_|_(?!\w))", r"\\\1", " ".join(text.split()))
    return text.replace("&", "&amp;").replace("<", "&lt;")


def _code(text: str) -> str:
    return " ".join(text.split()).replace("`", "'")


LATEX: dict[str, str | int | None] = {
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", '"': r"\textquotedbl{}",
    "[": "{[}", "*": "{*}",  # after the \\ of the row before they would be its argument
    "\N{ZERO WIDTH SPACE}": "{}", "–": "--", "—": "---", "…": r"\dots{}", "°": r"\textdegree{}",  # noqa: RUF001
    "±": r"$\pm$", "−": r"$-$", "×": r"$\times$", "·": r"$\cdot$", "≤": r"$\leq$", "≥": r"$\geq$",  # noqa: RUF001
    "≈": r"$\approx$", "≠": r"$\neq$", "→": r"$\rightarrow$", "∞": r"$\infty$",
    "α": r"$\alpha$", "β": r"$\beta$", "γ": r"$\gamma$", "ε": r"$\varepsilon$", "λ": r"$\lambda$",  # noqa: RUF001
    "μ": r"$\mu$", "σ": r"$\sigma$", "τ": r"$\tau$", "Δ": r"$\Delta$",  # noqa: RUF001
}  # fmt: skip
"""What stands for a character in LaTeX."""


def _latex(text: str) -> str:
    text = " ".join(text.split())
    text = re.sub(r"(?<![\w.)])-(?=\d)", "\N{MINUS SIGN}", text)
    text = re.sub(r"-(?=-)", "-\N{ZERO WIDTH SPACE}", text)  # two hyphens would become a dash
    return text.translate(str.maketrans(LATEX))
