"""From arguments to a checked, typed configuration: Hydra, the schema, and errors of one line."""

from __future__ import annotations

import dataclasses
import difflib
import errno
import os
import re
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast, overload

import hydra
from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from rich import box
from rich.table import Table
from rich.text import Text

from ipr.cli.launching import enter_launchers, one_by_one
from ipr.cli.line import refuse_names, refuse_unknown
from ipr.cli.outcomes import Done, JobOutcome, announced, leave_outcome, mark_begun, read_outcomes
from ipr.cli.own_hydra import own_hydra
from ipr.cli.shipped import papers as papers
from ipr.cli.shipped import shipped as shipped
from ipr.cli.shipped import sweeps as sweeps
from ipr.cli.texts import TextArguments, check_content, check_files, hiding, quoted, shown
from ipr.console import Console
from ipr.errors import InputError
from ipr.meant import choose_among, closest
from ipr.outputs import leave, unheard
from ipr.runs import config as schema
from ipr.runs.place import follows
from ipr.runs.ranges import check_numbers
from ipr.runs.secrets import with_secrets
from ipr.studies.config import FilterConfig
from ipr.texts import SECRETIVE, printable

if TYPE_CHECKING:
    from ipr.runs.attack import AttackConfig

EXIT_INPUT = 2
EXIT_DEFECT = 70
EXIT_INTERRUPTED = 130

OF_STUDIES = ("reproduce", "report", "list", "status", "gc")
"""Commands that take studies, classes, or what runs are chosen by, with commas between, and sweep over nothing."""


def register(command: str = "train") -> None:
    """Puts the schema of a command and the studies of `experiments/` into Hydra's store."""
    store = ConfigStore.instance()
    store.store(name="train_schema", node=schema.TrainConfig)
    store.store(name="verify_schema", node=schema.VerifyConfig)
    store.store(name="verdict_schema", node=schema.VerdictConfig)
    store.store(name="dispute_schema", node=schema.DisputeConfig)
    store.store(name="calibrate_schema", node=schema.CalibrateConfig)
    store.store(name="claim_schema", node=schema.ClaimConfig)
    store.store(name="export_schema", node=schema.ExportConfig)
    store.store(name="unlock_schema", node=schema.UnlockConfig)
    store.store(name="dashboard_schema", node=schema.DashboardConfig)
    for name, node in schema.SCHEME_CONFIGS.items():
        store.store(group="schema/scheme", name=name, node=node)
    enter_launchers()
    if command in OF_STUDIES:
        from ipr.studies.config import GcConfig, ListConfig, ReportConfig, ReproduceConfig, StatusConfig

        store.store(name="reproduce_schema", node=ReproduceConfig)
        store.store(name="report_schema", node=ReportConfig)
        store.store(name="list_schema", node=ListConfig)
        store.store(name="status_schema", node=StatusConfig)
        store.store(name="gc_schema", node=GcConfig)
    if command in ("attack", "exhibit", "cell"):
        from ipr.attacks import ATTACKS  # here, as it loads torch
        from ipr.runs.attack import AttackConfig

        store.store(name="attack_schema", node=AttackConfig)
        for name, attack in ATTACKS.items():
            store.store(group="schema/attack", name=name, node=attack)
    if command in ("exhibit", "cell"):
        from ipr.exhibits import EXHIBITS  # likewise
        from ipr.runs.cells import CellConfig
        from ipr.runs.exhibit import ExhibitConfig

        store.store(name="exhibit_schema", node=ExhibitConfig)
        store.store(name="cell_schema", node=CellConfig)
        for name, exhibit in EXHIBITS.items():
            store.store(group="schema/exhibit", name=name, node=exhibit)
    store.repo.pop("study", None)  # of an earlier command: a group of some, a plain key of the others
    for study in sweeps() if command in ("train", "attack", "exhibit") else ():
        store.store(group="study", name=study.stem, node=OmegaConf.load(study), package="_global_")


