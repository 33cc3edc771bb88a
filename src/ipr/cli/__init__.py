"""The command line: one small file per command."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from gc import disable, enable, freeze  # by name: `gc` is a module of this package
from importlib import import_module

COMMANDS = {
    "train": "embed a scheme into a network, judge it and record it",
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
            "usage: ipr COMMAND [key=value ...]",
            "",
            *lines,
            "",
            "ipr COMMAND --help lists what each command can be asked for.",
        ]
    )


def main(argv: list[str] | None = None) -> None:
    """The console script `ipr`.

    It exits with 0 for success, 1 for `not verified`, 3 for `inconclusive`, 2 for what cannot be used.
    """
    from ipr.outputs import speaking

    with speaking():
        _main(sys.argv[1:] if argv is None else argv)


def _main(arguments: list[str]) -> None:
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(usage())
        sys.exit(0 if arguments else 2)
    command, *rest = arguments
    if command == "--version":
        from importlib.metadata import version

        print(version("ipr"))
        sys.exit(0)
    if command not in COMMANDS:
        print(f"ipr: error: command={command}: is unknown; choose among: {', '.join(COMMANDS)}", file=sys.stderr)
        sys.exit(2)
    with loading():
        module = import_module(f"ipr.cli.{command}")
    from ipr.cli.compose import run
    from ipr.cli.own_hydra import own_hydra

    with own_hydra():  # whoever calls this from Python may have a Hydra of his own
        if command in ("reproduce", "claim", "verdict"):  # not one job, but many; not only keys and values
            module.run(rest)
        run(command, module.execute, rest)
