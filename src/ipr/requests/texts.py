"""Texts on the command line: taken as they were written, before Hydra reads numbers, lists and functions in them.

Which keys hold texts, the schema says. Every argument passes `TextArguments`, and nothing else quotes one.
"""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args, get_origin

import yaml
from hydra.conf import HydraConf
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, Quote, QuotedString
from hydra.errors import HydraException
from omegaconf._utils import get_yaml_loader

from ipr.config.schema import HIDDEN, HIDDEN_KEYS
from ipr.config.secrets import is_named
from ipr.errors import InputError
from ipr.requests.launchers import SCHEMAS
from ipr.texts import QUOTED, SECRETIVE, refuse_retyped, types_at, unquoted, without_none

FREE = ("owner", "scheme.signature", "passport.key", "tags")
"""Texts in which `${...}` is what it is; in names and places it is what OmegaConf puts there."""

SWEPT = re.compile(r"(choice|shuffle|sort)\((.*)\)", re.DOTALL)
"""Sweeps of Hydra's that would read the texts in them as numbers."""

UNEXPANDED = re.compile(r"\$(\w+(?=/|$)|\{[^}]*\}$)")
OPENED, CLOSED = "([{", ")]}"


def shown(argument: str) -> str:
    """An argument, fit for an error: without its value where the key may be somebody's name for a secret."""
    key, equals, _ = argument.partition("=")
    return f"{key}=<hidden>" if equals and SECRETIVE.search(key) else argument


