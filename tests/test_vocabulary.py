"""Only a decision says `verified`: what trainings and attacks measure is `mark_read` and `consistent`."""

import ast
from fnmatch import fnmatch
from pathlib import Path

import pytest

import ipr

SOURCE = Path(ipr.__file__).parent
DECIDES = (
    "judging/decision.py", "judging/conditions.py", "judging/calibration*.py", "workflows/calibrate.py",
    "workflows/verify.py", "cli/verify.py",
    "reports/calibration.py", "reports/verdict*.py", "judging/dispute.py", "workflows/missed_claims.py",
    "workflows/wrong_claims.py",
)  # fmt: skip
"""Decisions, what counts them, and what writes them down."""
READS_OLD_FILES = ("store/record.py", "workflows/attack_rows.py")
"""Where the word is the key of a record, or a row, of an earlier version."""


def lines_of(word: str, code: str, keys: bool = True) -> list[int]:
    """The lines on which `word` names a field, a variable, an argument or (`keys`) a key; prose does not count."""
    named = {ast.Attribute: "attr", ast.Name: "id", ast.arg: "arg", ast.keyword: "arg", ast.FunctionDef: "name"}
    named |= {ast.Constant: "value"} if keys else {}
    return [n.lineno for n in ast.walk(ast.parse(code)) if type(n) in named and getattr(n, named[type(n)]) == word]


def test_only_what_decides_says_verified():
    names = {path.relative_to(SOURCE).as_posix(): path for path in sorted(SOURCE.rglob("*.py"))}
    found = [
        f"{name}:{line}"
        for name, path in names.items()
        if not any(fnmatch(name, pattern) for pattern in DECIDES)
        for line in lines_of("verified", path.read_text(), keys=name not in READS_OLD_FILES)
    ]
    assert found == [], "what is measured is `mark_read` or `consistent`; a module that decides stands in DECIDES"


@pytest.mark.parametrize(
    "code",
    [
        "class A:\n verified: bool", "class A:\n def verified(self): pass", "x = row.verified", "x = A(verified=True)",
        "x = row['verified']", "def f(verified): pass", "verified = 1",
    ],
)  # fmt: skip
def test_a_field_is_found_and_prose_is_not(code):
    assert lines_of("verified", code)
    assert not lines_of("verified", f'"""A verified claim."""  # verified\n{code.replace("verified", "unverified")}')
    assert bool(lines_of("verified", code, keys=False)) == ("['" not in code)
