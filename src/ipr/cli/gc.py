"""`ipr gc`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ipr.studies.collection import CLASSES, KEPT, RUNS, Item, find_unneeded, remove
from ipr.studies.config import GcConfig
from ipr.studies.filter import values_of
from ipr.studies.planned import read_plans
from ipr.terminal.console import Console
from ipr.terminal.table import print_table


def execute(config: GcConfig) -> int:
    """Lists what no study needs, or removes what it is asked to; returns 1 if something of that could not be."""
    runs, console = Path(config.paths.runs), Console()
    asked = values_of("remove", config.remove, CLASSES)
    items = find_unneeded(runs, read_plans(runs))

    failed: list[Item] = []
    removed: list[Item] = []

    def tell(item: Item, why_not: str) -> None:
        (failed if why_not else removed).append(item)
        console.say(f"not removed: {item.path}: {why_not}" if why_not else f"removed: {item.path}")

    if asked:
        remove((item for item in items if item.kind in asked), tell)
        console.say(f"{len(removed)} removed, {in_bytes(removed)}")
    else:
        for item in items:
            console.say(f"{item.kind}: {item.path} ({in_bytes([item])}): {item.reason}")
    left = [item for item in items if item not in removed and item.kind != KEPT]
    rows = []
    for name in (*CLASSES, RUNS):
        if same := [item for item in left if item.kind == name]:
            how = "hand, folder by folder" if name == RUNS else f"ipr gc remove={name}"
            rows.append([name, str(len(same)), in_bytes(same), how])
    if rows:
        print_table("", ["class", "number", "size", "removed by"], rows)
    else:
        console.say(f"nothing {'more ' if asked else ''}to remove in {runs.absolute()}")
    return 1 if failed else 0


def in_bytes(items: Sequence[Item]) -> str:
    """Their size in the unit that a person would say."""
    size = float(sum(item.size for item in items))
    for unit in ("bytes", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"
