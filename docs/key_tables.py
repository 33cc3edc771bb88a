"""Every key of every command as tables: what docs/generate.py writes into docs/reference/configuration.md.

Names, types and comments are those of the dataclasses (`ipr.requests.keys`), ranges those of `ipr.config.ranges`,
defaults those of `conf/` as Hydra composes them. Only what ipr itself ships is listed, whatever else is installed.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, get_type_hints

import yaml
from hydra import compose, initialize_config_dir
from omegaconf import MISSING, OmegaConf

from ipr.config.ranges import Range, range_of
from ipr.config.registry import entries, source_of
from ipr.config.shipped import shipped
from ipr.requests.compose import register, schema_of
from ipr.requests.keys import SCHEMAS, WHERE, Key, fields_of, groups_of
from ipr.texts import without_none, written

COMMANDS = tuple(command for command in SCHEMAS if command != "cell")  # that one is for ipr itself
OPEN = ("scheme", "attack", "exhibit", "rival")
"""Sections whose keys depend on the choice of their group."""
FAR = 1e12
"""A limit beyond it is of the number's format, and nobody meets it."""


def configuration() -> str:
    """The page's generated part: commands, the sections that they share, and the keys of every choice."""
    parts = ["## Commands", *map(_command, COMMANDS), "## Sections", *map(_section, _sections())]
    for group, title in (("scheme", "Schemes"), ("attack", "Attacks"), ("exhibit", "Exhibits")):
        parts += [f"## {title}", *(_choice(group, name) for name in _ours(group))]
    return "\n\n".join(parts)


@dataclasses.dataclass(frozen=True)
class Section:
    """A part of a command's configuration whose keys begin with its name.

    Attributes:
        name: e.g. `trainer`.
        kind: its dataclass.
        command: the first that has it; its defaults are shown.
        what: one line.
    """

    name: str
    kind: type
    command: str
    what: str

    @property
    def title(self) -> str:
        """Its heading: its name, with the command where another has a different section of that name."""
        alone = next(other for other in _sections() if other.name == self.name) == self
        return f"`{self.name}`" if alone else f"`{self.name}` of `ipr {self.command}`"

    @property
    def anchor(self) -> str:
        """Its heading, as a link writes it."""
        return self.title.replace("`", "").replace(" ", "-")


@cache
def _sections() -> tuple[Section, ...]:
    """The sections of all commands, each once, in the order in which commands have them."""
    found: dict[tuple[str, type], Section] = {}
    for command in COMMANDS:
        for name, kind, key in _fields(schema_of(command)):
            if isinstance(kind, type) and dataclasses.is_dataclass(kind) and name not in (WHERE, *OPEN):
                found.setdefault((_folder(command, name), kind), Section(name, kind, command, key.what))
    return tuple(found.values())


def _folder(command: str, field: str) -> str:
    """The group that fills a field: `transfer` is filled by `dataset`, and has its keys."""
    group = next((one for one in groups_of(command).values() if one.field == field), None)
    return group.name.partition("@")[0] if group else field


def _fields(kind: type) -> Iterator[tuple[str, Any, Key]]:
    """Name, type without None and description of every field of a dataclass."""
    file = source_of(kind.__module__)
    assert file is not None, kind
    about, hints = fields_of(file, kind.__name__), get_type_hints(kind)
    for field in dataclasses.fields(kind):
        yield field.name, without_none(hints[field.name])[0], about[field.name]


@cache
def _defaults(command: str) -> Mapping[str, Any]:
    """A command's values where nothing is typed; `${...}` stands as it is written."""
    register(command)
    with initialize_config_dir(str(shipped("conf")), version_base="1.3"):
        values = OmegaConf.to_container(compose(command), resolve=False)
    assert isinstance(values, dict)
    return {str(name): value for name, value in values.items()}


def _command(command: str) -> str:
    """One command: its own keys, its groups, its sections, and where its defaults are not the section's."""
    file = shipped("conf") / f"{command}.yaml"
    head = yaml.safe_load(file.read_text())["hydra"]["help"]["header"].partition(": ")[2].splitlines()[0]
    values, own, sections = _defaults(command), list[str](), list[str]()
    for name, kind, key in _fields(schema_of(command)):
        if name == WHERE:
            own += [_row(key, kind, inner, None) for inner, kind, key in _fields(kind)]
        elif not dataclasses.is_dataclass(kind):
            own.append(_row(key, schema_of(command), name, values.get(name)))
        elif name in OPEN:
            sections.append(f"[`{name}`](#{'attack' if name == 'rival' else name}s)")
        else:
            section = next(one for one in _sections() if (one.kind, one.name) == (kind, _folder(command, name)))
            sections.append(f"[`{name}`](#{section.anchor})")
    parts = [f"### `ipr {command}`", f"{head[0].upper()}{head[1:]}"]
    parts += [_table(own)] if own else []
    parts += [f"Sections: {', '.join(sections)}."] if sections else []
    parts += _groups(command) + _differing(command)
    return "\n\n".join(parts)


def _groups(command: str) -> list[str]:
    """The groups of a command, each with the choice that is in force."""
    lines = []
    for name, group in groups_of(command).items():
        folder = name.partition("@")[0]
        choices = [f"`{choice}`" for choice in _ours(folder) if choice != group.default]
        if choices:
            others = f"[another](#{folder}s)" if folder in OPEN else ", ".join(choices)
            lines.append(f"`{name}={group.default or 'null'}` (or {others})")
    return ["Groups: " + "; ".join(lines) + "."] if lines else []


