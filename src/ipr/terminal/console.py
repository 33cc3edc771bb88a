"""rich's console, which prints texts as they are and lets none of them steer the terminal."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NoReturn

import rich.console
from rich.segment import Segment

from ipr.terminal.streams import leave
from ipr.texts import printable


class Console(rich.console.Console):
    """rich's, which takes nothing in a text for a command.

    Neither `[red]` and `:bug:`, which may stand in the name of a folder, nor what a terminal obeys, which a stranger
    may have put into a claim, a record or a plan.

    Args:
        stderr: whether it writes to stderr.
    """

    def __init__(self, *, stderr: bool = False, width: int | None = None) -> None:
        super().__init__(stderr=stderr, width=width, markup=False, emoji=False)

    def render(
        self, renderable: rich.console.RenderableType, options: rich.console.ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """See rich's: what everything that is printed passes, before colours are put in."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else Segment(printable(segment.text, lines=True), segment.style)

    def say(self, line: str) -> None:
        """Prints a line as it is: never folded, nothing in it coloured."""
        self.print(line, highlight=False, soft_wrap=True)

    def tell(self, markdown: str) -> None:
        """Prints tables: laid out where somebody looks at them, as they are written elsewhere."""
        from rich.markdown import Markdown  # slow to load, and few commands show any

        self.print(Markdown(markdown) if self.is_terminal else markdown, highlight=False, soft_wrap=True)

    def on_broken_pipe(self) -> NoReturn:
        """Ends, as rich does, but not with 1, which would be a verdict."""
        leave(BrokenPipeError())
