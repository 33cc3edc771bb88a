"""From arguments to a checked, typed configuration: Hydra, the schema, and errors of one line."""

from __future__ import annotations

import dataclasses
import difflib
import re
from collections.abc import Callable, Sequence
from importlib import import_module
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast, overload

from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException
from yaml import MarkedYAMLError, YAMLError

from ipr.config.ranges import check_numbers
from ipr.config.registry import BASES, load, load_all
from ipr.config.secrets import with_secrets
from ipr.config.shipped import shipped
from ipr.errors import InputError
from ipr.extras import asked_for
from ipr.requests.keys import SCHEMAS
from ipr.requests.launchers import enter_launchers
from ipr.requests.libraries import of_library
from ipr.requests.line import refuse_unknown
from ipr.requests.own_hydra import own_hydra
from ipr.requests.texts import TextArguments, check_files, shown
from ipr.studies.config import CHOSEN_BY
from ipr.terminal.spelling import choose_among
from ipr.texts import SECRETIVE

if TYPE_CHECKING:
    from ipr.attacks.config import AttackConfig
    from ipr.config.schema import TrainConfig

OF_STUDIES = ("reproduce", "report", "list", "status", "gc")
"""Commands that take studies, classes, or what runs are chosen by, with commas between, and sweep over nothing."""


def schema_of(command: str) -> type:
    """The dataclass of a command's configuration."""
    module, _, name = SCHEMAS[command].partition(":")
    return cast(type, getattr(import_module(module), name))


def register(command: str = "train") -> None:
    """Puts the schema of a command into Hydra's store, and those of what can be chosen in it."""
    store, kind = ConfigStore.instance(), schema_of(command)
    store.store(name=f"{command}_schema", node=kind)
    sections = {field.name for field in dataclasses.fields(kind)}
    for group in [group for group in BASES if group in sections]:
        for name, one in load_all(group).items():
            store.store(group=f"schema/{group}", name=name, node=one.Config if group == "scheme" else one)
    enter_launchers()


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
def configuration(command: Literal["train"], *arguments: str) -> TrainConfig: ...


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
            config = compose(command, as_texts(command, arguments), return_hydra_config=True)
            choices = config.hydra.runtime.choices
            with open_dict(config):
                del config["hydra"]
            return named(of_library(typed(config), choices), arguments)
    except (HydraException, OmegaConfBaseException, YAMLError) as error:
        refuse_unknown(command, arguments)
        remedy = f"`ipr {command} --help` lists keys and choices"
        raise InputError("arguments", f"<of ipr {command}>", one_line(error), remedy) from None


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
        argument.startswith("hydra.mode=") for argument in arguments
    )
    for flag, value in zip_longest(arguments, arguments[1:], fillvalue=""):
        name, equals, given = flag.partition("=")
        if name in ("-cd", "--config-dir", "-cp", "--config-path"):
            check_files(Path(given if equals else value), schema)
    shows, others = ("-c", "--cfg", "-i", "--info"), ("-cd", "-cp", "-cn", "--config")
    printed = any(flag.startswith(shows) and not flag.startswith(others) for flag in flags)
    of_secret = (lambda _: "<hidden>") if printed else hide
    return TextArguments(schema, swept and command not in OF_STUDIES, of_secret).written(arguments)


def named(asked: Any, overrides: Sequence[str]) -> Any:
    """The configuration with the run that it names (`ipr attack run=KEY`) in the place of what the groups chose.

    Raises:
        InputError: there is no such run, or something was asked for that the run itself says.
    """
    if not hasattr(asked, "attack_seed") or asked.run is None:
        return asked
    from ipr.workflows.named_run import as_run

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


def in_section(argument: str, command: str) -> str:
    """What runs are chosen by goes to a section of its own, as to Hydra `scheme` is a group."""
    key, equals, value = argument.partition("=")
    if not equals or command not in ("list", "report", "reproduce") or key not in CHOSEN_BY:
        return argument
    return f"where.{key}='null'" if value == "null" else f"where.{key}={value.strip('[]')}"


def _no_class(group: str, name: str) -> str:
    """What is wrong with a choice that has a YAML file and no class that could be loaded."""
    try:
        load(group, name)
    except InputError as error:
        return str(error)
    return f"{group}={name}: its class has no fields; make it a dataclass"


def one_line(error: Exception) -> str:
    """An error as one line that names the field, the value and the remedy."""
    if isinstance(error, InputError):
        return str(error)
    if isinstance(error, MarkedYAMLError) and (mark := error.problem_mark) is not None:
        return f"{mark.name}: cannot be read as YAML (line {mark.line + 1}: {error.problem}); mend or remove it"
    if isinstance(error, MissingConfigException) and error.missing_cfg_file and error.options:
        group, _, choice = error.missing_cfg_file.rpartition("/")
        if group.startswith("schema/"):  # its YAML is there, and its class is not
            return _no_class(group.removeprefix("schema/"), choice)
        if choice == "optuna" and group == "hydra/sweeper":
            return str(asked_for(ModuleNotFoundError(name=choice)))
        what = f"{shown(f'{group}={choice}')}: there is no such choice"
        plugin = "; others come with their plugins, e.g. hydra-optuna-sweeper" if group == "hydra/sweeper" else ""
        return f"{what}; {choose_among(choice, sorted(error.options))}{plugin}"
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
