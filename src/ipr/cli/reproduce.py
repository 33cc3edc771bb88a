"""`ipr reproduce`: a study's cells as Hydra multiruns, wave by wave, and then its report."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from rich.table import Table

from ipr.cli import loading
from ipr.cli.jobs import invoke, reporting
from ipr.cli.launchers.outcomes import look_again
from ipr.config.registry import load
from ipr.config.shipped import papers, shipped
from ipr.errors import InputError
from ipr.files import expanded
from ipr.requests.compose import as_texts, register, schema_of, typed
from ipr.store.cell_state import CellWord, lease_of, leave_word, read_word, words_folder
from ipr.store.lease import held
from ipr.studies.config import ReproduceConfig
from ipr.studies.found import studies_folder, write_plan
from ipr.studies.plan import WAVES, Cell, plan, with_changes
from ipr.studies.settable import check_open
from ipr.studies.study import Study, load_study
from ipr.terminal.console import Console
from ipr.terminal.spelling import choose_among
from ipr.texts import refuse_retyped, types_at

OWN = ("study", "scale", "images", "download", "dry")
"""Keys of this command; `paths` is everybody's, and any other key is every job's."""

UNCHANGING = (
    "hydra",
    "logger",
    "paths",
    "trainer.progress_bar",
    "trainer.capture",
    "trainer.checkpoint_seconds",
    "trainer.accelerator",
    "trainer.devices",
    "trainer.nodes",
    "trainer=ddp",
)
"""Keys that change nothing in a result."""


SWEPT = {
    "scheme": "write a study of your own",
    "model": "write a study of your own, or choose among scale.models",
    "model.norm": "write a study of your own",
    "dataset": "set what stands for the paper's data sets, e.g. scale.datasets.cifar10.name=image_folder",
    "dataset@transfer": "set what stands for the paper's data sets, e.g. scale.datasets.cifar100.name=image_folder",
    "attack": "write a study of your own",
    "attack@rival": "write a study of your own",
    "exhibit": "write a study of your own",
    "seed": "set scale.seeds=[...]",
    "passport.energy": "set scale.energies=[...]",
}
"""Keys that a study's sweep sets, and what to do instead: set for all cells, results would stand under other names."""


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
    with loading():
        from ipr.cli.report import report_studies
    check_passed(passed)
    changes = [argument for argument in passed if not argument.startswith(UNCHANGING)]
    studies = find_studies(config.study)
    planned = {path: with_changes(plan(study, config.scale), changes) for path, study in studies}
    cells = {cell.name: cell for of_study in planned.values() for cell in of_study}
    ordered = sorted(cells.values(), key=lambda cell: WAVES.index(cell.wave))
    if config.dry:
        console.print(listing(ordered, studies_folder(runs, config.scale.name)))
        return 0
    enter(config, ordered)
    try_out(ordered, passed)
    datasets = {name: images.name for name, images in config.scale.datasets.items()}
    for path, of_study in planned.items():
        write_plan(runs, path, config.scale.name, config.scale.what, changes, datasets, of_study)
    count = f"{len(ordered)} cells of {len(studies)} studies"
    console.print(f"{count}, scale {config.scale.name}: {config.scale.what}", highlight=False, soft_wrap=True)
    folder = studies_folder(runs, config.scale.name)
    if (code := run_waves(folder, ordered, passed)) != 0:
        return code
    unfinished = settled(folder, list(cells))
    for name, reason in unfinished.items():
        console.print(f"failed: {name}: {reason}", highlight=False, soft_wrap=True)
    report_studies(config.paths.runs, config.study, config.scale.name, None, console)
    return 1 if unfinished else 0


def check_passed(passed: Sequence[str]) -> None:
    """Refuses what is handed on to every cell and is the study's to say.

    Raises:
        InputError: naming it.
    """
    for argument in passed:
        key, _, value = argument.lstrip("+~").partition("=")
        if key in SWEPT:
            raise InputError(key, value, "is what the study's sweep sets", SWEPT[key])


