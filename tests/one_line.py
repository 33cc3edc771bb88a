"""What a user sees who gets something wrong."""

from __future__ import annotations


def assert_one_line(outcome, *words):
    assert outcome.code == 2, outcome
    lines = [
        line for line in outcome.err.splitlines() if line.strip() and "begins with a trained plain network" not in line
    ]
    assert len(lines) == 1, outcome.err
    assert lines[0].startswith("ipr: error: ")
    assert "Traceback" not in outcome.out + outcome.err
    for word in words:
        assert word in lines[0], f"{word!r} is not in {lines[0]!r}"