@dataclass(frozen=True)
class TextArguments:
    """The arguments of a command, with its texts quoted for Hydra.

    Attributes:
        schema: the command's dataclass.
        sweep: whether a comma parts the texts of several jobs; else it belongs to the text.
        hide: what is written for a secret text instead of it.
    """

    schema: type
    sweep: bool = False
    hide: Callable[[str], str] = str

    def written(self, arguments: Sequence[str]) -> list[str]:
        """All of them.

        Raises:
            InputError: a text is missing, or no text.
        """
        return [self.one(argument) for argument in arguments]

    def one(self, argument: str) -> str:
        """One argument; what sets no text is as it was.

        Raises:
            InputError: see `written`.
        """
        key, equals, value = argument.partition("=")
        name = key.lstrip("+")
        try:
            argument.encode()
        except UnicodeEncodeError:
            raise InputError(name, "<bytes>", "is no text in UTF-8", "see what the terminal sends (locale)") from None
        if "\0" in argument:
            raise InputError(name, "<text>", "holds the character 0, which no file's name can", "leave it out")
        if key.startswith("-") and key.lstrip("-") in HIDDEN_KEYS:
            bare = key.lstrip("-")
            raise InputError(bare, "<hidden>", "is written with hyphens", f"write {bare}=... without them")
        if not equals or key.startswith(("-", "~")) or {*"/@"} & {*key}:
            return argument
        types = [without_none(type_) for type_ in self.types(name)]
        kinds = {_kind(bare) for bare, _ in types}
        optional = any(nothing for _, nothing in types)
        if kinds == {"text"}:
            return f"{key}={self.sweeping(name, value, lambda one: self.text(name, one, optional))}"
        if kinds == {"texts"}:
            of_none = any(without_none(get_args(bare)[0])[1] for bare, _ in types)
            return f"{key}={self.sweeping(name, value, lambda one: self.texts(name, one, optional, of_none))}"
        if not types and SECRETIVE.search(name) and not name.startswith("hydra."):
            return f"{key}='<hidden>'"  # Hydra will refuse it, and say what it was
        if value.lstrip().startswith("{"):
            self.check_mapping(argument, name)
        return argument

    def types(self, name: str) -> list[Any]:
        """What a key may hold, Hydra's own keys included."""
        if name.startswith("hydra.launcher."):
            return [t for schema in SCHEMAS.values() for t in types_at(schema, name.removeprefix("hydra.launcher."))]
        if name.startswith("hydra."):
            return types_at(HydraConf, name.removeprefix("hydra."))
        return types_at(self.schema, name)

    def sweeping(self, name: str, value: str, quoted: Callable[[str], str]) -> str:
        """A value with every one of its elements quoted, where it is swept over.

        Raises:
            InputError: the sweep is one that texts cannot be in.
        """
        if not self.sweep:
            return quoted(value)
        if re.fullmatch(r"\s*(range|glob)\(.*\)\s*", value):
            return value
        call = SWEPT.fullmatch(value.strip())
        if call and call[1] != "choice":
            raise InputError(name, f"{call[1]}(...)", "is no sweep over texts", "write them with commas between")
        elements = split(call[2] if call else value)
        return ",".join(map(quoted, elements)) if len(elements) > 1 or call else quoted(value)

    def text(self, name: str, value: str, optional: bool) -> str:
        """A text in quotes; `null` where there may be none."""
        bare, ours = value.strip(), not name.startswith("hydra.")
        if optional and bare.lower() == "null":
            return "null"
        if as_quoted := QUOTED.fullmatch(bare):
            text = unquoted(as_quoted[0])
        else:
            self.check_written(name, bare, optional, ours)
            text = value
        if name in HIDDEN_KEYS and not is_named(text) and text.strip():
            text = self.hide(text)
        return quoted(text, literal=name in FREE)

    def check_written(self, name: str, value: str, optional: bool, ours: bool) -> None:
        """Refuses what a shell leaves of a variable that it does not know, or was kept from seeing."""
        if ours and not value:
            remedy = f"leave {name} out" + (", or write null" if optional else "")
            problem = "is empty; is it a variable that is not set?"
            raise InputError(name, "<hidden>" if name in HIDDEN_KEYS else "", problem, remedy)
        secret = name == "passport.key"
        if secret and value in ("None", "none", "~"):
            raise InputError(name, value, "is no secret", "write null for none")
        if (secret or name not in FREE) and UNEXPANDED.match(value) and (secret or "{" not in value):
            problem = "is a variable that the shell did not put in"
            remedy = f"write {name}=env:NAME" if secret else "write it in double quotes, or in none"
            raise InputError(name, "<hidden>" if secret else value, problem, remedy)

    def texts(self, name: str, value: str, optional: bool, of_none: bool) -> str:
        """A list with every element a text in quotes."""
        bare = value.strip()
        if (optional and bare.lower() == "null") or bare.startswith("${"):
            return bare
        if not (bare.startswith("[") and bare.endswith("]")):
            raise InputError(name, value, "is not a list", f"write {name}=[{value}]")
        inner = bare[1:-1]
        elements = split(inner) if inner.strip() else []
        return "[" + ",".join(self.text(name, one.strip(), of_none) for one in elements) + "]"

    def check_mapping(self, argument: str, name: str) -> None:
        """Refuses `commitment={digest: 1e5}`: what stands in a mapping Hydra has read before it is asked for."""
        value = _parsed(argument)
        for group, last in HIDDEN:
            if name == group and isinstance(value, dict) and last in value:
                secret = f"{group}.{last}"
                raise InputError(secret, "<hidden>", "stands in a mapping", f"write {secret}=... on its own")
        for type_ in self.types(name):
            refuse_retyped(type_, value, name)


def _kind(bare: Any) -> str:
    if get_origin(bare) is list and without_none(get_args(bare)[0])[0] is str:
        return "texts"
    return "text" if bare is str else "other"


def _parsed(argument: str, unreadable: Any = None) -> Any:
    """What Hydra reads in the value of an argument; of one that it cannot read it says so itself, later."""
    try:
        return OverridesParser.create().parse_override(argument).value()
    except HydraException:
        return unreadable


def quoted(text: str, literal: bool = False) -> str:
    """A text as Hydra reads it back, whatever is in it.

    Args:
        text: any.
        literal: whether `${` in it means itself.
    """
    if literal:
        text = re.sub(r"(\\*)\$\{", lambda found: found[1] * 2 + r"\${", text)
    return QuotedString(text, Quote.single).with_quotes()


