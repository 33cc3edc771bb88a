"""`ipr list`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ipr.store.summary import STATES, about
from ipr.store.survey import FINISHED, Found, find_folders
from ipr.studies.config import ListConfig
from ipr.studies.filter import chosen, matches, values_of
from ipr.terminal.console import Console
from ipr.terminal.table import print_table


def execute(config: ListConfig) -> int:
    """Prints a line for each run that agrees with what was asked for, the latest last."""
    runs = Path(config.paths.runs)
    own = {"state": values_of("state", config.state, STATES), "kind": values_of("kind", config.kind, [*FINISHED])}
    wanted = chosen(config.where) | {name: values for name, values in own.items() if values}
    tags = None if config.tag is None else config.tag.split(",")
    every = list(find_folders(runs))
    tagged = [folder for folder in every if tags is None or folder.tags.intersection(tags)]
    found = [(folder, facts) for folder in tagged if matches(facts := about(folder), wanted)]
    found.sort(key=lambda one: str(one[1].get("finished") or "~"))
    if found:
        headings = ["run", "kind", "seed", "epochs", "accuracy", "mark", "state", "finished"]
        print_table("", headings, [line(folder, facts) for folder, facts in found])
    console = Console()
    for folder, _ in found:
        if why := folder.why_failed:
            console.say(f"failed: {folder.key}: {why}")
    of = f" of {len(every)}" if len(found) < len(every) else ""
    console.say(f"{len(found)}{of} runs in {runs.absolute()}")
    return 0


def line(folder: Found, facts: Mapping[str, Any]) -> list[str]:
    """The line of a run."""
    accuracy = facts.get("accuracy")
    told = [
        folder.key,
        folder.kind,
        facts.get("seed"),
        facts.get("epochs"),
        None if accuracy is None else f"{100 * accuracy:.1f} %",
        facts.get("mark"),
        facts["state"],
        facts.get("finished"),
    ]
    return ["-" if one in (None, "") else str(one) for one in told]
