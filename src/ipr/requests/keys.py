"""What each command can be asked for, read from the source of its dataclasses: nothing is imported, torch least of all.

A key is described by the comment behind its field, else by the lines of comment above it, else by its entry under
`Attributes:`. Help, completion and "did you mean" all stand on this.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import yaml

from ipr.config.registry import BASES, conf_folders, entries, source_of
from ipr.config.shipped import shipped
from ipr.terminal.spelling import closest

SCHEMAS = {
    "train": "ipr.config.schema:TrainConfig",
    "protect": "ipr.config.schema:ProtectConfig",
    "attack": "ipr.attacks.config:AttackConfig",
    "exhibit": "ipr.workflows.exhibit:ExhibitConfig",
    "reproduce": "ipr.studies.config:ReproduceConfig",
    "export": "ipr.config.schema:ExportConfig",
    "unlock": "ipr.config.schema:UnlockConfig",
    "claim": "ipr.config.schema:ClaimConfig",
    "calibrate": "ipr.config.schema:CalibrateConfig",
    "verify": "ipr.config.schema:VerifyConfig",
    "verdict": "ipr.config.schema:VerdictConfig",
    "dispute": "ipr.config.schema:DisputeConfig",
    "list": "ipr.studies.config:ListConfig",
    "status": "ipr.studies.config:StatusConfig",
    "report": "ipr.studies.config:ReportConfig",
    "dashboard": "ipr.config.schema:DashboardConfig",
    "gc": "ipr.studies.config:GcConfig",
    "cell": "ipr.workflows.cell:CellConfig",
}
"""Command -> module and dataclass of its configuration."""

WHERE = "where"
"""The section whose keys are written without it (`as_text`): `scheme` is a group of other commands."""

OTHER_WORDS = {
    "epoch": "trainer.max_epochs",
    "epochs": "trainer.max_epochs",
    "num_epochs": "trainer.max_epochs",
    "lr": "optimizer.lr",
    "learning_rate": "optimizer.lr",
    "batch": "optimizer.batch_size",
    "gpus": "trainer.devices",
    "gpu": "trainer.accelerator",
    "device": "trainer.accelerator",
    "key": "passport.key",
    "data": "dataset",
    "arch": "model",
    "architecture": "model",
    "network": "model",
    "text": "scheme.signature",
    "weights": "init",
    "checkpoint": "init",
    "pretrained": "model.weights",
    "output": "out",
    "random_seed": "seed",
    "tag": "tags",
}
"""What people type who know other tools -> the key here."""


@dataclass(frozen=True)
class Key:
    """A field of a dataclass, and the key that a command takes for it.

    Attributes:
        path: e.g. `trainer.max_epochs`; the name of a field by itself.
        kind: its type, as annotated.
        what: one line.
        file: where it stands.
    """

    path: str
    kind: str
    what: str
    file: Path

    @property
    def values(self) -> list[str]:
        """The values that it can take, where the line names them (`a | b`), or its type does."""
        if self.kind.startswith("bool"):
            return ["true", "false"]
        named = re.search(r"\w[\w-]*(?: \| \w[\w-]*)+", self.what)
        return named[0].split(" | ") if named else []


def _home(named: str) -> tuple[Path, str]:
    """File and class of a `module:Class` of ours."""
    module, _, name = named.partition(":")
    file = source_of(module)
    assert file is not None, named
    return file, name


@cache
def _tree(file: Path) -> tuple[ast.Module, list[str]]:
    try:
        text = file.read_text(encoding="utf-8")
        return ast.parse(text), text.splitlines()
    except (OSError, ValueError, SyntaxError):  # of another package, which is refused when it is loaded
        return ast.Module([], []), []


@cache
def _find(file: Path, name: str) -> tuple[Path, ast.ClassDef] | None:
    """A class by the name it has in a file, defined or imported there."""
    tree, _ = _tree(file)
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and node.name == name:
            return file, node
        if isinstance(node, ast.ImportFrom):
            own = next((alias.name for alias in node.names if name == (alias.asname or alias.name)), None)
            if own is not None and (source := _imported(file, node)):
                return _find(source, own)
    return None


def _imported(file: Path, node: ast.ImportFrom) -> Path | None:
    """The file of the module that a line `from MODULE import ...` names, its dots in front included."""
    if not node.level:
        return source_of(node.module or "")
    path = file.parents[node.level - 1].joinpath(*(node.module or "").split("."))
    return next((one for one in (path.with_suffix(".py"), path / "__init__.py") if one.is_file()), None)


@cache
def _config_of(file: Path, name: str) -> tuple[Path, str] | None:
    """Where the dataclass stands that a class, or a base of it, names as its `Config`."""
    if (found := _find(file, name)) is None:
        return None
    file, node = found
    for item in node.body:
        if isinstance(item, ast.Assign) and ast.unparse(item.targets[0]) == "Config":
            return file, ast.unparse(item.value)
    return next(filter(None, (_config_of(file, ast.unparse(base)) for base in node.bases)), None)


@cache
def fields_of(file: Path, name: str) -> dict[str, Key]:
    """The fields of a dataclass that a file defines or imports, those of its bases first; {} where there is none."""
    found = _find(file, name)
    if found is None:
        return {}
    file, node = found
    fields: dict[str, Key] = {}
    for base in node.bases:
        if isinstance(base, ast.Name):
            fields |= fields_of(file, base.id)
    _, lines = _tree(file)
    listed = _attributes(ast.get_docstring(node) or "")
    for item in node.body:
        if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name):
            kind = ast.unparse(item.annotation)
            if not kind.startswith("ClassVar"):
                field, end = item.target.id, item.end_lineno or item.lineno
                what = _comment(lines, item.lineno, end) or listed.get(field, "")
                what = what or (fields[field].what if field in fields else "")
                fields[field] = Key(field, kind, what, file)
    return fields


def _comment(lines: Sequence[str], first: int, last: int) -> str:
    """The comment of a field between two lines, counted from 1: behind it, else above it."""
    behind = [line.partition("  # ")[2].strip() for line in lines[first - 1 : last]]
    if any(behind):
        return " ".join(filter(None, behind))
    above: list[str] = []
    while (line := lines[first - 2 - len(above)].strip()).startswith("# "):
        above.insert(0, line.removeprefix("# "))
    return " ".join(above)


def _attributes(docstring: str) -> dict[str, str]:
    found: dict[str, str] = {}
    section = docstring.partition("Attributes:\n")[2].partition("\n\n")[0]
    for names, what in re.findall(r"^    (\w[\w, ]*): (.+(?:\n        .+)*)", section, re.MULTILINE):
        found |= dict.fromkeys(names.split(", "), " ".join(what.split()))
    return found


@cache
def _registry(group: str) -> dict[str, tuple[Path, str]]:
    """Choice of a group -> file and class, for groups whose choices have fields of their own."""
    if group not in BASES:
        return {}
    homes = {name: (one.file, one.attribute) for name, one in entries(group).items() if one.file is not None}
    if group != "scheme":
        return homes
    return {name: _config_of(*home) or _home("ipr.config.schema:SchemeConfig") for name, home in homes.items()}


@dataclass(frozen=True)
class Group:
    """A group that a command takes.

    Attributes:
        name: as typed: `model`, `dataset@transfer`.
        field: the section of the configuration that it fills.
        default: its choice where nothing is said; "" for none.
        choices: all of them.
    """

    name: str
    field: str
    default: str
    choices: tuple[str, ...]

    @property
    def leaves_a_choice(self) -> bool:
        """Whether there is another choice than the default; one of a group that has none may be left out."""
        return any(choice != self.default for choice in self.choices)


@cache
def groups_of(command: str) -> dict[str, Group]:
    """The groups of a command by the name that is typed, in the order of its defaults."""
    written = yaml.safe_load((shipped("conf") / f"{command}.yaml").read_text(encoding="utf-8"))
    groups = {}
    for entry in written["defaults"]:
        if not isinstance(entry, dict):
            continue
        ((name, default),) = entry.items()
        if name.startswith("override "):
            continue
        folder, _, field = name.partition("@")
        choices = choices_of(folder)
        groups[name] = Group(name, field or folder, default or "", choices)
    return groups


def choices_of(group: str) -> tuple[str, ...]:
    """The choices of a group, sorted: its YAML files, ours and those of other packages."""
    return tuple(sorted({path.stem for folder in conf_folders() for path in folder.glob(f"{group}/*.yaml")}))


def keys_of(command: str, chosen: Mapping[str, str] | None = None) -> list[Key]:
    """The keys of a command.

    Args:
        command: one of `SCHEMAS`.
        chosen: group as typed -> choice. Of groups whose choices have fields of their own those of the choice are
            given; of one that is not named those of all choices.
    """
    by_field = {group.field: group for group in groups_of(command).values()}
    keys: dict[str, Key] = {}

    def enter(fields: Mapping[str, Key], prefix: str) -> None:
        for field in fields.values():
            path = f"{prefix}{field.path}"
            kind = field.kind.removesuffix(" | None")
            inner = fields_of(field.file, kind) if re.fullmatch(r"[A-Z]\w+", kind) else {}
            group = by_field.get(path) if not prefix else None
            registry = _registry(group.name.partition("@")[0]) if group else {}
            if group and registry:
                choice = (chosen or {}).get(group.name)
                own = [registry[choice]] if choice in registry else [] if choice else [*registry.values()]
                for place in own:
                    enter(fields_of(*place), f"{path}.")
                if not own:
                    enter(inner, f"{path}.")
            elif inner:
                enter(inner, "" if path == WHERE else f"{path}.")
            else:
                keys.setdefault(path, replace(field, path=path))

    enter(fields_of(*_home(SCHEMAS[command])), "")
    return [*keys.values()]


def sections_of(command: str) -> dict[str, str]:
    """The sections of a command's configuration and what each is."""
    fields = fields_of(*_home(SCHEMAS[command]))
    return {field.path: field.what for field in fields.values() if field.path != WHERE}


