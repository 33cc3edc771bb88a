"""`ipr reproduce`: a study's cells as Hydra multiruns, wave by wave, and then its report."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from rich.console import Console
from rich.table import Table

from ipr.cli import loading
from ipr.cli.compose import invoke, papers, register, reporting
from ipr.errors import InputError
from ipr.studies.config import ReproduceConfig
from ipr.studies.plan import WAVES, Cell, plan, with_changes
from ipr.studies.store import read_plans, studies_folder, write_plan
from ipr.studies.study import Study, load_study

OWN = ("study", "scale", "images", "download", "dry")
"""Keys of this command; `paths` is everybody's, and any other key is every job's."""

UNCHANGING = ("hydra", "logger", "paths", "trainer.progress_bar", "trainer.accelerator")
"""Keys that change nothing in a result."""


def run(arguments: Sequence[str]) -> None:
    """Plans, runs what is missing, and reports; exits with 0 if every cell is done, 1 if not, 2 for unusable input."""
    own, passed = split(arguments)
    asked: list[ReproduceConfig] = []

    def keep(config: ReproduceConfig) -> int:
        asked.append(config)
        return 0

    codes = invoke("reproduce", keep, own)
    if asked and not any(codes):
        with reporting(codes):
            codes.append(reproduce(asked[0], passed))
    sys.exit(max(codes, default=0))


def split(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """The arguments of this command, and those that are handed on to every job."""
    own, passed = [], []
    for argument in arguments:
        key = argument.lstrip("+~").split("=")[0].split("@")[0]
        first = key.split(".")[0]
        if argument.startswith("-") or first in OWN or first == "paths":
            own.append(argument)
        if not argument.startswith("-") and first not in OWN:
            passed.append(argument)
    return own, passed


def reproduce(config: ReproduceConfig, passed: Sequence[str]) -> int:
    """Runs the cells of the studies asked for and writes their report.

    Raises:
        InputError: a study or a key is unknown, or not a single job could begin.
    """
    runs, console = Path(config.paths.runs), Console()
    changes = [argument for argument in passed if not argument.startswith(UNCHANGING)]
    studies = find_studies(config.study)
    cells: dict[str, Cell] = {}
    for path, study in studies:
        planned = with_changes(plan(study, config.scale), changes)
        datasets = {name: images.name for name, images in config.scale.datasets.items()}
        if not config.dry:
            write_plan(runs, path, config.scale.name, config.scale.what, changes, datasets, planned)
        cells |= {cell.name: cell for cell in planned}
    ordered = sorted(cells.values(), key=lambda cell: WAVES.index(cell.wave))
    if config.dry:
        console.print(listing(ordered, studies_folder(runs, config.scale.name)))
        return 0
    count = f"{len(ordered)} cells of {len(studies)} studies"
    console.print(f"{count}, scale {config.scale.name}: {config.scale.what}", highlight=False, soft_wrap=True)
    run_waves(config, ordered, passed)
    names = [path.stem for path, _ in studies]
    unfinished = {
        cell.name: cell
        for planned_study in read_plans(runs, papers(), names, config.scale.name)
        for cell in planned_study.cells
        if cell.word is None or cell.word.state != "done"
    }
    for cell in unfinished.values():
        reason = "not begun" if cell.word is None else cell.word.reason or "ended without a word"
        console.print(f"failed: {cell.name}: {reason}", highlight=False, soft_wrap=True, markup=False)
    with loading():
        from ipr.cli.report import report_studies
    report_studies(config.paths.runs, config.study, config.scale.name, None, console)
    return 1 if unfinished else 0


def find_studies(asked: str) -> list[tuple[Path, Study]]:
    """The studies named, with their files.

    Raises:
        InputError: there is no such study.
    """
    known, found = papers(), []
    for name in list(known) if asked == "all" else asked.split(","):
        path = known.get(name) or (Path(name) if name.endswith((".yaml", ".yml")) else None)
        if path is None:
            raise InputError("study", name, "is unknown", f"choose all, a file, or among: {', '.join(known)}")
        found.append((path, load_study(path)))
    return found


def run_waves(config: ReproduceConfig, cells: Sequence[Cell], passed: Sequence[str]) -> None:
    """One Hydra multirun for each wave, so that no job waits for another that makes what it needs.

    Raises:
        InputError: the first wave could not even begin.
    """
    register("cell")
    studies = studies_folder(Path(config.paths.runs), config.scale.name).absolute()
    store = ConfigStore.instance()
    for number, cell in enumerate(cells, 1):
        about = {"cell": cell.name, "number": number, "count": len(cells), "studies": str(studies)}
        node = cell.node() | about
        for place in ("dataset", "transfer") if "dataset@transfer" in cell.choices else ("dataset",):
            images: dict[str, Any] = {"root": config.images} if config.images is not None else {}
            node[place] = node.get(place, {}) | images | ({"download": True} if config.download else {})
        store.store(group="cell", name=cell.name, node=node, package="_global_")
    from ipr.cli.cell import execute

    for wave in WAVES:
        names = [cell.name for cell in cells if cell.wave == wave]
        if not names:
            continue
        (studies / "cells").mkdir(parents=True, exist_ok=True)
        before = {path.name: path.stat().st_mtime_ns for path in (studies / "cells").glob("*.json")}
        codes = invoke("cell", execute, ["--multirun", f"cell={','.join(names)}", *passed])
        after = {path.name: path.stat().st_mtime_ns for path in (studies / "cells").glob("*.json")}
        if any(codes) and before == after:
            raise InputError("study", config.study, "no job could begin", "mend what the line above names")


def listing(cells: Sequence[Cell], studies: Path) -> Table:
    """What would be run, and what is there."""
    from ipr.runs.cells import read_word

    table = Table(title=f"{len(cells)} cells", title_justify="left")
    for heading in ("wave", "cell", "state"):
        table.add_column(heading, overflow="fold")
    for cell in cells:
        word = read_word(studies, cell.name)
        table.add_row(cell.wave, cell.name, word.state if word else "missing")
    return table
