"""The command line: one small file per command."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from gc import disable, enable, freeze  # by name: `gc` is a module of this package
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ipr.requests.line import Line

COMMANDS = {
    "train": "embed a scheme into a network, judge it and record it",
    "protect": "embed a passport into a network that is trained already, from its weights file",
    "attack": "attack a trained run and judge what becomes of it",
    "exhibit": "show what is inside a trained run: distributions, convergence, time",
    "reproduce": "run the paper's tables and figures, as far as they are missing, and report them",
    "export": "write what a run gives away: safetensors, a torch state_dict or ONNX",
    "unlock": "make weights that need their passport work without it",
    "claim": "show a claim, check it, or commit to it before the weights are given away",
    "calibrate": "judge wrong claims and independent networks: how often a claim like this one is verified falsely",
    "verify": "judge a claim on a suspect's weights, or on its answers",
    "verdict": "check a signed verdict, or make the key that a judge signs with",
    "dispute": "which of several claims to one suspect stands",
    "list": "what runs are there",
    "status": "what of the studies is done, running, failed or missing, and what the rest will take",
    "report": "tables and figures from the records of finished runs",
    "dashboard": "a W&B workspace that sets schemes against attacks",
    "gc": "lists what no study needs, and removes what it is asked to",
}


@contextmanager
def loading() -> Iterator[None]:
    """Inside, torch and what is built on it are imported, without looking for garbage among it.

    Modules stay until the end: searching them while they load, and once more when Python ends, takes longer than
    importing torch.
    """
    if "torch" in sys.modules:  # a later job of a sweep: what is alive now must not be kept for good
        yield
        return
    disable()
    try:
        yield
    finally:
        enable()
        freeze()


def usage() -> str:
    """What `ipr --help` prints."""
    lines = [f"  {name:10} {what}" for name, what in COMMANDS.items()]
    return "\n".join(
        [
            "usage: ipr COMMAND [key=value ...] [-m]",
            "",
            *lines,
            "",
            "ipr COMMAND --help lists what each command can be asked for; -m sweeps over values with commas between.",
            "ipr --version; ipr --completion bash prints what makes a shell complete all this (docs/commands.md).",
        ]
    )


def main(argv: list[str] | None = None) -> None:
    """The console script `ipr`.

    It exits with 0 for success, 1 for `not verified`, 3 for `inconclusive`, 2 for what cannot be used.
    """
    from ipr.terminal.streams import speaking

    with speaking():
        line = _read(sys.argv[1:] if argv is None else argv)
        with loading():
            module = import_module(f"ipr.cli.{line.command}")
        from ipr.cli.jobs import invoke
        from ipr.requests.own_hydra import own_hydra

        with own_hydra():  # whoever calls this from Python may have a Hydra of his own
            if line.command == "reproduce":  # not one job, but many
                module.run(line.arguments)
            codes, _ = invoke(line.command, module.execute, line.arguments)
            sys.exit(max(codes, default=0))


def _read(words: list[str]) -> Line:
    """The command line; what no command is needed for is done here, and ends the process."""
    if any(word in COMPLETION for word in words):
        from ipr.cli.completion import complete

        sys.exit(complete(words))
    from ipr.errors import InputError
    from ipr.requests.line import read_line

    try:
        line = read_line(words, tuple(COMMANDS))
    except InputError as error:
        print(f"ipr: error: {error}", file=sys.stderr)
        sys.exit(2)
    if "--version" in line.options:
        from ipr.extras import own_version

        print(own_version())
        sys.exit(0)
    if not line.command:
        print(usage())
        sys.exit(0 if line.wants_help else 2)
    if line.wants_help:
        from ipr.cli.help import explain

        sys.exit(explain(line.command, line.words))
    return line


COMPLETION = ("--completion", "--complete", "--shell-completion", "-sc")
"""Options that tab completion is installed and asked with."""
