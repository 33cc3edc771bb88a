"""Tables as Markdown, CSV and LaTeX."""

import io
import re

import pandas as pd
import pytest

from ipr.reports.formats import (
    csv_cell,
    is_numeric,
    report_markdown,
    statements_markdown,
    table_csv,
    table_latex,
    table_markdown,
)
from ipr.reports.section import Checked, Line, Section, TableView, Value
from report_sections import sections

VIEW = TableView(
    "small",
    "Accuracy in % (mean ± deviation).",
    ("scheme", "accuracy", "consistent"),
    [
        Line((Value("baseline"), Value("66.1 ± 0.3", 3, "86.5"), Value(""))),
        Line((Value("passport_v1"), Value("", paper="85.9"), Value("3 of 3"))),
    ],
)


def latex_of(text):
    """How one cell is written in LaTeX."""
    body = table_latex(TableView("t", "c", ("h",), [Line((Value(text),))]))
    return re.search(r"\\midrule\n(.*) \\\\\n\\bottomrule", body)[1]


def test_csv_has_n_and_the_papers_number_in_columns_of_their_own():
    read = pd.read_csv(io.StringIO(table_csv(VIEW)), dtype=str, keep_default_na=False)
    assert list(read.columns) == ["scheme", "accuracy", "accuracy, n", "accuracy, paper", "consistent"]
    assert read.to_numpy().tolist() == [
        ["baseline", "66.1 ± 0.3", "3", "86.5", ""],
        ["passport_v1", "", "", "85.9", "3 of 3"],
    ]


@pytest.mark.parametrize("text", ['a,b "c"', "two\nlines", "1=2", " padded ", "ü ± µ"])
def test_csv_round_trip(text):
    view = TableView("t", "c", (text,), [Line((Value(text),))])
    read = pd.read_csv(io.StringIO(table_csv(view)), dtype=str, keep_default_na=False)
    assert (read.columns[0], read.iloc[0, 0]) == (text, text)


def test_every_number_of_every_table_is_in_every_format():
    for table in (table for section in sections() for table in section.tables):
        texts = [write(table) for write in (table_csv, table_markdown)]
        latex = table_latex(table).replace(r" $\pm$ ", " ± ")
        for value in (value for line in table.lines for value in line.cells):
            for number in re.findall(r"\d+\.\d+(?: ± \d+\.\d+)?", f"{value.ours} {value.paper}"):
                assert all(number in text for text in [*texts, latex])


def test_markdown():
    assert table_markdown(VIEW).splitlines() == [
        "Accuracy in % (mean ± deviation).",
        "",
        "| scheme | accuracy | consistent |",
        "|---|---:|---:|",
        "| baseline | 66.1 ± 0.3 (n 3; paper 86.5) |  |",
        "| passport_v1 | (paper 85.9) | 3 of 3 |",
    ]


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("a|b", r"a\|b"),
        ("<script>", "&lt;script>"),
        ("1 * 2 * 3", r"1 \* 2 \* 3"),
        ("two\nlines", "two lines"),
        ("passport_v1", "passport_v1"),
        ("_name_", r"\_name\_"),
        ("[x](y)", r"\[x\](y)"),
        ("a\\|b", r"a\\\|b"),
    ],
)
def test_markdown_shows_text_as_it_is(text, written):
    view = TableView("t", "c", ("h",), [Line((Value(text),))])
    assert table_markdown(view).splitlines()[-1] == f"| {written} |"


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("passport_v1", r"passport\_v1"),
        ("5 % & $3 #1", r"5 \% \& \$3 \#1"),
        ("{a}", r"\{a\}"),
        ("a\\b", r"a\textbackslash{}b"),
        ("~^", r"\textasciitilde{}\textasciicircum{}"),
        ("|S| < 3", r"\textbar{}S\textbar{} \textless{} 3"),
        ("66.1 ± 0.3", r"66.1 $\pm$ 0.3"),
        ("-2.5 ± 0.1", r"$-$2.5 $\pm$ 0.1"),
        ("well-known, 3-4", "well-known, 3-4"),
        ("--help", r"-{}-help"),
        ("[1] *", r"{[}1] {*}"),
    ],
)
def test_latex_escapes(text, written):
    assert latex_of(text) == written


