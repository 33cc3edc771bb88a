"""`ipr reproduce`: a study's cells as Hydra multiruns, wave by wave, and then its report."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore

from ipr.cli import loading
from ipr.cli.jobs import invoke, reporting
from ipr.cli.launchers.outcomes import look_again
from ipr.cli.status import tell_cells
from ipr.config.registry import load
from ipr.config.shipped import shipped
from ipr.errors import InputError
from ipr.files import expanded
from ipr.requests.compose import as_texts, register, schema_of, typed
from ipr.store.cell_run import cells_folder
from ipr.store.survey import FINISHED
from ipr.studies.config import CHOSEN_BY, ReproduceConfig
from ipr.studies.filter import chosen, matches
from ipr.studies.plan import DEFAULT_SCALE, WAVES, Cell, plan, with_changes
from ipr.studies.planned import Plan, planned, read_plans, studies_folder, write_plan
from ipr.studies.settable import check_open
from ipr.studies.status import STOPPED, statuses, summed
from ipr.studies.study import find_studies
from ipr.terminal.console import Console
from ipr.texts import refuse_retyped, types_at

OWN = ("study", "scale", "images", "download", "dry")
"""Other keys of this command; `paths` is everybody's, and any other key is every job's."""

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
    "model.norm": "choose with norm=bn or norm=gn, or set +scale.norms={passport_v2:gn}",
    "dataset@transfer": "set what stands for the paper's data sets, e.g. scale.datasets.cifar100.name=image_folder",
    "attack@rival": "write a study of your own",
    "exhibit": "write a study of your own",
    "passport.energy": "set scale.energies=[...]",
}
"""Keys that a study's sweep sets, and what to do instead: set for all cells, results would stand under other names."""


def run(arguments: Sequence[str]) -> None:
    """Plans, runs what is missing, and reports; exits with 0 if every cell is done, 1 if not, 2 for unusable input."""
    codes: list[int] = []
    with reporting(codes):
        own, passed = split(arguments)
        asked: list[ReproduceConfig] = []

        def keep(config: ReproduceConfig) -> int:
            asked.append(config)
            return 0

        codes += invoke("reproduce", keep, with_scale(own))[0]
        if asked and not any(codes):
            codes.append(reproduce(asked[0], passed))
    sys.exit(max(codes, default=0))