def typed(config: DictConfig) -> Any:
    """The configuration as dataclasses, and the secrets that it names read.

    Raises:
        InputError: a key that the schema lacks (let in by `++`), a wrong type, a number out of its range, a value that
            must be given, or a secret that cannot be read.
    """
    for path, extra, known in _unknown_keys(config, ""):
        value = "<hidden>" if SECRETIVE.search(path) else OmegaConf.select(config, path)
        raise InputError(path, value, f"there is no key {extra}", _suggest(extra, known))
    missing = sorted(OmegaConf.missing_keys(config))
    if missing:
        raise InputError(missing[0], "???", "must be given", f"add {missing[0]}=...")
    asked = OmegaConf.to_object(config)
    check_numbers(asked)
    return with_secrets(asked)


@overload
def configuration(command: Literal["train"], *arguments: str) -> schema.TrainConfig: ...


@overload
def configuration(command: Literal["attack"], *arguments: str) -> AttackConfig: ...


@own_hydra()
def configuration(command: str, *arguments: str) -> Any:
    """What `ipr COMMAND ARGUMENTS` asks for, checked and typed: for `ipr.train` and `ipr.attack` in Python.

    Args:
        command: `train` or `attack`.
        arguments: as on the command line, without a shell's quotes: `scheme=uchida`, `seed=1`. No sweeps: write a loop.

    Raises:
        InputError: another command, an argument that cannot be read, an unknown key or choice, or a wrong type.
    """
    if command not in ("train", "attack"):
        raise InputError("command", command, "is not one that a configuration is made for", "choose train or attack")
    register(command)
    try:
        with initialize_config_dir(str(shipped("conf")), version_base="1.3"):
            return named(typed(compose(command, as_texts(command, arguments))), arguments)
    except (HydraException, OmegaConfBaseException) as error:
        refuse_unknown(command, arguments)
        remedy = f"`ipr {command} --help` lists keys and choices"
        raise InputError("arguments", f"<of ipr {command}>", one_line(error), remedy) from None


def schema_of(command: str) -> type:
    """The dataclass of a command that is registered."""
    node = ConfigStore.instance().repo[f"{command}_schema.yaml"].node
    return cast(type, OmegaConf.get_type(node))


def as_texts(command: str, arguments: Sequence[str], hide: Callable[[str], str] = str) -> list[str]:
    """The arguments of a registered command with its texts quoted: whatever is in them, they reach it as written.

    Args:
        command: its name.
        arguments: as on its command line.
        hide: what is written for a secret text instead of it.

    Raises:
        InputError: a text is missing or is no text, or a file that is named holds numbers where texts belong.
    """
    schema, flags = schema_of(command), [argument for argument in arguments if argument.startswith("-")]
    swept = any(flag == "-m" or flag.startswith("--mu") for flag in flags) or any(
        argument.startswith(("study=", "hydra.mode=")) for argument in arguments
    )
    for flag, value in zip_longest(arguments, arguments[1:], fillvalue=""):
        name, equals, given = flag.partition("=")
        if name in ("-cd", "--config-dir", "-cp", "--config-path"):
            check_files(Path(given if equals else value), schema)
    if any(flag.startswith(("-c", "--cfg", "-i", "--info")) and not flag.startswith(("-cd", "-cp", "-cn", "--config"))
           for flag in flags):  # fmt: skip
        hide = _hidden  # it prints the configuration
    for path in sweeps() if command in ("train", "attack", "exhibit") else ():
        if f"study={path.stem}" in arguments:
            check_content(cast(dict[str, Any], OmegaConf.to_container(OmegaConf.load(path))), schema, path)
    return TextArguments(schema, swept and command not in OF_STUDIES, hide).written(arguments)


def _hidden(_: str) -> str:
    return "<hidden>"


def named(asked: Any, overrides: Sequence[str]) -> Any:
    """The configuration with the run that it names (`ipr attack run=KEY`) in the place of what the groups chose.

    Raises:
        InputError: there is no such run, or something was asked for that the run itself says.
    """
    if not hasattr(asked, "attack_seed") or asked.run is None:
        return asked
    from ipr.runs.again import as_run

    return as_run(asked, [re.split(r"[=@]", one.lstrip("+~"), maxsplit=1)[0] for one in overrides])


