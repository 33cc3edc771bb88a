"""Runs a command: composes what it is asked for, does it once or as the jobs of a sweep, and tells how each ended."""

from __future__ import annotations

import errno
import os
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, cast

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from ipr.cli.launchers.outcomes import (
    Done,
    JobOutcome,
    announce,
    announced,
    count_of,
    descriptions,
    leave_outcome,
    mark_begun,
    read_outcomes,
)
from ipr.cli.launchers.search import best_of, check_search
from ipr.config.shipped import shipped
from ipr.errors import InputError
from ipr.extras import asked_for
from ipr.requests.compose import as_texts, in_section, named, one_line, register, typed
from ipr.requests.launchers import one_by_one
from ipr.requests.libraries import of_library
from ipr.requests.line import refuse_names, refuse_unknown
from ipr.requests.texts import hiding, quoted
from ipr.terminal.spelling import closest
from ipr.terminal.streams import leave, unheard
from ipr.terminal.table import print_table
from ipr.texts import printable
from ipr.training.distributed.launch import is_worker

SWEEPER = "hydra_plugins.hydra_optuna_sweeper."

EXIT_INPUT = 2
EXIT_DEFECT = 70
EXIT_INTERRUPTED = 130

T = TypeVar("T")


def invoke(
    command: str, execute: Callable[[Any], int | Done], arguments: Sequence[str]
) -> tuple[list[int], dict[int, JobOutcome]]:
    """Composes the configuration of a command and runs it, as one job or as the jobs of a sweep.

    In a sweep, a job that fails is reported and the others go on.

    Returns:
        The exit codes of all jobs, wherever they ran: 2 for input that cannot be used, 70 for a defect of ours; and the
        outcomes of the jobs that have one, by their numbers.
    """
    codes: list[int] = []
    outcomes: dict[int, JobOutcome] = {}
    register(command)
    written, arguments = arguments, [in_section(argument, command) for argument in arguments]
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra hands errors on instead of printing them; `reporting` does
    with tempfile.TemporaryDirectory(prefix="ipr-") as private, hiding() as hide:  # a sweep's file repeats all of it
        job = Job(execute, Path(private))
        with reporting(codes), one_by_one():
            refuse_names(arguments)
            sys.argv = [f"ipr {command}", *with_sweep_folder(as_texts(command, arguments, hide), quoted(private))]
            try:
                hydra.main(version_base="1.3", config_path=str(shipped("conf")), config_name=command)(job)()
            except (HydraException, OmegaConfBaseException):
                refuse_unknown(command, written)
                raise
            except (ValueError, AssertionError, TypeError, LookupError, OSError) as error:
                what = " ".join(str(error).split())
                if not what or not _of_hydra(error):
                    raise
                raise InputError("arguments", f"<of ipr {command}>", what, f"see `ipr {command} --help`") from error
            except SystemExit as stopped:
                if stopped.code == 1:  # so Hydra ends, and a judge who says no
                    raise SystemExit(EXIT_INPUT) from stopped
                raise
        outcomes = {outcome.number: outcome for outcome in read_outcomes(Path(private))} | job.outcomes
        codes += ({number: outcome.code for number, outcome in outcomes.items()} | job.codes).values()
        if command != "cell":  # whose report follows
            tell_sweep(job.named, outcomes, job.codes, job.directions)
    return codes, outcomes


def choose_verb(command: str, verb: str, verbs: Mapping[str, Callable[[T], int]], rest: str) -> Callable[[T], int]:
    """What a command does that is told by its first word; `rest` is what is written behind it.

    Raises:
        InputError: there is no such verb.
    """
    if verb not in verbs:
        near = closest(verb, verbs)
        remedy = f"{f'did you mean {near}? ' if near else ''}write: ipr {command} {'|'.join(verbs)} {rest}"
        raise InputError("verb", verb, "is none of this command", remedy)
    return verbs[verb]


def tell_sweep(
    named: Mapping[int, str],
    outcomes: Mapping[int, JobOutcome],
    codes: Mapping[int, int],
    directions: Sequence[str] = (),
) -> None:
    """Prints one table over the jobs of a sweep, where it had several; of a search it says which no other one beats.

    Args:
        named: number -> what tells the job apart.
        outcomes: of those that have one.
        codes: exit codes of those that may have none.
        directions: of a search, see `directions_of`.
    """
    best = best_of(outcomes, directions) if directions else []
    ended = sorted({*outcomes, *codes} & {*named})
    if len(ended) < 2:
        return
    rows = {}
    for number in ended:
        one = outcomes.get(number)
        failed = one is None or bool(one.code)
        rows[number] = {
            **({} if one is None else one.row),
            **({"best": "yes"} if number in best else {}),
            **({"state": "failed"} if failed else {}),
        }
    headings = [*dict.fromkeys(heading for row in rows.values() for heading in row)]
    headings.sort(key=lambda heading: heading in ("state", "run"))
    lines = [[str(number + 1), named[number], *(row.get(h, "-") for h in headings)] for number, row in rows.items()]
    print_table(f"{len(ended)} jobs", ["#", "job", *headings], lines)


