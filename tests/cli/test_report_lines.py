"""How much a report prints."""

from pathlib import Path

from ipr.cli.report import MOST, shortened, tell_statements
from ipr.reports.section import Checked, Section
from ipr.terminal.console import Console


def studies(count, statements, fail):
    one = [Checked(f"s{i}", "It holds.", i >= fail, "1 of 2") for i in range(statements)]
    return [Section(f"study_{n}", "A study", scale="cpu: small", statements=one) for n in range(count)]


def printed(capsys, sections):
    tell_statements(Console(), sections, MOST, Path("report.md"))
    return capsys.readouterr().out


def test_what_is_too_long_ends_with_where_the_rest_is():
    text = "\n".join(map(str, range(10)))
    assert shortened(text, 10, Path("all.md")) == text
    short = shortened(text, 6, Path("all.md")).splitlines()
    assert short == ["0", "1", "2", "3", "", "6 more lines in all.md"]


def test_few_statements_are_all_told(capsys):
    out = printed(capsys, studies(2, 3, 1))
    assert out.count("holds: ") == 4
    assert out.count("fails: study_0: s0: 1 of 2") == 1


def test_of_many_those_that_fail_are_told_first_and_no_more_than_fit(capsys):
    out = printed(capsys, studies(20, 3, 1))
    assert "holds: " not in out
    assert "fails: study_0: s0: 1 of 2" in out
    assert len(out.splitlines()) <= MOST
    assert "more lines in report.md" in out
    assert len(printed(capsys, studies(200, 3, 3)).splitlines()) <= MOST
