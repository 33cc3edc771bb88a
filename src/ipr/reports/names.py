"""What the names of schemes and attacks mean, in a sentence each."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from ipr.config.registry import entries, load
from ipr.errors import InputError


def described(group: str, names: Iterable[str]) -> dict[str, str]:
    """Name -> what a scheme says of itself (`Scheme.about`), or the first paragraph of an attack's docstring.

    Names that are not (or no more) known are left out.

    Args:
        group: `scheme` or `attack`.
        names: of its choices.
    """
    found = {}
    for name in names:
        if name in entries(group):
            try:
                found[name] = (_scheme if group == "scheme" else _attack)(load(group, name))
            except InputError:  # another package's, which does not fit
                continue
    return found


def _scheme(kind: Any) -> str:
    about = kind.about
    if about.family == "none":
        return "The plain network: nothing is embedded."
    return (
        f"A scheme of the family {about.family}: {about.embeds}. A judge reads: {about.reads}. Source: {about.source}."
    )


def _attack(kind: Any) -> str:
    return " ".join((kind.__doc__ or "").partition("\n\n")[0].split()).replace("`", "")
