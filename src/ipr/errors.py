"""The one error that a user can mend: it names the field, the value and the remedy."""

from __future__ import annotations


class InputError(ValueError):
    """Something the user gave cannot be used.

    The command line prints it as one line and exits with code 2; in Python it is an ordinary `ValueError`.

    Args:
        field: the configuration key, argument or file that is at fault.
        value: what it was.
        problem: what is wrong with it.
        remedy: what to do about it.
    """

    def __init__(self, field: str, value: object, problem: str, remedy: str) -> None:
        self.field, self.value, self.problem, self.remedy = field, value, problem, remedy
        super().__init__(field, value, problem, remedy)

    def __str__(self) -> str:
        text = f"{self.field}={self.value}: {self.problem}; {self.remedy}"
        return "".join(c if c.isprintable() else " " for c in text)  # a hostile file's names must not steer a terminal
