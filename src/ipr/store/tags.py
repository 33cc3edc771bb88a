"""Tags: any texts, kept as one in a flat row."""

from __future__ import annotations

import shlex
from collections.abc import Iterable

from ipr.errors import InputError


def joined(tags: Iterable[str]) -> str:
    """Tags as one text, in order and each once, blanks between; one that has a blank, a quote or a backslash itself
    stands in quotes, as a shell would have it.
    """
    plain = {tag: not any(c.isspace() or c in "'\"\\" for c in tag) for tag in tags}
    return " ".join(tag if plain[tag] else shlex.quote(tag) for tag in sorted(plain))


def parted(text: str) -> list[str]:
    """The tags in a text of `joined`."""
    try:
        return shlex.split(text)
    except ValueError:  # a quote that earlier versions left as it is
        return text.split()


def check_tags(tags: Iterable[str]) -> None:
    """Refuses tags that nobody could ask for.

    Raises:
        InputError: one is empty, or holds what cannot be printed.
    """
    for tag in tags:
        if not tag.strip() or not tag.isprintable():
            problem = "a tag is empty, or holds what cannot be printed"
            raise InputError("tags", ascii(tag), problem, "use letters, digits, blanks and signs")