def _unknown_keys(node: DictConfig, prefix: str) -> list[tuple[str, str, list[str]]]:
    kind = OmegaConf.get_type(node)
    known = [f.name for f in dataclasses.fields(kind)] if dataclasses.is_dataclass(kind) else None
    found = []
    for key in map(str, node):
        path = f"{prefix}{key}"
        if known is not None and key not in known:
            found.append((path, key, known))
        elif not OmegaConf.is_missing(node, key) and isinstance(child := node._get_node(key), DictConfig):
            found += _unknown_keys(child, f"{path}.") if not child._is_none() else []
    return found


def _suggest(wrong: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(wrong, known, n=1)
    return (f"did you mean {close[0]}? " if close else "") + f"known here: {', '.join(known)}"


def print_table(title: str, headings: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Prints a table with a line for each row, which a narrow terminal alone folds."""
    console = Console()
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1), collapse_padding=True)
    for heading in headings:
        table.add_column(Text(heading), overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    (console if console.is_terminal else Console(width=1000)).print(table)


def run(command: str, execute: Callable[[Any], int | Done], arguments: Sequence[str]) -> None:
    """Composes the configuration of a command, runs it, and exits with its code.

    In a sweep, a job that fails is reported and the others go on; the exit code is the largest of all jobs': 2 for
    input that cannot be used, 70 for a defect of ours.
    """
    sys.exit(max(invoke(command, execute, arguments), default=0))


def invoke(command: str, execute: Callable[[Any], int | Done], arguments: Sequence[str]) -> list[int]:
    """The same without the exit: the codes of all jobs, wherever they ran."""
    codes: list[int] = []
    register(command)
    arguments = [in_section(argument, command) for argument in arguments]
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra hands errors on instead of printing them; `reporting` does
    with tempfile.TemporaryDirectory(prefix="ipr-") as private, hiding() as hide:  # a sweep's file repeats all of it
        job = Job(execute, Path(private))
        with reporting(codes), one_by_one():
            refuse_names(arguments)
            sys.argv = [f"ipr {command}", *with_sweep_folder(as_texts(command, arguments, hide), quoted(private))]
            try:
                hydra.main(version_base="1.3", config_path=str(shipped("conf")), config_name=command)(job)()
            except (HydraException, OmegaConfBaseException):
                refuse_unknown(command, arguments)
                raise
            except (ValueError, AssertionError, TypeError, LookupError, OSError) as error:
                if not _of_hydra(error):
                    raise
                what = " ".join(str(error).split())
                raise InputError("arguments", f"<of ipr {command}>", what, f"see `ipr {command} --help`") from error
            except SystemExit as stopped:
                if stopped.code == 1:  # so Hydra ends, and a judge who says no
                    raise SystemExit(EXIT_INPUT) from stopped
                raise
        outcomes = {outcome.number: outcome for outcome in read_outcomes(Path(private))} | job.outcomes
        codes += ({number: outcome.code for number, outcome in outcomes.items()} | job.codes).values()
        if command != "cell":  # whose report follows
            tell_sweep(job.named, outcomes, job.codes)
    return codes


def tell_sweep(named: Mapping[int, str], outcomes: Mapping[int, JobOutcome], codes: Mapping[int, int]) -> None:
    """Prints one table over the jobs of a sweep, where it had several.

    Args:
        named: number -> what tells the job apart.
        outcomes: of those that have one.
        codes: exit codes of those that may have none.
    """
    ended = sorted({*outcomes, *codes} & {*named})
    if len(ended) < 2:
        return
    rows = {}
    for number in ended:
        one = outcomes.get(number)
        failed = one is None or bool(one.code)
        rows[number] = {**({} if one is None else one.row), **({"state": "failed"} if failed else {})}
    headings = [*dict.fromkeys(heading for row in rows.values() for heading in row)]
    headings.sort(key=lambda heading: heading in ("state", "run"))
    lines = [[str(number + 1), named[number], *(row.get(h, "-") for h in headings)] for number, row in rows.items()]
    print_table(f"{len(ended)} jobs", ["#", "job", *headings], lines)


def _of_hydra(error: Exception) -> bool:
    """Whether it was raised in Hydra itself, which so refuses flags that do not go together."""
    last = error.__traceback__
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    return last is not None and str(last.tb_frame.f_globals.get("__name__")).startswith("hydra.")


def with_sweep_folder(arguments: Sequence[str], folder: str) -> list[str]:
    """The arguments, and where a sweep's own files go, unless they say so; beside other keys, as argparse wants."""
    if any(argument.startswith("hydra.sweep.dir=") for argument in arguments):
        return list(arguments)
    places = [index for index, argument in enumerate(arguments) if "=" in argument and not argument.startswith("-")]
    index = places[0] if places else len(arguments)
    return [*arguments[:index], f"hydra.sweep.dir={folder}", *arguments[index:]]


@dataclass(frozen=True)
class Job:
    """What every job does, in whatever process and on whatever machine.

    Attributes:
        execute: the command; gives the exit code.
        place: a folder that the job leaves its outcome in.
        codes: the exit codes of jobs that ran in this process, by number: they do not need the folder.
        outcomes: the outcomes of those whose folder is gone when the sweep ends.
        named: what tells the jobs of a sweep apart, by number; launchers enter it.
    """

    execute: Callable[[Any], int | Done]
    place: Path
    codes: dict[int, int] = field(default_factory=dict)
    outcomes: dict[int, JobOutcome] = field(default_factory=dict)
    named: dict[int, str] = field(default_factory=dict)

    def __call__(self, config: DictConfig) -> float | None:
        """Does it; gives the number that a sweeper optimises, where there is one."""
        settings = HydraConfig.get()
        number = int(OmegaConf.select(cast(DictConfig, settings), "job.num") or 0)  # a single job has none
        with suppress(OSError):  # where there is no room, what has an outcome in `codes` still counts
            mark_begun(self.place, number)
        codes: list[int] = []
        lines: list[str] = []
        asked: Any = None
        done = Done()
        with telling(codes, lines):
            for group, alone in (("hydra/launcher", ("basic", "local")), ("hydra/sweeper", ("basic",))):
                choice = settings.runtime.choices[group]
                if settings.mode == RunMode.RUN and choice not in alone:
                    raise InputError(group, choice, "is for sweeps", "add -m, also for a sweep of one job")
            asked = named(typed(config), settings.overrides.task)
            trainer = getattr(asked, "trainer", None)
            begins = "" if settings.job.config_name == "cell" else announced(self.place, number)  # that says so itself
            if begins and not (trainer and follows(trainer)):
                print(begins, flush=True)
            done = _together(self.execute, asked)
            codes.append(done.code)
        self.codes[number] = codes[0]
        trainer = getattr(asked, "trainer", None)
        if trainer is not None and follows(trainer):
            return None  # the first of several processes says how the job ended
        traced = codes[0] == EXIT_DEFECT
        outcome = JobOutcome(number, codes[0], "".join(lines), traced=traced, value=done.value, row=done.row)
        self.outcomes[number] = outcome
        with suppress(OSError):
            leave_outcome(self.place, outcome)
        return done.value


def _together(execute: Callable[[Any], int | Done], asked: Any) -> Done:
    """Executes; where Slurm or torchrun started several processes of one training, the first alone does."""
    trainer = getattr(asked, "trainer", None)
    done: list[Done] = []

    def work() -> int:
        result = execute(asked)
        done.append(result if isinstance(result, Done) else Done(code=result))
        return done[0].code

    if trainer is None or trainer.devices * trainer.nodes == 1:
        code = work()
    else:
        from ipr.runs.follow import lead_or_follow

        code = lead_or_follow(work, Path(asked.paths.runs))
    return done[0] if done else Done(code=code)


AGAIN = "nothing that was there is lost, and the same command goes on where this one stopped"

STORAGE = {
    errno.ENOSPC: f"make room; {AGAIN}",
    errno.EDQUOT: f"make room; {AGAIN}",
    errno.EFBIG: f"allow larger files (ulimit -f); {AGAIN}",
    errno.EIO: f"see to the disk; {AGAIN}",
    errno.ESTALE: f"see to the file server; {AGAIN}",
    errno.EROFS: f"choose a folder that you can write to; {AGAIN}",
    errno.ENAMETOOLONG: f"choose a shorter name; {AGAIN}",
    errno.EACCES: f"choose a folder that you can write to; {AGAIN}",
}
"""What disks and file servers refuse, and what to do about it."""


def in_section(argument: str, command: str) -> str:
    """What runs are chosen by goes to a section of its own, as to Hydra `scheme` is a group."""
    key, equals, value = argument.partition("=")
    if not equals or command not in ("list", "report") or key not in {f.name for f in dataclasses.fields(FilterConfig)}:
        return argument
    return f"where.{key}='null'" if value == "null" else f"where.{key}={value.strip('[]')}"


@contextmanager
def reporting(codes: list[int]) -> Iterator[None]:
    """`telling`, and an interruption ends the command with one line and its own exit code."""
    try:
        with telling(codes, []):
            yield
    except KeyboardInterrupt:
        print("ipr: interrupted; the same command goes on where this one stopped", file=sys.stderr)
        raise SystemExit(EXIT_INTERRUPTED) from None


@contextmanager
def telling(codes: list[int], lines: list[str]) -> Iterator[None]:
    """Inside, an error becomes an exit code in one list and a line in the other.

    It is told on stderr: in one line if the user can mend it, else with a traceback. Nothing goes on up to Hydra, which
    would print the arguments of the job, secrets included, and stop the sweep.
    """
    try:
        yield
    except (InputError, HydraException, OmegaConfBaseException) as error:
        lines.append(one_line(error))
        codes.append(EXIT_INPUT)
    except Exception as error:  # noqa: BLE001 (reported in full, and the exit code says so)
        if isinstance(error, OSError) and unheard(error):
            leave(error)
        if isinstance(error, OSError) and error.errno in STORAGE:
            lines.append(f"{error.filename or '<a file>'}: {error.strerror}; {STORAGE[error.errno]}")
            codes.append(EXIT_INPUT)
        else:
            print(printable(traceback.format_exc(), lines=True), end="", file=sys.stderr)
            lines.append(" ".join(f"{type(error).__name__}: {error}".split()))
            codes.append(EXIT_DEFECT)
            return
    for line in lines:
        print(printable(f"ipr: error: {line}"), file=sys.stderr)


def _other_choice(group: str, choice: str, known: Sequence[str]) -> str:
    """What to do about a choice that a group does not have."""
    if group == "study" and (paper := closest(choice, papers())) and closest(choice, known) is None:
        return f"a study of the paper is run by ipr reproduce study={paper}; choose among: {', '.join(known)}"
    plugin = "; others come with their plugins, e.g. hydra-optuna-sweeper" if group == "hydra/sweeper" else ""
    return choose_among(choice, known) + plugin


def one_line(error: Exception) -> str:
    """An error as one line that names the field, the value and the remedy."""
    if isinstance(error, InputError):
        return str(error)
    if isinstance(error, MissingConfigException) and error.missing_cfg_file and error.options:
        group, _, choice = error.missing_cfg_file.rpartition("/")
        what = f"{shown(f'{group}={choice}')}: there is no such choice"
        return f"{what}; {_other_choice(group, choice, sorted(error.options))}"
    if isinstance(error, OverrideParseException):
        return (
            f"{shown(error.override)}: cannot be read as an assignment; write key=value, quoted where the shell splits"
        )
    causes: list[BaseException] = [error]
    while (cause := causes[-1].__cause__) is not None:
        causes.append(cause)
    found = next((c for c in causes if isinstance(c, OmegaConfBaseException)), None)
    key = str(found.full_key) if found is not None and found.full_key else ""
    kind = OmegaConf.get_type(found.parent_node) if found is not None and found.parent_node is not None else None
    known = [f.name for f in dataclasses.fields(kind)] if dataclasses.is_dataclass(kind) else []
    name = key.rpartition(".")[2]
    if known and name not in known:
        return f"{key}: there is no such key; {_suggest(name, known)}"
    parts = dict.fromkeys(" ".join(str(cause).split()).split(" full_key:")[0] for cause in causes)
    text = "; ".join(part for part in parts if part)
    return f"{key + ': ' if key and key not in text else ''}{text}; --help lists keys, groups and types"