def meant(command: str, key: str) -> str | None:
    """The key or group of a command that somebody meant who typed another."""
    typed = key.lstrip("+~-").replace("-", "_")
    groups, paths = groups_of(command), [one.path for one in keys_of(command)]
    takes = {*groups, *paths}
    if typed in takes:
        return typed
    first, _, last = typed.rpartition(".")
    if last in ("launcher", "sweeper"):
        return f"hydra/{last}"
    for section in (first, closest(first, sections_of(command))):
        if section and (same := [path for path in paths if path.rpartition(".")[0] == section]):
            near = closest(f"{section}.{last}", same)  # the section is right, or nearly
            return near or next((path for path in same if path.endswith(f"_{last}")), None)
    if other := OTHER_WORDS.get(last.lower()):
        for path in (other, other.rpartition(".")[2]):  # ipr verify has accelerator, ipr train trainer.accelerator
            if path in takes:
                return path
    ends: dict[str, str] = {}
    for path in paths:  # of several the first: what is asked for most stands first in the schema
        if not path.endswith(".name"):
            ends.setdefault(path.rpartition(".")[2], path)
    if last in ends:
        return ends[last]
    return closest(last, groups) or ends.get(closest(last, ends) or "")


DECIDES = ("scheme.name", "attack.name", "exhibit.name", "rival.name")
"""Keys that the choice of a group sets, and nothing else may."""


def choice_meant(command: str, word: str) -> str | None:
    """`group=choice` for a bare word that is the choice of a group: `passport_v2` for `scheme=passport_v2`."""
    paths = {key.path for key in keys_of(command)}
    groups = [*groups_of(command).values(), *(group for group in groups_of("train").values() if group.name in paths)]
    for group in groups:
        if word in group.choices and word != "default":
            return f"{group.name}={word}"
    return None
