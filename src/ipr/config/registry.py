"""What can be chosen by name: schemes, attacks, exhibits, models and data sets, ours and those of other packages.

Ours are found by reading: a class below `@register("NAME")` in a file of its group's package is that choice. Another
package names its class as an entry point:

    [project.entry-points."ipr.schemes"]
    my_scheme = "my_package.my_scheme:MyScheme"

Names are known without importing anything. A file is imported, and with it torch, when its choice is first used.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

import ipr
from ipr.errors import InputError
from ipr.terminal.spelling import choose_among

GROUPS = {"scheme": "schemes", "attack": "attacks", "exhibit": "exhibits", "model": "models", "dataset": "data"}
"""Group -> the package of ours that holds its files; entry points of others are in `ipr.schemes`, `ipr.attacks`, ..."""

DECORATED = re.compile(r'^@register\("(\w+)"(?:, order=(\d+))?\)\n(?:@.*\n)*(?:class|def) (\w+)', re.MULTILINE)

LAST = 1000
"""The order of what says none, and of all that other packages bring."""

Named = TypeVar("Named", bound=type)


def register(name: str, order: int = LAST) -> Any:
    """Marks a class, or a function that builds a model, as the choice `name` of the group of its package.

    Args:
        name: what it is chosen by.
        order: where it stands in lists and tables; those of equal order by their names.
    """

    def mark(chosen: Named) -> Named:
        assert name.isidentifier(), f"{name} is no name"
        return chosen

    return mark


@dataclass(frozen=True)
class Entry:
    """One choice, not yet imported.

    Attributes:
        group: a key of `GROUPS`.
        name: what it is chosen by, e.g. in `scheme=NAME`.
        module: where it stands.
        attribute: the name of its class there.
        package: the distribution that brings it; "" for ours.
    """

    group: str
    name: str
    module: str
    attribute: str
    package: str = ""

    @property
    def file(self) -> Path:
        """Its source, found without importing its module.

        Raises:
            ImportError: there is no such module.
        """
        spec = find_spec(self.module)
        if spec is None or spec.origin is None:
            raise ImportError(f"no module named {self.module}")
        return Path(spec.origin)

    def load(self) -> Any:
        """The class, imported.

        Raises:
            InputError: another package's cannot be imported; ours raise what they raise.
        """
        try:
            return getattr(import_module(self.module), self.attribute)
        except Exception as error:
            if not self.package:
                raise
            problem = f"of the package {self.package} cannot be loaded ({type(error).__name__}: {error})"
            raise InputError(self.group, self.name, problem, "mend or uninstall that package") from error


@cache
def entries(group: str) -> dict[str, Entry]:
    """The choices of a group by name: ours in their order, then those of other packages.

    A name of another package that is taken, and one that names no class, is left out and said on stderr.
    """
    folder = Path(ipr.__file__).parent / GROUPS[group]
    ours: list[tuple[int, str, Entry]] = []
    for path in folder.rglob("*.py"):
        module = ".".join(("ipr", GROUPS[group], *path.relative_to(folder).with_suffix("").parts))
        for name, order, attribute in DECORATED.findall(path.read_text(encoding="utf-8")):
            ours.append((int(order or LAST), name, Entry(group, name, module, attribute)))
    found = {name: one for _, name, one in sorted(ours, key=lambda each: each[:2])}
    assert len(found) == len(ours), f"a {group} is registered twice"
    for point in sorted(entry_points(group=f"ipr.{group}s"), key=lambda one: one.name):
        problem = _refused(point, found)
        if problem:
            print(f"ipr: warning: {group}={point.name} of {_distribution(point)}: {problem}", file=sys.stderr)
        else:
            found[point.name] = Entry(group, point.name, point.module, point.attr, _distribution(point))
    return found


def entry(group: str, name: str) -> Entry:
    """One choice.

    Raises:
        InputError: there is none of this name.
    """
    known = entries(group)
    if name not in known:
        raise InputError(group, name, f"there is no such {group}", choose_among(name, sorted(known)))
    return known[name]


def load(group: str, name: str) -> Any:
    """The class of a choice, imported.

    Raises:
        InputError: there is none of this name, or another package's cannot be imported.
    """
    return entry(group, name).load()


def load_all(group: str) -> dict[str, Any]:
    """Every choice of a group, imported; what cannot be imported is left out and said on stderr."""
    found = {}
    for name, one in entries(group).items():
        try:
            found[name] = one.load()
        except InputError as error:
            print(f"ipr: warning: {error}", file=sys.stderr)
    return found


def _refused(point: EntryPoint, taken: dict[str, Entry]) -> str:
    if not point.name.isidentifier():
        return "is no name of letters, digits and _, and is left out"
    if point.name in taken:
        return f"the name is that of {taken[point.name].package or 'ipr'}, and this one is left out"
    return "" if point.attr.isidentifier() else f"{point.value} names no class, and is left out"


def _distribution(point: EntryPoint) -> str:
    return point.dist.name if point.dist is not None else point.module.partition(".")[0]
