"""Secrets that are named rather than written: `passport.key=file:PATH` and `env:NAME`.

What stands on a command line is seen by everybody on the machine (`ps`), and a shell keeps it.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from ipr.config.schema import HIDDEN, HIDDEN_KEYS
from ipr.errors import InputError
from ipr.files import read_regular

LARGEST = 4096
"""Bytes of a file that holds a secret."""

T = TypeVar("T")


def is_named(text: str) -> bool:
    """Whether a secret's text says where it is: `file:PATH` or `env:NAME`."""
    return text.startswith(("file:", "env:"))


def without_secret(argument: str) -> str:
    """`key=value` from a command line, fit to be shown."""
    return masked(argument, lambda _: "<hidden>")


def masked(argument: str, mask: Callable[[str], str]) -> str:
    """`key=value` with something else for a value that is secret."""
    key, equals, value = argument.partition("=")
    return f"{key}={mask(value)}" if equals and key.lstrip("+") in HIDDEN_KEYS else argument


def revealed(field: str, text: str) -> str:
    """A secret, from where its text says that it is; any other text is the secret itself.

    Args:
        field: the configuration key, for the error.
        text: `file:PATH`: all of that file but an end of line that closes it; `env:NAME`: that variable of the
            environment. What is found there is taken as it is, also if it begins so itself.

    Raises:
        InputError: it is not there, is empty, or is no text; the error tells neither the secret nor its place.
    """
    where, _, name = text.partition(":")
    if not is_named(text):
        found = text
    elif where == "env":
        if (variable := os.environ.get(name)) is None:
            remedy = "set and export it, or give the secret in a file, as file:PATH"
            raise InputError(field, "<hidden>", "names a variable of the environment that is not set here", remedy)
        found = variable
    else:
        found = _in_file(field, Path(name).expanduser())
    try:
        found.encode()
    except UnicodeEncodeError:
        raise InputError(field, "<hidden>", "is no text in UTF-8", "choose another") from None
    if is_named(text) and not found.strip():
        raise InputError(field, "<hidden>", f"the {where} that it names holds nothing", "choose another")
    return found


def _in_file(field: str, path: Path) -> str:
    try:
        content, _ = read_regular(path, LARGEST)
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InputError(field, "<hidden>", "the file that it names holds no text in UTF-8", "choose another") from None
    except (OSError, ValueError) as error:
        told = error.strerror if isinstance(error, OSError) else str(error)
        problem = f"the file that it names cannot be read ({told})"
        raise InputError(field, "<hidden>", problem, "give the path of a file that holds nothing else") from None
    return text.removesuffix("\n").removesuffix("\r")


def with_secrets(config: T) -> T:
    """A configuration with the secrets that it names, read: so a run's name follows from them and not from their place.

    Args:
        config: of whatever command; one without secrets is returned as it is.

    Raises:
        InputError: see `revealed`; or `passport.key` is set and empty.
    """
    for group, name in HIDDEN:
        section = getattr(config, group, None)
        text = getattr(section, name, None)
        if not isinstance(text, str) or not dataclasses.is_dataclass(section):
            continue
        secret = revealed(f"{group}.{name}", text)
        if (group, name) == ("passport", "key") and not secret.strip():
            raise InputError("passport.key", "<hidden>", "is empty", "leave it out, or give a secret, as file:PATH")
        if secret != text:
            config = dataclasses.replace(config, **{group: dataclasses.replace(section, **{name: secret})})  # type: ignore[type-var]
    return config
