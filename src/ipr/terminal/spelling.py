"""What somebody meant who typed a name that there is not."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable


def closest(wrong: str, known: Iterable[str]) -> str | None:
    """The known name that a wrong one is nearest to; None where none is near.

    Case, signs between words, and zeros before numbers do not count: `Table 6` is `table_06`. After that a part of a
    name is enough if only one name has it (`v2` of `passport_v2`), and then what differs by a few letters.
    """
    names = list(dict.fromkeys(known))
    plain = {name: _plain(name) for name in names}
    asked = _plain(wrong)
    if not asked:
        return None
    if same := [name for name in names if plain[name] == asked]:
        return same[0]
    held = [name for name in names if len(asked) > 1 and asked in plain[name]]
    if len(held) == 1:
        return held[0]
    near = difflib.get_close_matches(asked, plain.values(), n=1, cutoff=0.7)
    return next(name for name in names if plain[name] == near[0]) if near else None


def choose_among(wrong: object, known: Iterable[str], what: str = "choose among") -> str:
    """A remedy: the name that was meant, where one is near, and all names there are."""
    names = list(known)
    near = closest(str(wrong), names)
    return f"{f'did you mean {near}? ' if near else ''}{what}: {', '.join(names)}"


def _plain(name: str) -> str:
    letters = re.sub(r"[^a-z0-9]", "", name.lower())
    return re.sub(r"(?<!\d)0+(?=\d)", "", letters)