def split(value: str) -> list[str]:
    """The elements between commas; a comma in quotes, in brackets, or after a backslash belongs to its element."""
    elements, start, depth, at = list[str](), 0, 0, 0
    while at < len(value):
        quotes = QUOTED.match(value, at) if not value[start:at].strip(" ([{") else None
        if quotes and re.match(r"\s*([,\])}]|\Z)", value[quotes.end() :]):
            at = quotes.end()
            continue
        if value.startswith("\\,", at):
            value = value[:at] + value[at + 1 :]
        elif value[at] in OPENED and value.find(CLOSED[OPENED.index(value[at])], at) > 0:
            depth += 1
        elif value[at] in CLOSED and depth:
            depth -= 1
        elif value[at] == "," and not depth:
            elements.append(value[start:at].strip())
            start = at + 1
        at += 1
    return [*elements, value[start:].strip()]


@contextmanager
def hiding() -> Iterator[Callable[[str], str]]:
    """Gives what hands a secret on as `env:NAME`, by the environment of this process and of those that it starts.

    So it is in no file and on no command line that Hydra, a queue or a launcher writes. Afterwards it is forgotten.
    """
    names: list[str] = []

    def hide(secret: str) -> str:
        names.append(f"IPR_HIDDEN_{secrets.token_hex(8)}")
        os.environ[names[-1]] = secret
        return f"env:{names[-1]}"

    try:
        yield hide
    finally:
        for name in names:
            os.environ.pop(name, None)


def check_files(folder: Path, schema: type) -> None:
    """Refuses numbers where texts belong in a user's own configuration files (`--config-dir`), which are as in `conf/`.

    Raises:
        InputError: naming the file and the key.
    """
    for path in sorted(folder.rglob("*.yaml")):
        try:
            lines = path.read_text()
            content = yaml.load(lines, Loader=get_yaml_loader())  # noqa: S506 (a safe loader, OmegaConf's own)
        except (OSError, ValueError, yaml.YAMLError):
            continue  # Hydra says it better, if it is asked for this one
        package = re.match(r"#\s*@package\s+(\S+)", lines)
        group = ".".join(path.parent.relative_to(folder).parts)
        place = {"_global_": "", "_group_": group, "_here_": group}.get(package[1], package[1]) if package else group
        if isinstance(content, dict):
            check_content(content, schema, path, place)


def check_content(content: Mapping[str, Any], schema: type, path: Path, place: str = "") -> None:
    """Refuses numbers where texts belong in a configuration file, and in what it sweeps over.

    Args:
        content: what was read.
        schema: the command's dataclass.
        path: the file, to be told.
        place: the dotted path that its content is for; "" for the root.

    Raises:
        InputError: naming the file and the key.
    """
    try:
        for type_ in types_at(schema, place):
            refuse_retyped(type_, content, place)
        for name, value in _swept(content).items():
            for type_, _ in map(without_none, types_at(schema, name)):
                for one in _elements(name, value):
                    refuse_retyped(get_args(type_)[0] if _kind(type_) == "texts" else type_, one, name)
    except InputError as error:
        raise InputError(f"{path}: {error.field}", error.value, error.problem, error.remedy) from None


def _swept(content: Mapping[str, Any]) -> Mapping[str, Any]:
    found: Any = content
    for name in ("hydra", "sweeper", "params"):
        found = found.get(name) if isinstance(found, Mapping) else None
    return {str(name): value for name, value in found.items()} if isinstance(found, Mapping) else {}


def _elements(name: str, value: Any) -> list[Any]:
    """What Hydra's sweeper makes of a value: a sweep's elements, those of lists in it one by one."""
    if not isinstance(value, str):
        return [value]
    read = _parsed(f"{name}={value}", [])
    swept = read.list if isinstance(read, ChoiceSweep) else [read]
    found = [one.text if isinstance(one, QuotedString) else one for one in swept]
    return [inner for one in found for inner in (one if isinstance(one, list) else [one])]
