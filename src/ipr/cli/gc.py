"""`ipr gc`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rich.table import Table

from ipr.errors import InputError
from ipr.studies.collection import CLASSES, RUNS, Item, find_unneeded, remove
from ipr.studies.config import GcConfig
from ipr.studies.planned import read_plans
from ipr.terminal.console import Console
from ipr.terminal.spelling import choose_among


def execute(config: GcConfig) -> int:
    """Lists what no study needs, or removes what it is asked to; returns 1 if something of that could not be."""
    runs, console = Path(config.paths.runs), Console()
    asked = classes(config.remove)
    found = find_unneeded(runs, read_plans(runs))

    def say(line: str) -> None:
        console.print(line, highlight=False, soft_wrap=True)

    failed: list[Item] = []
    removed: list[Item] = []

    def tell(item: Item, why_not: str) -> None:
        (failed if why_not else removed).append(item)
        say(f"not removed: {item.path}: {why_not}" if why_not else f"removed: {item.path}")

    if asked:
        remove(runs, (item for item in found.items if item.kind in asked), tell)
        say(f"{len(removed)} removed, {in_bytes(removed)}")
    else:
        for item in found.items:
            say(f"{item.kind}: {item.path} ({in_bytes([item])}): {item.reason}")
        for kept in found.kept:
            say(f"kept: {kept.path}: {kept.reason}")
    left = [item for item in found.items if item not in removed]
    if left:
        console.print(class_table(left))
    else:
        say(f"nothing {'more ' if asked else ''}to remove in {runs.absolute()}")
    return 1 if failed else 0


def classes(asked: str | None) -> list[str]:
    """The classes that were asked for.

    Raises:
        InputError: there is no such class.
    """
    named = asked.split(",") if asked else []
    for name in named:
        if name not in CLASSES:
            raise InputError("remove", name, "is unknown", choose_among(name, CLASSES))
    return named


def class_table(items: Sequence[Item]) -> Table:
    """How much of each class there is, and how it is removed."""
    table = Table(title_justify="left")
    table.add_column("class")
    table.add_column("number", justify="right")
    table.add_column("size", justify="right")
    table.add_column("removed by")
    for name in (*CLASSES, RUNS):
        if same := [item for item in items if item.kind == name]:
            how = "hand, folder by folder" if name == RUNS else f"ipr gc remove={name}"
            table.add_row(name, str(len(same)), in_bytes(same), how)
    return table


def in_bytes(items: Sequence[Item]) -> str:
    """Their size in the unit that a person would say."""
    size = float(sum(item.size for item in items))
    for unit in ("bytes", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"
