"""What the names of schemes and attacks mean, in a sentence each."""

from __future__ import annotations

from collections.abc import Iterable

from ipr.config.registry import entries, load
from ipr.errors import InputError


def described(group: str, names: Iterable[str]) -> dict[str, str]:
    """Name -> the first paragraph that its class says of itself; names that are not (or no more) known are left out.

    Args:
        group: `scheme` or `attack`.
        names: of its choices.
    """
    found = {}
    for name in names:
        if name in entries(group):
            try:
                said = load(group, name).__doc__ or ""
            except InputError:  # another package's, which does not fit
                continue
            found[name] = " ".join(said.partition("\n\n")[0].split()).replace("`", "")
    return found
