"""A command line as people type it: options anywhere, and what was meant where something cannot be read."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from ipr.config.secrets import without_secret
from ipr.config.shipped import studies
from ipr.errors import InputError
from ipr.requests.keys import DECIDES, choice_meant, choices_of, groups_of, keys_of, meant
from ipr.terminal.spelling import choose_among, closest
from ipr.texts import SECRETIVE

SWITCHES = ("-m", "--multirun", "-r", "--run", "-h", "--help", "--resolve", "--hydra-help", "--version")
"""Options that stand alone."""

WITH_VALUE = ("-c", "--cfg", "-p", "--package", "-i", "--info", "-cd", "--config-dir")
"""Options that are followed by a value."""

SHOWN = {"-c": "job", "--cfg": "job", "-i": "all", "--info": "all"}
"""What is shown by an option that stands without its value."""

VERBS = {"claim": ("show", "check", "commit", "stamp"), "verdict": ("check", "key")}
"""Commands whose first word is a verb."""

OTHER_COMMANDS = {
    "ls": "list",
    "runs": "list",
    "show": "list",
    "run": "train",
    "fit": "train",
    "embed": "train",
    "judge": "verify",
    "eval": "verify",
    "test": "verify",
    "clean": "gc",
    "rm": "gc",
}
"""What people type who know other tools -> the command here."""


@dataclass(frozen=True)
class Line:
    """What was typed.

    Attributes:
        command: the first word; "" for none.
        options: what begins with a dash, each with its value behind it.
        words: the others, in their order.
    """

    command: str
    options: tuple[str, ...]
    words: tuple[str, ...]

    @property
    def wants_help(self) -> bool:
        """Whether it asks for help."""
        return any(option in ("-h", "--help") for option in self.options)

    @property
    def arguments(self) -> list[str]:
        """What Hydra is given: options first, as argparse wants; a verb as the value of a key."""
        verbs = self.command in VERBS
        return [*self.options, *(f"verb={word}" if verbs and "=" not in word else word for word in self.words)]


def read_line(words: Sequence[str], commands: Sequence[str]) -> Line:
    """Takes a command line apart.

    Args:
        words: as the shell splits them, without the program's name.
        commands: that there are.

    Raises:
        InputError: there is no such command or option, or a word is no assignment.
    """
    options: list[str] = []
    others: list[str] = []
    unknown: list[tuple[str, str]] = []
    left = [re.sub(r"^[\u2010-\u2015\u2212]", lambda dash: "--" if dash[0] == "\u2014" else "-", w) for w in words]
    left = [w.replace("--", "-", 1) if w in ("--m", "--h") else w for w in left]
    while left:
        word = left.pop(0)
        if not word.startswith("-") or re.fullmatch(r"-?\d.*", word):
            others.append(word)
            continue
        name, equals, value = word.partition("=")
        if word in SWITCHES:
            options += [word] if word not in options else []
        elif name in WITH_VALUE:
            options.append(name)
            if equals:
                options.append(value)
            elif left and not left[0].startswith("-") and "=" not in left[0] and left[0] not in commands:
                options.append(left.pop(0))
            elif name in SHOWN:
                options.append(SHOWN[name])
        else:
            if not equals and left and not left[0].startswith("-") and "=" not in left[0] and left[0] not in commands:
                value = left.pop(0)
            unknown.append((name, value))
    if others and others[0] == "help":
        others.pop(0)
        options.append("--help")
    command = others.pop(0) if others else ""
    if command and command not in commands:
        raise _no_command(command, others, commands)
    _check_together(options)
    if unknown:
        raise _no_option(command or "train", *unknown[0])
    if command:
        others = _assignments(command, others, options)
    return Line(command, tuple(options), tuple(others))


def _check_together(options: Sequence[str]) -> None:
    """Refuses options that do not go together."""
    kinds = (("-m", "--multirun"), ("-r", "--run"), ("-c", "--cfg"), ("-i", "--info"))
    given = [next(one for one in kind if one in options) for kind in kinds if not {*kind}.isdisjoint(options)]
    if len(given) > 1:
        raise InputError("option", given[0], f"does not go with {given[1]}", "leave one of them out")
    for name in ("--resolve", "-p", "--package"):
        if name in options and "--cfg" not in options and "-c" not in options:
            raise InputError("option", name, "goes with --cfg alone", f"write --cfg job {name}")


def _no_command(word: str, others: Sequence[str], commands: Sequence[str]) -> InputError:
    key, equals, _ = word.partition("=")
    if equals:
        verb = "train" if meant("train", key) == key or key in groups_of("train") else "attack"
        remedy = f"a command comes first: did you mean ipr {verb} {key}=...? choose among: {', '.join(commands)}"
        return InputError("command", key, "is a key and no command", remedy)
    if (other := OTHER_COMMANDS.get(word.lower())) in commands:
        remedy = f"did you mean {other}? choose among: {', '.join(commands)}"
    elif closest(word, commands) is None and (choice := choice_meant("train", word) or choice_meant("attack", word)):
        verb = "attack" if choice.startswith("attack") else "train"
        remedy = f"did you mean ipr {verb} {choice}? choose among: {', '.join(commands)}"
    else:
        remedy = choose_among(word, commands)
    return InputError("command", word, "is unknown", remedy)


def _no_option(command: str, name: str, value: str) -> InputError:
    options = [one for one in (*SWITCHES, *WITH_VALUE) if one.startswith("--")]
    key = meant(command, name.lstrip("-"))
    near = closest(name, options)
    if near and (key is None or (near[2:4] == name[2:4] and len(name) > 3)):
        remedy = f"did you mean {near}?"
    elif key:
        remedy = f"did you mean {key}={_shown(key, value, name)}? keys are written key=value, without dashes"
    else:
        remedy = f"keys are written key=value, without dashes; `ipr {command} --help` lists them"
    return InputError("option", name, "is unknown", remedy)


def _shown(key: str, value: str, typed: str = "") -> str:
    """A value that was typed, unless nothing was, or it may be a secret: of `key`, or of what was `typed` for it."""
    if not value:
        return "..."
    return "<hidden>" if SECRETIVE.search(typed) else without_secret(f"{key}={value}").partition("=")[2]


def _assignments(command: str, words: Sequence[str], options: list[str]) -> list[str]:
    """The words of a command; refuses those that are neither assignments nor its verb."""
    found = list(words)
    if found and found[0] == "help":
        found.pop(0)
        options.append("--help")
    for index, word in enumerate(found):
        if "=" in word[1:] or word.startswith("~") or (index == 0 and command in VERBS):
            continue
        raise _no_assignment(command, word, found[index - 1] if index else "", [*found[index + 1 :]])
    return found


def _no_assignment(command: str, word: str, before: str, after: Sequence[str]) -> InputError:
    def error(remedy: str) -> InputError:
        return InputError("argument", word, "is no assignment", remedy)

    paths = [key.path for key in keys_of(command)]
    following = after[0] if after else ""
    if word.startswith("=") and before:
        return error("write key=value without blanks around the sign")
    if before.endswith("="):
        return InputError("argument", before, "has no value", "write key=value without blanks around the sign")
    if following.startswith("="):
        value = following[1:] or (after[1] if len(after) > 1 else "")
        return error(f"did you mean {word}={_shown(word, value)}? no blanks around the sign")
    key, sign, value = word.partition(":")
    if sign and meant(command, key) == key:
        return error(f"did you mean {key}={_shown(key, value)}?")
    if choice := choice_meant(command, word):
        return error(f"did you mean {choice}?")
    if (study := closest(word, studies())) and ("study" in paths or study == word):
        return error(f"did you mean {'' if 'study' in paths else 'ipr reproduce '}study={study}?")
    if (key := meant(command, word) or "") and len(word) > 2:
        value = _shown(key, following if "=" not in following else "", word)
        return error(f"did you mean {key}={value}?")
    if "run" in paths:
        return error(f"did you mean run={word}?")
    return InputError(
        "argument", word, "cannot be read as an assignment", "write key=value, quoted where the shell splits"
    )


def refuse_unknown(command: str, arguments: Sequence[str]) -> None:
    """Says what was meant by a key that there is not, where its section is not right either.

    For what a schema refused: where the section is right, the schema's own error names what is known in it.

    Raises:
        InputError: naming the key, and the one that was meant.
    """
    if command == "protect":
        _refuse_watermarks(arguments)
    commands = [command] if command != "reproduce" else [command, "exhibit"]  # which hands other keys on
    paths = {key.path for one in commands for key in keys_of(one)}
    known = {
        *paths,
        *(path.rpartition(".")[0] for path in paths),
        *(name for one in commands for name in groups_of(one)),
    }
    for argument in arguments:
        key, equals, value = argument.partition("=")
        if not equals or not key or key[0] in "-+~" or key.startswith("hydra") or key in known:
            continue
        if (section := key.rpartition(".")[0]) and any(section == k or section.startswith(f"{k}.") for k in known):
            continue
        if key == "study":
            study = closest(value, studies()) or value
            raise InputError(key, value, "is run by another command", f"ipr reproduce study={study}")
        near = next(filter(None, (meant(one, key) for one in commands)), None)
        said = f"did you mean {near}={_shown(near, value, key)}? " if near else ""
        raise InputError(key, "...", "there is no such key", f"{said}`ipr {command} --help` lists them")


def _refuse_watermarks(arguments: Sequence[str]) -> None:
    """Refuses schemes without a passport where one is asked for: `ipr protect` sets what they have no field for."""

    def passported(scheme: str) -> bool:
        return "scheme.bound" in {key.path for key in keys_of("protect", {"scheme": scheme})}

    schemes = choices_of("scheme")
    for key, _, value in (argument.partition("=") for argument in arguments):
        if key == "scheme" and value in schemes and not passported(value):
            known = ", ".join(filter(passported, schemes))
            raise InputError(key, value, "is no passport scheme", f"choose among: {known}; others: ipr train init=FILE")


def refuse_names(arguments: Sequence[str]) -> None:
    """Refuses to set what the choice of a group decides: its name, and what is started.

    Raises:
        InputError: naming the group.
    """
    for argument in arguments:
        key, equals, value = argument.lstrip("+").partition("=")
        if equals and key in DECIDES:
            group = "attack@rival" if key == "rival.name" else key.partition(".")[0]
            shown = _shown(key, value)
            raise InputError(key, shown, "is set by its group", f"write {group}={shown}")
        if key.rpartition(".")[2] == "_target_":
            raise InputError(
                key, "...", "cannot be set", "choose what there is: hydra/launcher=NAME, hydra/sweeper=NAME"
            )
        if equals and key in ("hydra.launcher", "hydra.sweeper"):
            raise InputError(key, value, "is a group", f"write {key.replace('.', '/')}={value}")
