"""What can be chosen by name: schemes, attacks, exhibits, models and data sets, ours and those of other packages.

Ours are found by reading: a class below `@register("NAME")` in a file of its group's package is that choice. Another
package names its class as an entry point, and keeps its YAML in a folder `conf` of that package (docs/extending.md):

    [project.entry-points."ipr.schemes"]
    my_scheme = "my_package.my_scheme:MyScheme"

Names are known without importing anything. A file is imported, and with it torch, when its choice is first used.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from importlib.util import find_spec
from inspect import get_annotations
from pathlib import Path
from typing import Any, TypeVar

import ipr
from ipr.config.shipped import shipped
from ipr.errors import InputError
from ipr.terminal.spelling import choose_among

GROUPS = {"scheme": "schemes", "attack": "attacks", "exhibit": "exhibits", "model": "models", "dataset": "data"}
"""Group -> the package of ours that holds its files; entry points of others are in `ipr.schemes`, `ipr.attacks`, ..."""

BASES = {
    "scheme": "ipr.schemes.base:Scheme",
    "attack": "ipr.attacks.base:Attack",
    "exhibit": "ipr.exhibits.base:Exhibit",
}
"""Group -> the class that its choices are subclasses of; those of the others are functions, or classes of any kind."""

DECORATED = re.compile(r'^@register\("(\w+)"(?:, order=(\d+))?\)\n(?:@.*\n)*(?:class|def) (\w+)', re.MULTILINE)

LAST = 1000
"""The order of what says none, and of all that other packages bring."""

Named = TypeVar("Named", bound=Callable[..., Any])


def register(name: str, order: int = LAST) -> Callable[[Named], Named]:
    """Marks a class, or a function that builds a model, as the choice `name` of the group of its package.

    In lists and tables choices stand by their `order`, those of equal order by their names.
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
    def file(self) -> Path | None:
        """Its source: see `source_of`."""
        return source_of(self.module)

    def load(self) -> Any:
        """The class, imported.

        Raises:
            InputError: another package's cannot be imported, or does not fit its group; ours raise what they raise.
        """
        try:
            found = getattr(import_module(self.module), self.attribute)
        except Exception as error:
            if not self.package:
                raise
            raise self._unusable(f"cannot be loaded ({type(error).__name__}: {error})") from error
        if self.package and (problem := _misfit(self.group, found)):
            raise self._unusable(problem)
        return found

    def _unusable(self, problem: str) -> InputError:
        said = f"of the package {self.package} {' '.join(problem.split())}"
        return InputError(self.group, self.name, said, "mend or uninstall that package")


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
        package = point.dist.name if point.dist is not None else point.value
        if problem := _refused(point, found):
            print(f"ipr: warning: {group}={point.name} of {package}: {problem}, and is left out", file=sys.stderr)
        else:
            found[point.name] = Entry(group, point.name, *_target(point), package)
    return found


@cache
def conf_folders() -> tuple[Path, ...]:
    """The folders of YAML: ours, then `conf` in every package that another distribution's entry points name.

    They are found without importing these packages.
    """
    points = (point for group in GROUPS for point in entry_points(group=f"ipr.{group}s"))
    packages = sorted({_target(point)[0].partition(".")[0] for point in points})
    folders = (folder / "conf" for package in packages for folder in _folders_of(package))
    return (shipped("conf"), *(folder for folder in folders if folder.is_dir()))


def source_of(module: str) -> Path | None:
    """The source file of a module, found without importing it or its package; None where there is none."""
    top, *rest = module.split(".")
    if not rest:
        spec = find_spec(top)
        return Path(spec.origin) if spec is not None and spec.has_location and spec.origin else None
    for folder in _folders_of(top):
        for path in (folder.joinpath(*rest).with_suffix(".py"), folder.joinpath(*rest, "__init__.py")):
            if path.is_file():
                return path
    return None


def load(group: str, name: str) -> Any:
    """The class of a choice, imported.

    Raises:
        InputError: there is none of this name, or another package's cannot be imported.
    """
    known = entries(group)
    if name not in known:
        raise InputError(group, name, f"there is no such {group}", choose_among(name, sorted(known)))
    return known[name].load()


@cache
def load_all(group: str) -> dict[str, Any]:
    """Every choice of a group, imported; what cannot be imported is left out and said on stderr."""
    found = {}
    for name, one in entries(group).items():
        try:
            found[name] = one.load()
        except InputError as error:
            print(f"ipr: warning: {error}", file=sys.stderr)
    return found


def _folders_of(package: str) -> list[Path]:
    """Where a package at the top lies, of several parts maybe; [] where there is none."""
    try:
        spec = find_spec(package) if package else None
    except ValueError:  # of `__main__`
        return []
    return [Path(folder) for folder in (spec.submodule_search_locations if spec is not None else None) or ()]


def _misfit(group: str, found: Any) -> str:
    """Why something that was imported cannot be a choice of a group; "" where it can."""
    if group not in BASES:
        return "" if callable(found) else "is no function and no class"
    module, _, name = BASES[group].partition(":")
    if not (isinstance(found, type) and issubclass(found, getattr(import_module(module), name))):
        return f"is no {module}.{name}"
    lacking = [*sorted(getattr(found, "__abstractmethods__", ())), *sorted(_unset(found))]
    return f"lacks {', '.join(lacking)}" if lacking else ""


def _unset(kind: type) -> set[str]:
    """The class attributes that a class or its ancestors declare as `ClassVar`, and none below gives a value."""
    declared: dict[str, bool] = {}
    for ancestor in reversed(kind.__mro__):
        declared |= {name: True for name, hint in get_annotations(ancestor).items() if "ClassVar" in str(hint)}
        declared |= dict.fromkeys(declared.keys() & vars(ancestor).keys(), False)
    return {name for name, unset in declared.items() if unset}


def _target(point: EntryPoint) -> tuple[str, str]:
    """Module and attribute that an entry point names; "" for what it does not."""
    match = point.pattern.match(point.value)
    return (match["module"], match["attr"] or "") if match is not None else ("", "")


def _refused(point: EntryPoint, taken: dict[str, Entry]) -> str:
    """Why an entry point is no choice; "" where it is one."""
    if not point.name.isidentifier():
        return "is no name of letters, digits and _"
    if point.name in taken:
        return f"has a name that {taken[point.name].package or 'ipr'} has taken"
    return "" if _target(point)[1].isidentifier() else f"{point.value} names no class"
