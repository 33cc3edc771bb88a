"""`ipr COMMAND --help`: every key with its value and a line, and the groups of this command."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ipr.cli import loading
from ipr.cli.jobs import reporting
from ipr.config.schema import HIDDEN_KEYS
from ipr.config.shipped import shipped
from ipr.requests.compose import OF_STUDIES, as_texts, in_section, register
from ipr.requests.keys import WHERE, Key, choices_of, groups_of, keys_of, sections_of
from ipr.requests.line import VERBS
from ipr.texts import written

SWEPT = ("train", "attack", "exhibit")
"""Commands that are swept, and go to other machines."""


def explain(command: str, words: Sequence[str]) -> int:
    """Prints the help of a command, with the values that it would have with these arguments; the exit code."""
    codes: list[int] = []
    with reporting(codes):
        print(help_text(command, [word for word in words if "=" in word]))
    return max(codes, default=0)


def help_text(command: str, words: Sequence[str] = ()) -> str:
    """The help of a command, with the values that it would have with some words `key=value`."""
    with loading():
        register(command)
    words = [word for word in words if command in OF_STUDIES or "," not in word or word.endswith("]")]  # no sweeps
    overrides = as_texts(command, [in_section(word, command) for word in words], lambda _: "<hidden>")
    with initialize_config_dir(str(shipped("conf")), version_base="1.3"):
        config = compose(command, overrides, return_hydra_config=True)
    head, foot = str(config.hydra.help.header), str(config.hydra.help.footer)
    groups = groups_of(command)
    chosen = {name: str(choice) for name, choice in config.hydra.runtime.choices.items() if name in groups}
    keys = keys_of(command, {name: choice for name, choice in chosen.items() if choice != "None"})
    with_choice = {name: group for name, group in groups.items() if group.leaves_a_choice}
    verb = " VERB" if command in VERBS else ""
    lines = [head, "", f"usage: ipr {command}{verb} [key=value ...]{' [-m]' if command in SWEPT else ''}"]
    if with_choice or command in SWEPT:
        lines += ["", "Groups: each choice sets several keys (the one in force stands first)"]
        for name, group in with_choice.items():
            now = chosen.get(name, "")
            others = [choice for choice in group.choices if choice != now]
            lines += _wrapped(f"{name}={'null' if now in ('', 'None') else now}", ", ".join(others))
        if command in SWEPT:
            lines += _wrapped("hydra/launcher=basic", f"sweeps (-m) alone: {', '.join(choices_of('hydra/launcher'))}")
    lines += ["", "Keys"]
    sections = sections_of(command)
    before = ""
    for key in sorted(keys, key=lambda key: "." in key.path):
        section = key.path.partition(".")[0] if "." in key.path else ""
        if section != before:
            lines += ["", f"  {section}: {sections.get(section, '')}"]
            before = section
        lines += _wrapped(f"{key.path}={_value(config, key)}", key.what)
    return "\n".join([*lines, "", foot])


def _wrapped(left: str, right: str) -> list[str]:
    room, lines = 36, textwrap.wrap(right, 82) or [""]
    first = [f"  {left:{room}}  {lines[0]}"] if len(left) <= room else [f"  {left}", f"  {'':{room}}  {lines[0]}"]
    return [line.rstrip() for line in [*first, *(f"  {'':{room}}  {line}" for line in lines[1:])]]


def _value(config: DictConfig, key: Key) -> str:
    """The value that a key has, as it would be typed; of secrets only that they are set."""
    path = key.path if key.path.partition(".")[0] in config else f"{WHERE}.{key.path}"
    try:
        value: Any = OmegaConf.select(config, path, throw_on_missing=False)
    except OmegaConfBaseException:
        return "..."
    parent, _, name = path.rpartition(".")
    holder = OmegaConf.select(config, parent) if parent else config
    if isinstance(holder, DictConfig) and name in holder and OmegaConf.is_missing(holder, name):
        return "???"
    if key.path in HIDDEN_KEYS and value is not None:
        return "<hidden>"
    if isinstance(value, DictConfig):
        return "{...}" if value else "{}"
    return written(OmegaConf.to_container(value, resolve=True) if isinstance(value, ListConfig) else value)
