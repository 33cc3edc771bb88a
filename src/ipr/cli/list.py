"""`ipr list`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ipr.store.summary import STATES, about, state_of
from ipr.store.survey import Found, find_folders
from ipr.studies.config import ListConfig
from ipr.studies.filter import check_values, chosen, matches
from ipr.terminal.console import Console
from ipr.terminal.table import print_table


def execute(config: ListConfig) -> int:
    """Prints a line for each run that agrees with what was asked for, the latest last."""
    runs = Path(config.paths.runs)
    check_values("state", config.state, STATES)
    check_values("kind", config.kind, ("train", "attack", "exhibit"))
    wanted = chosen(config.where)
    every = list(find_folders(runs))
    told = [(folder, about(folder)) for folder in every]
    found = [(folder, facts) for folder, facts in told if matches(facts, wanted) and fits(config, folder, facts)]
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


def fits(config: ListConfig, folder: Found, facts: Mapping[str, Any]) -> bool:
    """Whether a run agrees with what is asked of it besides what it was asked for."""
    asked = {"state": config.state, "kind": config.kind}
    return matches(facts, {name: value.split(",") for name, value in asked.items() if value is not None}) and (
        config.tag is None or bool(folder.tags.intersection(config.tag.split(",")))
    )


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
        state_of(folder),
        facts.get("finished"),
    ]
    return ["-" if one in (None, "") else str(one) for one in told]
