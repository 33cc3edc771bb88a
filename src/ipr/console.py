"""rich's console, which prints texts as they are."""

from __future__ import annotations

from typing import NoReturn

import rich.console

from ipr.outputs import leave


class Console(rich.console.Console):
    """rich's, which takes nothing in a text for a command: `[red]` and `:bug:` may stand in the name of a folder.

    Args:
        stderr: whether it writes to stderr.
    """

    def __init__(self, *, stderr: bool = False) -> None:
        super().__init__(stderr=stderr, markup=False, emoji=False)

    def on_broken_pipe(self) -> NoReturn:
        """Ends, as rich does, but not with 1, which would be a verdict."""
        leave(BrokenPipeError())
