"""Names that can be a file's stem and a place in a page, each used once."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace

from ipr.reports.section import Section


def with_unique_names(sections: Sequence[Section]) -> list[Section]:
    """The same sections; where two sections, two tables or two pictures share a name, the later ones get `-2`, `-3`.

    Characters other than letters, digits, dots, hyphens and underscores become underscores. Names that are already
    so stay, thus doing it twice changes nothing.
    """
    names = iter(_unique(section.name for section in sections))
    # report.md is taken
    tables = iter(_unique((table.name for section in sections for table in section.tables), taken={"report"}))
    pictures = iter(_unique(picture.name for section in sections for picture in section.pictures))
    return [
        replace(
            section,
            name=next(names),
            tables=[replace(table, name=next(tables)) for table in section.tables],
            pictures=[replace(picture, name=next(pictures)) for picture in section.pictures],
        )
        for section in sections
    ]


def _unique(names: Iterable[str], taken: set[str] | None = None) -> list[str]:
    used, found = set(taken or ()), []
    for name in names:
        stem = re.sub(r"[^A-Za-z0-9._-]+", "_", name).lstrip(".") or "part"
        unique, number = stem, 1
        while unique.lower() in used:  # some file systems do not tell A from a
            number += 1
            unique = f"{stem}-{number}"
        used.add(unique.lower())
        found.append(unique)
    return found