def settled(folder: Path, names: Sequence[str]) -> dict[str, str]:
    """Which cells are not done, and why, when all jobs have ended. One that says that it is running, and that no other
    sweep is making, was killed.
    """
    reasons = {}
    for name in names:
        word = read_word(folder, name)
        if word is not None and word.state == "running":
            if held(lease_of(folder, name)):
                reasons[name] = "another process is making it"
                continue
            word = CellWord(name, "failed", reason="its process ended without a word")
            leave_word(folder, word)
        if word is None or word.state != "done":
            reasons[name] = "not begun" if word is None else word.reason
    return reasons


def find_studies(asked: str) -> list[tuple[Path, Study]]:
    """The studies named, with their files.

    Raises:
        InputError: there is no such study.
    """
    known, found = papers(), []
    for name in list(known) if asked == "all" else asked.split(","):
        path = known.get(name) or (Path(name) if name.endswith((".yaml", ".yml")) else None)
        if path is None:
            raise InputError("study", name, "is unknown", choose_among(name, known, "choose all, a file, or among"))
        found.append((path, load_study(path)))
    return found


def enter(config: ReproduceConfig, cells: Sequence[Cell]) -> None:
    """Puts the cells into Hydra's store, as the options of the group `cell`.

    Raises:
        InputError: a study or a scale sets a number where a text belongs.
    """
    register("cell")
    for cell in cells:
        attack, rival, exhibit = (cell.choices.get(group, "") for group in ("attack", "attack@rival", "exhibit"))
        chosen = {"attack": ("attack", attack), "rival": ("attack", rival), "exhibit": ("exhibit", exhibit)}
        check_open(cell.values, {key: load(*choice) if choice[1] else None for key, choice in chosen.items()})
    studies = studies_folder(Path(config.paths.runs), config.scale.name).absolute()
    place: dict[str, Any] = {"download": True} if config.download else {}
    if config.images is not None:
        place["root"] = str(expanded(config.images, "images").absolute())
    for number, cell in enumerate(cells, 1):
        for key, value in cell.values.items():
            for type_ in types_at(schema_of("cell"), key):
                refuse_retyped(type_, value, key)
        node = cell.node() | {"cell": cell.name, "number": number, "count": len(cells), "studies": str(studies)}
        node["dataset"] = node.get("dataset", {}) | place
        if "dataset@transfer" in cell.choices:
            node["transfer"] = node.get("transfer", {}) | place
        ConfigStore.instance().store(group="cell", name=cell.name, node=node, package="_global_")


def try_out(cells: Sequence[Cell], passed: Sequence[str]) -> None:
    """Composes a cell for each choice of data, checks it, and opens its images, before anything is planned or run.

    Raises:
        InputError: what every job would fail of.
    """
    with loading():
        from ipr.workflows.build import open_images
        from ipr.workflows.request import check

    tried = {(cell.choices["dataset"], cell.choices.get("dataset@transfer")): cell for cell in cells}
    for cell in tried.values():
        with initialize_config_dir(str(shipped("conf")), version_base="1.3"):
            config = typed(compose("cell", as_texts("cell", [f"cell={cell.name}", *passed])))
        check(config)
        for dataset in filter(None, (config.dataset, config.transfer)):
            open_images(dataset, config.paths)


def run_waves(studies: Path, cells: Sequence[Cell], passed: Sequence[str]) -> int:
    """One Hydra multirun for each wave, so that no job waits for another that makes what it needs.

    Returns:
        0, or the exit code where not a single job of a wave could begin; the reason was printed.
    """
    from ipr.cli.cell import execute

    words = words_folder(studies)
    for wave in WAVES:
        names = [cell.name for cell in cells if cell.wave == wave]
        if not names:
            continue
        before = {path.name: path.stat().st_mtime_ns for path in words.glob("*.json")}
        codes = invoke("cell", execute, ["--multirun", f"cell={','.join(names)}", *passed])
        look_again(words)
        after = {path.name: path.stat().st_mtime_ns for path in words.glob("*.json")}
        if any(codes) and before == after:
            return max(codes)
    return 0


def listing(cells: Sequence[Cell], studies: Path) -> Table:
    """What would be run, and what is there."""
    table = Table(title=f"{len(cells)} cells", title_justify="left")
    for heading in ("wave", "cell", "state"):
        table.add_column(heading, overflow="fold")
    for cell in cells:
        word = read_word(studies, cell.name)
        table.add_row(cell.wave, cell.name, word.state if word else "missing")
    return table