def _differing(command: str) -> list[str]:
    """The defaults of a command that are not those of the table of their section."""
    found = []
    for section in _sections():
        here, there = (_defaults(one).get(section.name) for one in (command, section.command))
        if isinstance(here, dict) and isinstance(there, dict) and section.name in _names_of(command, section.kind):
            found += [f"`{section.name}.{name}={_value(here[name])}`" for name in here if here[name] != there.get(name)]
    return [f"Its defaults that differ from the tables: {', '.join(found)}."] if found else []


def _names_of(command: str, kind: type) -> list[str]:
    return [name for name, one, _ in _fields(schema_of(command)) if one is kind]


def _ours(group: str) -> list[str]:
    """The choices of a group that ipr ships."""
    return sorted(path.stem for path in (shipped("conf") / group).glob("*.yaml"))


def _section(section: Section) -> str:
    values = _defaults(section.command).get(section.name)
    values = values if isinstance(values, dict) else {}
    rows = [
        _row(key, section.kind, name, values.get(name, _default(section.kind, name)), f"{section.name}.")
        for name, _, key in _fields(section.kind)
    ]
    what = _prose(section.what).rstrip(".")
    head = f"{what[0].upper()}{what[1:]}. Defaults are those of `ipr {section.command}`."
    return "\n\n".join([f"### {section.title}", head, *_more(section.kind), _table(rows)])


def _more(kind: type) -> list[str]:
    """What the docstring of a dataclass says after its first paragraph, its list of attributes left out."""
    paragraphs = inspect.cleandoc(kind.__doc__ or "").split("\n\n")[1:]
    return [_prose(one) for one in paragraphs if not one.startswith("Attributes:")]


def _choice(group: str, name: str) -> str:
    """A scheme, an attack or an exhibit: what it is, and its settings."""
    one = entries(group)[name]
    kind = one.load().Config if group == "scheme" else one.load()
    file = shipped("conf") / group / f"{name}.yaml"
    values = {key: value for key, value in yaml.safe_load(file.read_text()).items() if key != "defaults"}
    rows = [
        _row(key, kind, field, values.get(field, _default(kind, field)), f"{group}.")
        for field, _, key in _fields(kind)
        if field != "name"
    ]
    first = " ".join((one.load().__doc__ or "").partition("\n\n")[0].split())
    return "\n\n".join([f"### `{group}={name}`", _prose(first), _table(rows) if rows else "It has no keys of its own."])


def _default(kind: type, name: str) -> Any:
    """The default of a field by its dataclass."""
    field = next(one for one in dataclasses.fields(kind) if one.name == name)
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return MISSING if field.default is dataclasses.MISSING else field.default


def _table(rows: list[str]) -> str:
    return "\n".join(["| key | type | default | values | what it is |", "|---|---|---|---|---|", *rows])


def _row(key: Key, kind: type, name: str, default: Any, prefix: str = "") -> str:
    values = _values(key, range_of(kind, name))
    return f"| `{prefix}{name}` | {_type(key.kind)} | {_code(default)} | {values} | {_prose(key.what).rstrip('.')} |"


TYPES = {"str": "text", "int": "whole number", "float": "number", "bool": "true or false", "Any": "any"}


def _type(annotation: str) -> str:
    """A type in words: `list[int] | None` is a list of whole numbers, or null."""
    bare, optional = annotation.removesuffix(" | None"), annotation.endswith(" | None")
    inner = re.fullmatch(r"list\[(.+)\]", bare)
    word = f"list ({_type(inner[1])})" if inner else "mapping" if bare.startswith("dict[") else TYPES.get(bare, bare)
    return f"{word} or null" if optional else word


def _values(key: Key, allowed: Range | None) -> str:
    """The values that a key can take, where something says so."""
    numbers = re.search(r"\b(int|float)\b", key.kind) is not None
    if numbers and allowed is not None:
        return _range(allowed)
    complete = key.kind.removesuffix(" | None") == "str" and "| ..." not in key.what
    named = key.values if complete else []
    return ", ".join(f"`{value}`" for value in named)


def _range(allowed: Range) -> str:
    """A range in words, without limits that nobody meets."""
    least = allowed.least if allowed.least is not None and allowed.least > -FAR else None
    most = allowed.most if allowed.most is not None and allowed.most < FAR else None
    low = "" if least is None else f"above {least:g}" if allowed.above else f"{least:g}"
    high = "" if most is None else f"below {most:,g}" if allowed.below else f"{most:,.10g}"
    if low and high:
        return f"{low}, at most {high}" if allowed.above and not allowed.below else f"{low} to {high}"
    return low if allowed.above or not low else f"from {low} on"


def _value(value: Any) -> str:
    """A value as it would be typed."""
    return "{}" if value == {} else "{...}" if isinstance(value, dict) else written(value)


def _code(value: Any) -> str:
    if value == MISSING:
        return "must be given"
    text = _value(value)
    return f"`{text}`".replace("|", "\\|") if text else "empty"


def _prose(text: str) -> str:
    """A comment as Markdown in a table."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("|", "\\|")