def test_latex_splits_a_column_that_the_paper_has():
    lines = table_latex(VIEW).splitlines()
    assert r"\begin{tabular}{lrrr}" in lines
    assert r"scheme & \multicolumn{2}{c}{accuracy} & consistent \\" in lines
    assert r"\cmidrule(lr){2-3}" in lines
    assert r" & ours & paper &  \\" in lines
    assert r"baseline & 66.1 $\pm$ 0.3 (3) & 86.5 &  \\" in lines
    assert r"passport\_v1 &  & 85.9 & 3 of 3 \\" in lines


def test_every_latex_row_has_as_many_cells_as_columns():
    for table in (table for section in sections() for table in section.tables):
        latex = table_latex(table)
        kinds = re.search(r"\\begin\{tabular\}\{([lr]+)\}", latex)[1]
        rows = [line for line in latex.splitlines() if line.endswith(r"\\") and "multicolumn" not in line]
        assert {len(re.findall(r"(?<!\\)&", row)) + 1 for row in rows} == {len(kinds)}
        assert latex.count("{") - latex.count(r"\{") == latex.count("}") - latex.count(r"\}")


def test_which_columns_are_numbers():
    lines = [Line((Value("12.9"), Value("3 of 3"), Value("v1"), Value(""), Value("-0.3", 1))), Line((Value(""),) * 5)]
    view = TableView("t", "c", tuple("abcde"), lines)
    assert [is_numeric(view, column) for column in range(5)] == [True, True, False, False, True]


def test_statements():
    text = statements_markdown([
        Checked("a", "A holds.", True, "3 of 3", "not shown where it holds"),
        Checked("b", "B holds.", False, "0 of 3", "the learning rate"),
        Checked("c", "C holds.", None, ""),
    ])  # fmt: skip
    assert text.splitlines() == [
        "- **PASS** A holds. (`a`) Measured: 3 of 3",
        "- **FAIL** B holds. (`b`) Measured: 0 of 3",
        "  Why: the learning rate",
        "- **NOT YET** C holds. (`c`)",
    ]


def test_report_has_every_part_and_links_its_pictures():
    text = report_markdown("Title", sections())
    for section in sections():
        assert f"\n## {section.title.split(' &')[0]}" in text
        assert all(table_markdown(table) in text for table in section.tables)
    assert "![Accuracy against the share of pruned weights.](pruning.png)" in text
    assert "training diverged in epoch 3 &lt;script>" in text
    assert "commit 0123456789abcdef" in text


def test_an_empty_section_is_a_heading():
    assert report_markdown("T", [Section("a", "A")]) == "# T\n\n## A"


@pytest.mark.parametrize("text", ["=1+1", "+cmd|' /C calc'!A0", "-2+3+cmd|' /C calc'!A0", "@SUM(A1)", "\t=1", "\r=1",
                                  "\uff1d1+1", "=-0.5", "--x", "-e", "+A1"])  # fmt: skip
def test_csv_has_no_cell_that_a_spreadsheet_computes(text):
    view = TableView("t", "c", (text,), [Line((Value(text, 3, text),))])
    read = pd.read_csv(io.StringIO(table_csv(view)), dtype=str, keep_default_na=False)
    shown = f"'{text}".replace("\r", "\n")
    assert read.columns[0] == shown
    assert [str(cell) for cell in read.iloc[0]] == [shown, "3", shown]


def test_no_end_of_a_line_begins_a_row_of_csv():
    view = TableView("t", "c", ("h", "i"), [Line((Value("a\r=1+1"), Value("b\n@x")))])
    assert table_csv(view) == 'h,i\n"a\n=1+1","b\n@x"\n'


@pytest.mark.parametrize("value", ["-0.5", "+3", "-1e-05", "-0.5 ± 0.1", "-2.5; +3", "-inf", "-", "", "a=b", -0.5, None,
                                   True, "-.5", "-12 %"])  # fmt: skip
def test_numbers_stay_numbers_in_csv(value):
    assert csv_cell(value) == value
    assert type(csv_cell(value)) is type(value)


def test_a_dash_in_a_column_of_numbers_is_no_word():
    def view(*texts):
        return TableView("t", "c", ("x",), [Line((Value(text),)) for text in texts])

    assert is_numeric(view("+0.3", "-", ""), 0)
    assert not is_numeric(view("-", "a"), 0)
    assert not is_numeric(view("-", ""), 0)