def split(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """The arguments of this command, and those that are handed on to every job."""
    own, passed = [], []
    for argument in arguments:
        key = argument.lstrip("+~").split("=")[0]
        first = key.split("@")[0].split(".")[0]
        mine = first in OWN or key in CHOSEN_BY
        if argument.startswith("-") or mine or first == "paths":
            own.append(argument)
        if not argument.startswith("-") and not mine:
            passed.append(argument)
    return own, passed


def with_scale(own: Sequence[str]) -> list[str]:
    """The arguments of this command, and the scale that its studies are made for, where none is asked for.

    Raises:
        InputError: they are made for different ones, or there is no such study.
    """
    given = dict(argument.partition("=")[::2] for argument in own)
    if "scale" in given or not given.get("study"):
        return list(own)
    scales = {study.scale or DEFAULT_SCALE: study.name for _, study in find_studies(given["study"])}
    if len(scales) > 1:
        made = " and ".join(f"{name} for scale={scale}" for scale, name in scales.items())
        remedy = "ask for one of them at a time, or say scale=..."
        raise InputError("study", given["study"], f"are made for different sizes: {made}", remedy)
    return [*own, *(f"scale={scale}" for scale in scales if scale != DEFAULT_SCALE)]


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
    wanted, of_studies = chosen(config.where), dict[Path, list[Cell]]()
    for path, study in studies:
        every = with_changes(plan(study, config.scale), changes)
        of_studies[path] = [cell for cell in every if matches(cell.about, wanted)]
    plans = [planned(runs, path, config.scale, changes, cells) for path, cells in of_studies.items()]
    cells = {cell.name: cell for of_study in of_studies.values() for cell in of_study}
    ordered = sorted(cells.values(), key=lambda cell: WAVES.index(cell.wave))
    if not ordered:
        raise InputError("study", config.study, "has no such cell", "ask for less, or for another scale")
    if config.dry:
        tell_cells(summed(config.scale.name, statuses(runs, plans, read_plans(runs))).cells)
        return 0
    enter(config, ordered)
    try_out(ordered, passed)
    for of_study in plans:
        write_plan(runs, of_study)
    count = f"{len(ordered)} cells of {len(studies)} studies"
    console.say(f"{count}, scale {config.scale.name}: {config.scale.what}")
    code, errors = run_waves(runs, config.scale.name, ordered, passed)
    if code != 0:
        return code
    unfinished = reasons(runs, read_plans(runs, [path.stem for path, _ in studies], config.scale.name), errors)
    for name, reason in unfinished.items():
        console.say(f"failed: {name}: {reason}")
    report_studies(runs, config.study, config.scale.name, None, console)
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


def reasons(runs: Path, plans: Sequence[Plan], errors: Mapping[str, str]) -> dict[str, str]:
    """Which cells are not done, and why, when all jobs have ended; `errors`: cell -> how its job ended, in a line."""
    found = {}
    for cell in (cell for one in plans for cell in one.cells):
        state, folder = cell.state(runs), cell.folder(runs)
        if state != "done":
            why = {"running": "another process is making it", "stopped": STOPPED}.get(state, "not begun")
            found[cell.name] = errors.get(cell.name) or (folder.why_failed if folder else "") or why
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
        kinds = {key: load(*choice) if choice[1] else None for key, choice in chosen.items()}
        check_open(cell.values, {**kinds, "scheme": load("scheme", cell.choices["scheme"]).Config})
    studies = studies_folder(Path(config.paths.runs), config.scale.name).absolute()
    place: dict[str, Any] = {"download": True} if config.download else {}
    if config.images is not None:
        place["root"] = str(expanded(config.images, "images").absolute())
    store = ConfigStore.instance().repo
    store.pop("cell", None)  # of a command before, in this process
    for number, cell in enumerate(cells, 1):
        for key, value in cell.values.items():
            for type_ in types_at(schema_of("cell"), key):
                refuse_retyped(type_, value, key)
        node = cell.node() | {"cell": cell.name, "number": number, "count": len(cells), "studies": str(studies)}
        node["dataset"] = node.get("dataset", {}) | place
        if "dataset@transfer" in cell.choices:
            node["transfer"] = node.get("transfer", {}) | place
        ConfigStore.instance().store(group="cell", name=cell.name, node=node, package="_global_")
    store["cell"] = _Uncopied(store["cell"])


class _Uncopied(dict[str, Any]):
    """The options of a group, left out where Hydra copies its store, as it does whenever it composes a job: with 1,700
    cells there that took ten seconds a job. An option itself is copied when it is loaded.
    """

    def __deepcopy__(self, memo: dict[int, Any]) -> _Uncopied:
        return self


def try_out(cells: Sequence[Cell], passed: Sequence[str]) -> None:
    """Composes a cell for each choice of data, checks it, and opens its images, before anything is planned or run.

    Raises:
        InputError: what every job would fail of.
    """
    with loading():
        from ipr.data.opening import open_images
        from ipr.workflows.request import check

    tried = {(cell.choices["dataset"], cell.choices.get("dataset@transfer")): cell for cell in cells}
    for cell in tried.values():
        with initialize_config_dir(str(shipped("conf")), version_base="1.3"):
            config = typed(compose("cell", as_texts("cell", [f"cell={cell.name}", *passed])))
        check(config)
        for dataset in filter(None, (config.dataset, config.transfer)):
            open_images(dataset, config.paths)


def run_waves(runs: Path, scale: str, cells: Sequence[Cell], passed: Sequence[str]) -> tuple[int, dict[str, str]]:
    """One Hydra multirun for each wave, so that no job waits for another that makes what it needs.

    Returns:
        0, or the exit code where not a single job of a wave could begin (the reason was printed); and cell -> how its
        job ended, in a line, of those that ended with an error.
    """
    from ipr.cli.cell import execute

    errors: dict[str, str] = {}
    for wave in WAVES:
        names = [cell.name for cell in cells if cell.wave == wave]
        if not names:
            continue
        codes, outcomes = invoke("cell", execute, ["--multirun", f"cell={','.join(names)}", *passed])
        for folder in (cells_folder(studies_folder(runs, scale)), *(runs / kind for kind in FINISHED)):
            look_again(folder)
        if any(codes) and not outcomes:
            return max(codes), errors
        errors |= {names[number]: one.line for number, one in outcomes.items() if one.code}
    return 0, errors