def _of_hydra(error: Exception) -> bool:
    """Whether it was raised in Hydra itself, which so refuses flags that do not go together, or in the sweeper of
    Optuna: of trials that all failed, or of what it cannot search over.
    """
    last = error.__traceback__
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    return last is not None and str(last.tb_frame.f_globals.get("__name__")).startswith(("hydra.", "optuna.", SWEEPER))


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
        directions: which way each number is better that the sweeper asks for; likewise.
    """

    execute: Callable[[Any], int | Done]
    place: Path
    codes: dict[int, int] = field(default_factory=dict)
    outcomes: dict[int, JobOutcome] = field(default_factory=dict)
    named: dict[int, str] = field(default_factory=dict)
    directions: list[str] = field(default_factory=list)

    def numbered(self, overrides: Sequence[Sequence[str]], first: int, config: DictConfig) -> dict[int, Sequence[str]]:
        """The jobs of a sweep by number; what tells them apart is entered, and left where each says it as it begins.

        Raises:
            InputError: see `check_search`.
        """
        self.directions[:] = check_search(config)
        jobs = dict(enumerate(overrides, first))
        named = descriptions(jobs, config.hydra.overrides.task)
        self.named.update(named)
        announce(self.place, named, count_of(config.hydra.sweeper, len(jobs)))
        return jobs

    def __call__(self, config: DictConfig) -> float | list[float] | None:
        """Does it; gives the number, or numbers, that a sweeper optimises, where there are any."""
        settings = HydraConfig.get()
        number = int(OmegaConf.select(cast(DictConfig, settings), "job.num") or 0)  # a single job has none
        with suppress(OSError):  # where there is no room, what has an outcome in `codes` still counts
            mark_begun(self.place, number)
        codes: list[int] = []
        lines: list[str] = []
        done, worker = Done(), False
        with errors_as_lines(codes, lines):
            for group, alone in (("hydra/launcher", ("basic", "local")), ("hydra/sweeper", ("basic",))):
                choice = settings.runtime.choices[group]
                if settings.mode == RunMode.RUN and choice not in alone:
                    raise InputError(group, choice, "is for sweeps", "add -m, also for a sweep of one job")
            asked = named(of_library(typed(config), settings.runtime.choices), settings.overrides.task)
            trainer = getattr(asked, "trainer", None)
            worker = trainer is not None and is_worker(trainer)
            begins = "" if settings.job.config_name == "cell" else announced(self.place, number)  # that says so itself
            if begins and not worker:
                print(begins, flush=True)
            if trainer is not None and trainer.processes > 1:
                from ipr.training.distributed.launcher import on_rank_0

                ended = on_rank_0(partial(self.execute, asked))
            else:
                ended = self.execute(asked)
            done = ended if isinstance(ended, Done) else Done(code=ended or 0)
            codes.append(done.code)
        self.codes[number] = codes[0]
        if worker:
            return None  # rank 0 says how the job ended
        traced = codes[0] == EXIT_DEFECT
        outcome = JobOutcome(number, codes[0], "".join(lines), traced=traced, value=done.value, row=done.row)
        self.outcomes[number] = outcome
        with suppress(OSError):
            leave_outcome(self.place, outcome)
        return done.value


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


@contextmanager
def reporting(codes: list[int]) -> Iterator[None]:
    """`errors_as_lines`, and an interruption ends the command with one line and its own exit code."""
    try:
        with errors_as_lines(codes, []):
            yield
    except KeyboardInterrupt:
        print("ipr: interrupted; the same command goes on where this one stopped", file=sys.stderr)
        raise SystemExit(EXIT_INTERRUPTED) from None


@contextmanager
def errors_as_lines(codes: list[int], lines: list[str]) -> Iterator[None]:
    """Inside, an error becomes an exit code in one list and a line in the other.

    It is told on stderr: in one line if the user can mend it, else with a traceback. Nothing goes on up to Hydra, which
    would print the arguments of the job, secrets included, and stop the sweep.
    """
    try:
        yield
    except (InputError, HydraException, OmegaConfBaseException, YAMLError) as error:
        lines.append(one_line(error))
        codes.append(EXIT_INPUT)
    except Exception as error:  # noqa: BLE001 (reported in full, and the exit code says so)
        wanted = asked_for(error) if isinstance(error, ModuleNotFoundError) else None
        if isinstance(error, OSError) and unheard(error):
            leave(error)
        if wanted is not None:
            lines.append(one_line(wanted))
            codes.append(EXIT_INPUT)
        elif isinstance(error, OSError) and error.errno in STORAGE:
            lines.append(f"{error.filename or '<a file>'}: {error.strerror}; {STORAGE[error.errno]}")
            codes.append(EXIT_INPUT)
        else:
            print(printable(traceback.format_exc(), lines=True), end="", file=sys.stderr)
            lines.append(" ".join(f"{type(error).__name__}: {error}".split()))
            codes.append(EXIT_DEFECT)
            return
    for line in lines:
        print(printable(f"ipr: error: {line}"), file=sys.stderr)
